"""The embedded stack: Kafka, PostgreSQL, the intake and Airflow on one machine, without Docker.

:mod:`daybook.stack.parts` describes each part; :mod:`daybook.stack.supervisor` runs them. The steps of a day need
nothing from this package: with external brokers and an external Airflow it is not loaded.
"""
