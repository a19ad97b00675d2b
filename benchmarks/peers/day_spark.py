"""A hand-written Spark script of a whole day, without any safety: it lands like plain Spark, then answers."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.peers.land_spark import land
from daybook.lake.tables import EVENTS
from daybook.settings import load_settings
from daybook.sql.answers import answers


def answer(spark: SparkSession, folder: Path, day: date) -> None:
    """Answer every question from the events in the folder; write to ``answers/NAME/*.parquet`` next to them."""
    spark.read.parquet(str(folder / "events")).createOrReplaceTempView(EVENTS)
    for name, one in answers().items():
        rows = spark.sql(one.statement, args={"first_day": day, "last_day": day})
        rows.write.mode("overwrite").option("compression", "zstd").parquet(str(folder / "answers" / name))


if __name__ == "__main__":
    session = SparkSession.builder.getOrCreate()
    land(session, load_settings(), Path(sys.argv[1]))
    answer(session, Path(sys.argv[1]), date.fromisoformat(sys.argv[2]))
    session.stop()
