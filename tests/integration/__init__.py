"""Tests with the real parts: Kafka, gunicorn, Airflow and PostgreSQL, Spark."""
