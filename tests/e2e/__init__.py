"""The stack as its users see it: Airflow's UI in a real browser, backfills of many days."""
