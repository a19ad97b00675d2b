"""The stack as its users meet it: Airflow's UI in a real browser, backfills of many days."""
