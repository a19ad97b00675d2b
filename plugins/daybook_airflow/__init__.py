"""Daybook's Airflow parts, one class a file: the wait for Kafka's offsets, the Spark step, the day rule as macros."""
