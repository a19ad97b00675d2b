"""Spark Structured Streaming lands a day: all available records, then it stops; a checkpoint stores offsets and ids.

The ids are in RocksDB: Spark's default store has them all on the heap, and five million need more than 3 GB of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.peers.spark_topic import events, host_providers, options, records, to_be_written
from daybook.settings import Settings, load_settings


def land(spark: SparkSession, settings: Settings, folder: Path) -> None:
    """Write the events below the folder."""
    spark.conf.set(
        "spark.sql.streaming.stateStore.providerClass",
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    )
    known = host_providers(spark, events(records(spark, settings)))
    stream = spark.readStream.format("kafka").options(**options(settings)).load()
    writer = (
        to_be_written(events(stream), known)
        .writeStream.format("parquet")
        .partitionBy("event_date")
        .option("compression", "zstd")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
    )
    writer.start(str(folder / "events")).awaitTermination()


if __name__ == "__main__":
    session = SparkSession.builder.getOrCreate()
    land(session, load_settings(), Path(sys.argv[1]))
    session.stop()
