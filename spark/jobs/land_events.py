"""Task ``land_events``: land Kafka's records, then stage ``events`` and ``rejected_events`` of the affected days."""

from __future__ import annotations

import argparse
from typing import Any

import click
from pyspark.sql import SparkSession

from daybook.kafka.offsets import parse_offsets
from daybook.pipeline.balance import day_name
from daybook.pipeline.due import dates_due, nothing_due
from daybook.settings import Settings
from daybook_spark.building import build_days, create_tables
from daybook_spark.job import arguments, run
from daybook_spark.landing import land


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Land, then stage; the summary is the stage, or the reason to skip the rest of the run."""
    create_tables(spark, settings)
    landed = land(spark, settings, args.until, args.day, args.run_id)
    for part in landed:
        click.echo(
            f"landed {part.records} records of partition {part.partition}, offsets {part.start} to {part.end - 1}"
        )
    dates = dates_due(settings, args.day, force=args.force)
    if not dates:
        return {"skip": nothing_due(settings, args.day)}
    stage = build_days(spark, settings, dates, args.run_id, landed)
    click.echo(f"staged under {stage.wap_id}: {', '.join(map(day_name, dates))}")
    return stage.to_json()


if __name__ == "__main__":
    parser = arguments("Land Kafka's records and stage the affected days.")
    parser.add_argument("--until", required=True, type=parse_offsets, help="JSON partition -> frozen end offset")
    parser.add_argument("--force", action="store_true", help="build the day again even if nothing has changed")
    run("land_events", parser, work)
