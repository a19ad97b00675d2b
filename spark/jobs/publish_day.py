"""Task ``publish_day``: prove that the staged days balance, then publish them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from pyspark.sql import SparkSession

from daybook.settings import Settings
from daybook_spark.building import Stage
from daybook_spark.job import arguments, run
from daybook_spark.publishing import publish_days


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Publish; the summary is the days with their revisions."""
    answers = {name: snapshot_id for staged in args.answers for name, snapshot_id in staged.items()}
    manifest = Path(args.manifest) if args.manifest else None
    published = publish_days(spark, settings, Stage.from_json(args.stage), answers, args.day, manifest)
    for one in published.published:
        click.echo(f"published: {one['receipt']}")
    for day in published.unchanged:
        click.echo(f"unchanged: {day}")
    return asdict(published)


if __name__ == "__main__":
    parser = arguments("Publish the staged days if they balance.")
    parser.add_argument("--stage", required=True, type=json.loads, help="summary of land_events")
    parser.add_argument("--answers", required=True, type=json.loads, help="JSON list of the answer tasks' summaries")
    parser.add_argument("--manifest", default="", help="the generator's manifest of the day; empty for live traffic")
    run("publish_day", parser, work)
