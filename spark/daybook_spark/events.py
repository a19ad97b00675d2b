"""From raw records to events: read, reject, de-duplicate, name the provider. Pure DataFrame -> DataFrame.

The rows of a day are a function of the day's raw records, the provider map and the end offsets that the day's first
page was built to; building them again gives the same rows.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from daybook.contract import EVENT_TYPES, SPARK_SCHEMA
from daybook.kafka_offsets import Offsets
from daybook.providers import resolve

RAW_SCHEMA = """
    kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP COMMENT 'of the record, UTC',
    key BINARY, value BINARY COMMENT 'as received',
    event_date DATE COMMENT 'day of occurred_at, UTC; null if the record does not say'
"""
"""Columns of ``raw_events``: one row for each Kafka record."""

EVENTS_SCHEMA = """
    event_id STRING, event_type STRING, item STRING, guild STRING, user_id STRING, host STRING,
    occurred_at TIMESTAMP COMMENT 'UTC', received_at TIMESTAMP COMMENT 'UTC', user_agent STRING, schema_version INT,
    provider STRING COMMENT 'name of the alias file, or a bucket in brackets',
    provider_domain STRING COMMENT 'registrable domain of the host; null where it has none',
    kafka_partition INT, kafka_offset BIGINT,
    is_late BOOLEAN COMMENT 'came after the first page of its day was built',
    event_date DATE
"""
"""Columns of ``events``: one row for each accepted event."""

REJECTED_SCHEMA = """
    reason STRING COMMENT 'code', detail STRING COMMENT 'what is wrong, in words',
    kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP, key BINARY, value BINARY, event_date DATE
"""
"""Columns of ``rejected_events``: one row for each record that is not an event."""

REASONS: dict[str, str] = {
    "null_value": "the record has no value",
    "not_utf8": "the value is not UTF-8 text",
    "not_json": "the value is not a JSON object",
    "no_event_id": "event_id is missing",
    "unknown_type": "event_type is none of the contract's",
    "no_user": "user_id is missing",
    "no_time": "occurred_at is missing or not a time",
    "conflict": "another event of the day has the same event_id and another body",
}
"""Reason code -> what it means. The first that fits a record is the one it gets."""

EVENT, DUPLICATE, REJECTED = "event", "duplicate", "rejected"


def event_date_of(value: Column) -> Column:
    """The UTC day that a record's value says it happened on; null if it does not say. Never raises."""
    return F.to_date(F.get_json_object(value.cast("string"), "$.occurred_at").try_cast("timestamp"))


def raw_records(kafka: DataFrame) -> DataFrame:
    """Kafka's records as rows of ``raw_events``.

    Args:
        kafka: what Spark's Kafka source reads: key, value, partition, offset, timestamp.
    """
    return kafka.select(
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("timestamp").alias("kafka_timestamp"),
        "key",
        "value",
        event_date_of(F.col("value")).alias("event_date"),
    )


def judged(raw: DataFrame) -> DataFrame:
    """Every raw record with its verdict.

    Of the records that are events and share an event_id, the one with the lowest (partition, offset) is the event; the
    others are duplicates if they say the same (type, item, guild, player, host), and rejected as conflicts if not.
    Times are not compared: a client that sends no ``occurred_at`` gets a new one with every retry.

    Args:
        raw: rows of ``raw_events``, of whole days.

    Returns:
        The rows with the contract's fields (null where unreadable), ``verdict`` (event, duplicate, rejected) and
        ``reason`` (null unless rejected).
    """
    text = F.col("value").cast("string")
    # inline(array(...)) parses each record once and keeps its coordinates; from_json under a filter is parsed again for
    # every column that the filter and the output use
    read = raw.select(*raw.columns, F.inline(F.array(F.from_json(text, SPARK_SCHEMA))))
    reason = (
        F.when(F.col("value").isNull(), "null_value")
        .when(~F.is_valid_utf8(text), "not_utf8")
        .when(
            ~F.coalesce(F.trim(text).startswith("{"), F.lit(False)) | F.get_json_object(text, "$").isNull(), "not_json"
        )
        .when(F.coalesce(F.trim("event_id"), F.lit("")) == "", "no_event_id")
        .when(~F.coalesce(F.col("event_type").isin(*EVENT_TYPES), F.lit(False)), "unknown_type")
        .when(F.col("user_id").isNull(), "no_user")
        .when(~F.coalesce(F.to_date("occurred_at") == F.col("event_date"), F.lit(False)), "no_time")
    )
    # a record that is no event takes no part in the contest for its id
    rivals = Window.partitionBy("event_date", "event_id", F.col("broken").isNull()).orderBy(
        "kafka_partition", "kafka_offset"
    )
    body = F.struct("event_type", "item", "guild", "user_id", "host")
    return (
        read.withColumn("broken", reason)
        .withColumn("nth", F.row_number().over(rivals))
        .withColumn("is_conflict", ~F.first(body).over(rivals).eqNullSafe(body))
        .withColumn(
            "reason", F.coalesce("broken", F.when((F.col("nth") > 1) & F.col("is_conflict"), F.lit("conflict")))
        )
        .withColumn(
            "verdict",
            F.when(F.col("reason").isNotNull(), REJECTED).when(F.col("nth") > 1, DUPLICATE).otherwise(EVENT),
        )
        .drop("broken", "nth", "is_conflict")
    )


