"""The common frame of all jobs: parses arguments, writes one JSON summary, prints an error for the user last."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from daybook.days import parse_day
from daybook.errors import DaybookError, may_pass
from daybook.files import private_dir
from daybook.jobs.temp_files import remove_leftovers
from daybook.lake.catalog import broken_file
from daybook.lake.opening import open_state
from daybook.settings import Settings, load_settings
from daybook_spark.session import is_lost, server, spark_session, stop_without_server

LOST_SERVER = (
    "the Spark server ended while this step ran: it was stopped or killed, or its memory was too small for the step. "
    "Readers see what they saw before, and the step can be repeated. If the server ends again, give it more memory: "
    "`daybook down`, then `daybook up` with DAYBOOK_SPARK_DRIVER_MEMORY=4g"
)
Work = Callable[[SparkSession, Settings, argparse.Namespace], dict[str, Any]]


def arguments(description: str, *, of_a_day: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the common arguments: ``--run-id``, ``--summary``, and ``--day`` for a job of one day."""
    parser = argparse.ArgumentParser(description=description)
    if of_a_day:
        parser.add_argument("--day", required=True, type=parse_day, help="the run's day, YYYY-MM-DD, UTC")
    parser.add_argument("--run-id", required=True, help="id of the run, stored with every commit")
    parser.add_argument("--summary", required=True, type=Path, help="file for the JSON summary")
    return parser


def run(name: str, parser: argparse.ArgumentParser, work: Work) -> None:
    """Run a job: session, work, summary file.

    If the job fails, the file holds ``{"error": ..., "try_again": ...}``, the error is the last line, and the exit
    status is 1. The error is the text of a :class:`DaybookError`, the name of an unreadable file of the lake, or the
    root cause of any other exception.

    Args:
        name: the job's name, which is also the task's.
        parser: from :func:`arguments`.
        work: the function that does the work; its result is the summary.
    """
    args = parser.parse_args()
    title = f"{name} {args.day}" if "day" in args else name
    chosen = load_settings()
    try:
        for line in open_state(chosen):
            click.echo(f"{title}: {line}")
    except DaybookError as error:
        _fail(args.summary, title, str(error), try_again=may_pass(error))
    if chosen.catalog_file is not None:
        folder = chosen.catalog_file.parent
        if not folder.is_dir():  # an existing folder may be shared on purpose
            private_dir(folder)
    remove_leftovers(chosen, datetime.now(UTC))
    spark = spark_session(title, chosen)
    if url := server():
        click.echo(f"{title}: a session of the Spark server {url}")
    else:
        spark.sparkContext.setLogLevel("WARN")
        click.echo(f"{title}: Spark was up {_seconds_since_launch(spark):.1f} s after its launch")
    try:
        summary = work(spark, chosen, args)
    except DaybookError as error:
        _fail(args.summary, title, str(error), try_again=may_pass(error))
    except Exception as error:
        # unexpected error: traceback to the log, root cause to the user
        traceback.print_exc()
        if is_lost(spark, chosen):
            stop_without_server(spark)
            _fail(args.summary, title, f"{title}: {LOST_SERVER}", try_again=True)
        if broken := broken_file(chosen):
            _fail(args.summary, title, str(broken), try_again=may_pass(broken))
        _fail(args.summary, title, f"{title}: {root_cause(error)}", try_again=True)
    finally:
        spark.stop()
    args.summary.write_text(json.dumps(summary), encoding="utf-8")
    click.echo(f"{title}: done")


def _seconds_since_launch(spark: SparkSession) -> float:
    """Seconds since the spark-submit process started: a step's overhead before its own work."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None  # the JVM exists as long as the session does
    began_ms: int = jvm.java.lang.management.ManagementFactory.getRuntimeMXBean().getStartTime()
    return time.time() - began_ms / 1000


def _fail(summary: Path, title: str, error: str, *, try_again: bool) -> NoReturn:
    """Write the failure to the summary file for the task, print it, and exit."""
    summary.write_text(json.dumps({"error": error, "try_again": try_again}), encoding="utf-8")
    click.echo(f"{title}: {error}", err=True)
    sys.exit(1)


def root_cause(error: BaseException) -> str:
    """Return the first line of an error's root cause; for a Spark error, the innermost cause in the JVM."""
    try:
        cause = getattr(error, "java_exception", None)
        while cause is not None and cause.getCause() is not None:
            cause = cause.getCause()
        text = f"{type(error).__name__}: {error}" if cause is None else cause.toString()
    except (Py4JError, OSError):  # the JVM itself is gone
        text = f"{type(error).__name__}: the JVM has ended"
    if any(sign in str(error) or sign in str(text) for sign in _CLOCK_WENT_BACK):
        return (
            "this machine's clock is more than a minute behind the lake's newest commit: it was set back. Nothing was "
            "committed. Correct the clock, or wait until it has caught up, then clear the task"
        )
    return str(text).strip().splitlines()[0]


_CLOCK_WENT_BACK = (
    "Expected sorted snapshot log entries",
    "Expected sorted previous metadata log entries",
    "Invalid update timestamp",
)
"""Iceberg's messages when it rejects a commit that is older than the previous one."""
