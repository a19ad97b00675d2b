"""``daybook rebuild``: rebuild some days from ``raw_events``."""

from __future__ import annotations

import argparse
from typing import Any

from pyspark.sql import SparkSession

from daybook.days import parse_day
from daybook.settings import Settings
from daybook_spark.building import create_tables
from daybook_spark.job import arguments, run
from daybook_spark.rebuilding import rebuild


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Rebuild; the summary is ``{"days": [...]}``."""
    create_tables(spark, settings)
    return {"days": rebuild(spark, settings, args.first, args.last, args.run_id, dry_run=args.dry_run)}


if __name__ == "__main__":
    parser = arguments("Rebuild some days from their raw records.", of_a_day=False)
    parser.add_argument("--from", dest="first", required=True, type=parse_day, help="first day, YYYY-MM-DD, UTC")
    parser.add_argument("--to", dest="last", required=True, type=parse_day, help="last day, included")
    parser.add_argument("--dry-run", action="store_true", help="only report what would change")
    run("rebuild_days", parser, work)
