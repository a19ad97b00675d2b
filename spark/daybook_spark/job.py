"""The frame of a job: arguments in, one JSON summary out, an error meant for the reader as the last line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from pyspark.sql import SparkSession

from daybook.days import parse_day
from daybook.driver_files import remove_leftovers
from daybook.errors import DaybookError, NeedsDecision
from daybook.settings import Settings, settings
from daybook_spark.session import spark_session

Work = Callable[[SparkSession, Settings, argparse.Namespace], dict[str, Any]]


def arguments(description: str, *, of_a_day: bool = True) -> argparse.ArgumentParser:
    """A parser with what every job takes: ``--run-id``, ``--summary``, and ``--day`` if the job is of one day."""
    parser = argparse.ArgumentParser(description=description)
    if of_a_day:
        parser.add_argument("--day", required=True, type=parse_day, help="the run's day, YYYY-MM-DD, UTC")
    parser.add_argument("--run-id", required=True, help="the run, kept with every commit")
    parser.add_argument("--summary", required=True, type=Path, help="file for the JSON summary")
    return parser


def run(name: str, parser: argparse.ArgumentParser, work: Work) -> None:
    """Run a job: session, work, summary file.

    On a :class:`DaybookError` the file holds ``{"error": ..., "try_again": ...}``, the text is the last line, and the
    job exits with 1.

    Args:
        name: the job's name, which is the task's.
        parser: from :func:`arguments`.
        work: what the job does; its result is the summary.
    """
    args = parser.parse_args()
    title = f"{name} {args.day}" if "day" in args else name
    chosen = settings()
    if chosen.catalog_uri.startswith("jdbc:sqlite:"):
        Path(chosen.catalog_uri.removeprefix("jdbc:sqlite:")).parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(chosen, datetime.now(UTC))
    spark = spark_session(title, chosen)
    spark.sparkContext.setLogLevel("WARN")
    try:
        summary = work(spark, chosen, args)
    except DaybookError as error:
        failure = {"error": str(error), "try_again": not isinstance(error, NeedsDecision)}
        args.summary.write_text(json.dumps(failure), encoding="utf-8")
        click.echo(f"{title}: {error}", err=True)
        sys.exit(1)
    finally:
        spark.stop()
    args.summary.write_text(json.dumps(summary), encoding="utf-8")
    click.echo(f"{title}: done")
