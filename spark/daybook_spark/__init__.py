"""What the Spark jobs do, as functions: DataFrames in, DataFrames out, and the lake's staging and publishing.

The thin mains that Airflow submits are in ``spark/jobs``; the questions are in ``spark/sql``.
"""
