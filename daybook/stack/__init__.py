"""The embedded stack: Kafka, PostgreSQL, the intake and Airflow on one machine, without Docker.

What each part is stands in :mod:`daybook.stack.parts`; :mod:`daybook.stack.supervisor` runs them. Nothing here is
needed by the day's own work: with brokers and Airflow from elsewhere, this package is not loaded.
"""
