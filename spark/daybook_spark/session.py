"""The Spark session of a job: configured by spark-submit; in tests and at a prompt by the same settings.

If the environment names a Spark Connect server (``SPARK_REMOTE``), the session belongs to that server, which already
has those settings.
"""

from __future__ import annotations

import os

from pyspark.sql import SparkSession

from daybook.jobs.config import jars, submit_conf
from daybook.lake.state import check_state
from daybook.settings import Settings


def server() -> str | None:
    """Return the URL of this process's Spark Connect server; None if it is not a client of one."""
    return os.environ.get("SPARK_REMOTE")


def spark_session(name: str, settings: Settings) -> SparkSession:
    """Return the session, with the lake's catalog.

    Args:
        name: the application's name: job and day.
        settings: where lake and brokers are.

    Raises:
        NonRetryableError: the state folder may belong to another state; see :func:`daybook.lake.state.check_state`.
    """
    check_state(settings)
    if server():
        return SparkSession.builder.getOrCreate()
    builder = SparkSession.builder.appName(name).master(settings.spark_master).config("spark.jars", jars(settings))
    for key, value in submit_conf(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
