"""``daybook forget-user``: remove one player's rows for good."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from daybook.pipeline.erasures import erasures, user_digest
from daybook.settings import Settings
from daybook_spark.building import create_tables
from daybook_spark.erasing import forget
from daybook_spark.job import arguments, run


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Forget a player; the summary has the removed records, the rebuilt days and, if recorded, the user's digest."""
    create_tables(spark, settings)
    player: dict[str, str] = json.loads(args.player.read_text(encoding="utf-8"))
    digest = user_digest(player["user_id"])
    done = forget(spark, settings, player["user_id"], args.run_id, player["note"])
    is_recorded = any(row["user_digest"] == digest for row in erasures(settings))
    return {**done, "user_digest": digest if is_recorded else None}


if __name__ == "__main__":
    parser = arguments("Remove one user's rows for good.", of_a_day=False)
    # every user of the machine can see a command line, and Java decodes it by the locale
    parser.add_argument("--player", required=True, type=Path, help="JSON file: user_id, and the note for the erasure")
    run("forget_user", parser, work)
