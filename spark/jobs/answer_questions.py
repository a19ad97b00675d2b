"""Tasks ``user_behaviour`` and ``host_providers``: run an area's ``.sql`` files on staged events, stage the rows."""

from __future__ import annotations

import argparse
import json
from typing import Any

import click
from pyspark.sql import SparkSession

from daybook.settings import Settings
from daybook.sql.answers import AREAS
from daybook_spark.answering import stage_answers
from daybook_spark.building import Stage
from daybook_spark.job import arguments, run


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Compute the answers; the summary is answer -> staged snapshot."""
    staged = dict(stage_answers(spark, settings, args.area, Stage.from_json(args.stage)))
    click.echo(f"staged: {', '.join(staged)}")
    return staged


if __name__ == "__main__":
    parser = arguments("Run an area's questions on the staged events.")
    parser.add_argument("--area", required=True, choices=AREAS, help="folder of spark/sql")
    parser.add_argument("--stage", required=True, type=json.loads, help="summary of land_events")
    run("answer_questions", parser, work)
