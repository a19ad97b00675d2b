"""The Spark session of a job: configured by spark-submit; in tests and at a prompt by the same settings."""

from __future__ import annotations

from pyspark.sql import SparkSession

from daybook.settings import Settings
from daybook.spark_conf import jars, submit_conf


def spark_session(name: str, settings: Settings) -> SparkSession:
    """The session, with the lake's catalog in it.

    Args:
        name: the application's name, which is job and day.
        settings: where lake and brokers are.
    """
    builder = SparkSession.builder.appName(name).master(settings.spark_master).config("spark.jars", jars(settings))
    for key, value in submit_conf(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
