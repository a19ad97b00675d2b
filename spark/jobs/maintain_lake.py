"""The tasks of ``lake_maintenance``: run one maintenance step."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from daybook.settings import Settings
from daybook_spark.job import arguments, run
from daybook_spark.maintenance import STEPS


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Run the step; the summary is table -> number of processed items."""
    done = STEPS[args.step](spark, settings, datetime.now(UTC))
    return {"done": done}


if __name__ == "__main__":
    parser = arguments("Run one step of the lake's maintenance.")
    parser.add_argument("--step", required=True, choices=STEPS, help="the step to run")
    run("maintain_lake", parser, work)
