"""The job of 2019 lands a day: an RDD of dictionaries, filtered, then Parquet.

De-duplication, provider and date are additions that it needs to write the same rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.peers.land_rules import REQUIRED, provider
from benchmarks.peers.spark_topic import records
from daybook.contract import RECORD_FIELDS
from daybook.settings import Settings, load_settings

FIELDS = [name for name, _ in RECORD_FIELDS]
TIMES = [name for name, kind in RECORD_FIELDS if kind == "timestamp"]
SCHEMA = ", ".join(f"{name} {'int' if kind == 'int' else 'string'}" for name, kind in RECORD_FIELDS)


def loaded(value: bytes | None) -> Any:
    """Return a record's value as a Python object; None if it is not JSON."""
    try:
        return json.loads(value or b"")
    except ValueError:
        return None


def is_event(event: Any) -> bool:
    """Whether it is an object with the fields of every event."""
    return isinstance(event, dict) and all(event.get(name) is not None for name in REQUIRED)


def land(spark: SparkSession, settings: Settings, folder: Path) -> None:
    """Write the events below the folder."""
    events = (
        records(spark, settings)
        .select("value")
        .rdd.map(lambda row: loaded(row.value))
        .filter(is_event)
        .map(lambda event: (event["event_id"], event))
        .reduceByKey(lambda one, _: one)
        .values()
        .map(lambda event: (*(event.get(name) for name in FIELDS), provider(event["host"])))
    )
    rows = spark.createDataFrame(events, f"{SCHEMA}, provider string")
    rows = rows.withColumns({name: F.to_timestamp(name) for name in TIMES})
    rows = rows.withColumn("event_date", F.to_date("occurred_at"))
    rows.write.mode("overwrite").partitionBy("event_date").option("compression", "zstd").parquet(str(folder / "events"))


if __name__ == "__main__":
    session = SparkSession.builder.getOrCreate()
    land(session, load_settings(), Path(sys.argv[1]))
    session.stop()
