"""The Spark session of a job: configured by spark-submit; in tests and at a prompt by the same settings.

Where the environment names a Spark Connect server (``SPARK_REMOTE``) it is a session of that server's, which has those
settings already.
"""

from __future__ import annotations

import os

from pyspark.sql import SparkSession

from daybook.jobs.config import jars, submit_conf
from daybook.lake.state import check_state
from daybook.settings import Settings


def server() -> str | None:
    """URL of the Spark Connect server that this process is a client of, if it is one."""
    return os.environ.get("SPARK_REMOTE")


def spark_session(name: str, settings: Settings) -> SparkSession:
    """The session, with the lake's catalog in it.

    Args:
        name: the application's name, which is job and day.
        settings: where lake and brokers are.

    Raises:
        NeedsDecision: the state folder is not this one's own; see :func:`daybook.lake.state.check_state`.
    """
    check_state(settings)
    if server():
        return SparkSession.builder.getOrCreate()
    builder = SparkSession.builder.appName(name).master(settings.spark_master).config("spark.jars", jars(settings))
    for key, value in submit_conf(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
