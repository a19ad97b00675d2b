"""Daybook's Airflow components, one class per file: the wait for Kafka's offsets, the Spark step, the day macros."""
