"""``daybook forget-user``: one player's rows, removed for good."""

from __future__ import annotations

import argparse
from typing import Any

from pyspark.sql import SparkSession

from daybook.settings import Settings
from daybook_spark.erasing import forget
from daybook_spark.job import arguments, run
from daybook_spark.pages import create_tables


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Forget; the summary is what was removed and which days were built anew."""
    create_tables(spark, settings)
    return forget(spark, settings, args.user_id, args.run_id, args.note)


if __name__ == "__main__":
    parser = arguments("Remove one player's rows for good.", of_a_day=False)
    parser.add_argument("--user-id", required=True, help="the player")
    parser.add_argument("--note", default="", help="kept with the record of it")
    run("forget_user", parser, work)