def provider_map(spark: SparkSession, hosts: list[str]) -> DataFrame:
    """The provider of each distinct host, resolved on the driver: host, provider, provider_domain."""
    rows = [
        {"host": host, "provider": (known := resolve(host)).provider, "provider_domain": known.domain} for host in hosts
    ]
    schema = pa.schema([("host", pa.string()), ("provider", pa.string()), ("provider_domain", pa.string())])
    return spark.createDataFrame(
        pa.Table.from_pylist(rows, schema=schema), "host STRING, provider STRING, provider_domain STRING"
    )


def first_page_ends(spark: SparkSession, ends: dict[date, Offsets]) -> DataFrame:
    """The end offsets that each day's first page was built to: event_date, kafka_partition, first_page_end."""
    rows = [
        {"event_date": day, "kafka_partition": partition, "first_page_end": end}
        for day, offsets in ends.items()
        for partition, end in offsets.items()
    ]
    schema = pa.schema([("event_date", pa.date32()), ("kafka_partition", pa.int32()), ("first_page_end", pa.int64())])
    return spark.createDataFrame(
        pa.Table.from_pylist(rows, schema=schema), "event_date DATE, kafka_partition INT, first_page_end BIGINT"
    )


def events_of(judged_records: DataFrame, providers: DataFrame, page_ends: DataFrame) -> DataFrame:
    """The rows of ``events``.

    Args:
        judged_records: from :func:`judged`.
        providers: from :func:`provider_map`, with every host of the records.
        page_ends: from :func:`first_page_ends`. An event is late if its day has a first page and its record lies at or
            after the offset which that page was built to.
    """
    first_pages = page_ends.select("event_date").distinct().withColumn("has_page", F.lit(True))
    return (
        judged_records.where(F.col("verdict") == EVENT)
        .join(F.broadcast(providers), on=F.coalesce(judged_records["host"], F.lit("")) == providers["host"], how="left")
        .drop(providers["host"])
        .join(F.broadcast(page_ends), on=["event_date", "kafka_partition"], how="left")
        .join(F.broadcast(first_pages), on="event_date", how="left")
        .withColumn(
            "is_late",
            F.coalesce("has_page", F.lit(False))
            # a partition that the first page did not know was added since
            & (F.col("kafka_offset") >= F.coalesce("first_page_end", F.lit(0))),
        )
        .select(*struct(EVENTS_SCHEMA).fieldNames())
    )


def rejected_of(judged_records: DataFrame) -> DataFrame:
    """The rows of ``rejected_events``."""
    meanings = F.create_map(*[F.lit(part) for pair in REASONS.items() for part in pair])
    return (
        judged_records.where(F.col("verdict") == REJECTED)
        .withColumn("detail", meanings[F.col("reason")])
        .select(*struct(REJECTED_SCHEMA).fieldNames())
    )


def struct(ddl: str) -> StructType:
    """The columns of a DDL text; needs a running session, whose parser it is."""
    parsed = StructType.fromDDL(ddl)
    if not isinstance(parsed, StructType):
        raise TypeError(f"not a list of columns: {ddl}")
    return parsed
