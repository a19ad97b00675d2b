"""The code of the Spark jobs as functions: DataFrame transformations, and the lake's staging and publishing.

The short main programs that Airflow submits are in ``spark/jobs``; the questions are in ``spark/sql``.
"""
