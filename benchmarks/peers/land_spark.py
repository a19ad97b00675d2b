"""Plain Spark lands a day: ``from_json``, a filter, ``dropDuplicates``, a broadcast join, Parquet overwritten."""

from __future__ import annotations

import sys
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.peers.spark_topic import events, host_providers, records, to_be_written
from daybook.settings import Settings, load_settings


def land(spark: SparkSession, settings: Settings, folder: Path) -> None:
    """Write the events below the folder."""
    found = events(records(spark, settings))
    rows = to_be_written(found, host_providers(spark, found))
    rows.write.mode("overwrite").partitionBy("event_date").option("compression", "zstd").parquet(str(folder / "events"))


if __name__ == "__main__":
    session = SparkSession.builder.getOrCreate()
    land(session, load_settings(), Path(sys.argv[1]))
    session.stop()
