"""The Spark session of a job: configured by spark-submit; in tests and at a prompt by the same settings.

If the environment names a Spark Connect server (``SPARK_REMOTE``), the session belongs to that server, which already
has those settings.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from daybook.jobs import connect
from daybook.jobs.config import jars, submit_conf
from daybook.lake.state import check_state
from daybook.settings import Settings

if TYPE_CHECKING:  # needs gRPC, which only a client of a server loads
    from pyspark.sql.connect.client import SparkConnectClient


def server() -> str | None:
    """Return the URL of this process's Spark Connect server; None if it is not a client of one."""
    return os.environ.get("SPARK_REMOTE")


def _client() -> SparkSession:
    from pyspark.sql.connect.client.retries import DefaultPolicy

    session = SparkSession.builder.getOrCreate()
    # A server that has ended is restarted within seconds, without this session. By default the client would wait up to
    # a minute between two attempts, and ten minutes in all
    policy = DefaultPolicy(max_retries=40, backoff_multiplier=2, max_backoff=2000, jitter=0)
    _client_of(session).set_retry_policies([policy])
    return session


def is_lost(session: SparkSession, settings: Settings) -> bool:
    """Whether the session's server has ended: it does not answer, or it was restarted and does not know the session."""
    return server() is not None and (_client_of(session).is_closed or connect.trouble(settings) is not None)


def stop_without_server(session: SparkSession) -> None:
    """Stop a session whose server has ended, without waiting for the server."""
    _client_of(session).set_retry_policies([])
    session.stop()


def _client_of(session: SparkSession) -> SparkConnectClient:
    # PySpark declares `client` by a decorator of its own, which mypy cannot call; at run time it is a property
    client: SparkConnectClient = session.client  # type: ignore[operator]
    return client


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
        return _client()
    builder = SparkSession.builder.appName(name).master(settings.spark_master).config("spark.jars", jars(settings))
    for key, value in submit_conf(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
