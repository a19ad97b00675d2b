"""The topic for peers in Spark, and the steps that they share."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.peers.land_rules import REQUIRED
from benchmarks.peers.topic import providers
from daybook.contract import RECORD_FIELDS
from daybook.kafka.config import java_conf
from daybook.settings import Settings

SCHEMA = ", ".join(f"{name} {kind}" for name, kind in RECORD_FIELDS)


def options(settings: Settings) -> dict[str, str]:
    """Options of Spark's Kafka source for the whole topic, as a batch or as a stream."""
    return {
        **{f"kafka.{name}": value for name, value in java_conf(settings).items()},
        "subscribe": settings.kafka_topic,
        "startingOffsets": "earliest",
    }


def records(spark: SparkSession, settings: Settings) -> DataFrame:
    """All records as a batch."""
    return spark.read.format("kafka").options(**options(settings)).load()


def events(records: DataFrame) -> DataFrame:
    """The records that are events, with the contract's fields; duplicates are still included."""
    parsed = records.select(F.from_json(F.col("value").cast("string"), SCHEMA).alias("event")).select("event.*")
    return parsed.where(" AND ".join(f"{name} IS NOT NULL" for name in REQUIRED))


def host_providers(spark: SparkSession, events: DataFrame) -> DataFrame:
    """Columns host and provider of all hosts, resolved on the driver, for a broadcast."""
    hosts: pa.Table = events.select("host").distinct().toArrow()
    return F.broadcast(spark.createDataFrame(providers(hosts["host"].to_pylist()), "host string, provider string"))


def to_be_written(events: DataFrame, known: DataFrame) -> DataFrame:
    """Each event once, with provider and event_date.

    Args:
        events: from :func:`events`.
        known: from :func:`host_providers`.
    """
    distinct = events.dropDuplicates(["event_id"])
    return distinct.join(known, "host", "left").withColumn("event_date", F.to_date("occurred_at"))
