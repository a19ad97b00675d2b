"""From raw records to events: read, reject, de-duplicate, name the provider. Pure DataFrame -> DataFrame.

The rows of a day are a function of the raw records of the day and of the lateness window around it, the provider map
and the end offsets that the day's first page was built to; building them again gives the same rows. Records landed
later never take an event away from a day: of several records with one event_id the one that was landed first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import reduce
from operator import or_

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from daybook.contract import (
    ABSENT,
    EVENT_TYPES,
    FIRST_MOMENT,
    MAX_HOST_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_USER_AGENT_CHARACTERS,
    OWN_FIELDS,
    RECORD_FIELDS,
    REQUIRED,
    SCHEMA_VERSION,
)
from daybook.providers import resolve

RAW_SCHEMA = """
    landing BIGINT COMMENT 'number of the landing that brought it, from 1',
    kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP COMMENT 'of the record, UTC',
    key BINARY, value BINARY COMMENT 'as received',
    event_id STRING COMMENT 'lower case; null if the record does not say',
    event_date DATE COMMENT 'day of occurred_at, UTC; null if the record names no day that can be'
"""
"""Columns of ``raw_events``: one row for each Kafka record.

(landing, kafka_partition, kafka_offset) names a record for ever, also if the topic is made anew and its offsets start
from 0 again.
"""

_FIELDS_OF_RECORD = ", ".join(
    f"{name} {kind.upper()}" + (" COMMENT 'UTC'" if kind == "timestamp" else "") for name, kind in RECORD_FIELDS
)
EVENTS_SCHEMA = f"""
    {_FIELDS_OF_RECORD},
    provider STRING COMMENT 'name of the alias file, or a bucket in brackets',
    provider_domain STRING COMMENT 'registrable domain of the host; null where it has none',
    landing BIGINT, kafka_partition INT, kafka_offset BIGINT,
    is_late BOOLEAN COMMENT 'came after the first page of its day was built',
    event_date DATE
"""
"""Columns of ``events``: one row for each accepted event. A field that the contract got later is null on older days."""

REJECTED_SCHEMA = """
    reason STRING COMMENT 'code', detail STRING COMMENT 'what is wrong, in words',
    landing BIGINT, kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP, key BINARY, value BINARY,
    event_date DATE
"""
"""Columns of ``rejected_events``: one row for each record that is not an event."""

REASONS: dict[str, str] = {
    "null_value": "the record has no value",
    "not_utf8": "the value is not UTF-8 text",
    "not_json": "the value is not a JSON object",
    "no_event_id": "event_id is missing",
    "unknown_type": "event_type is none of the contract's",
    "no_user": "user_id is missing",
    "no_item": "a purchase without an item, or a field of another type (a guild, an item) where the type has none",
    "bad_text": "a name holds control characters, or is longer than the contract allows",
    "other_schema": "schema_version is none of the contract's",
    "no_time": "occurred_at is missing or not a time",
    "too_old": "occurred_at is before the first day there is",
    "in_future": "occurred_at is further ahead of the record's own time than clocks go wrong",
    "conflict": "an event landed before has the same event_id and another body",
}
"""Reason code -> what it means. The first that fits a record is the one it gets."""

EVENT, DUPLICATE, REJECTED = "event", "duplicate", "rejected"

MOST_IDS_IN_MEMORY = 5_000_000
"""Hashes of ids that are held in memory, some 70 bytes each; more are sorted. To hold the ids of a day of a million
events against those of the 30 days before it, a million each, took 25 s when the ids were sorted and 17 with their
hashes sorted; with the day's hashes in memory it takes 5, nearly all of which is reading (two cores)."""

_BODY_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in RECORD_FIELDS if name != "event_id")
"""What is read of a value when the events are built; its id was read when it was landed."""


def raw_records(kafka: DataFrame, landing: int, future_tolerance_minutes: int) -> DataFrame:
    """Kafka's records as rows of ``raw_events``.

    ``event_date`` is the UTC day that a record says it happened on; null if it does not say, or names a time that
    cannot be: before :data:`daybook.contract.FIRST_MOMENT`, or later than the record's own time by more than the
    tolerance. Such a record belongs to no day, so no day waits for it. No record makes this fail.

    Args:
        kafka: what Spark's Kafka source reads: key, value, partition, offset, timestamp.
        landing: number of the landing that they belong to.
        future_tolerance_minutes: how far ahead a client's clock may be.
    """
    text = F.col("value").cast("string")
    # one parse for both fields; what is no JSON as a whole may still name them, and is asked for each
    said = F.from_json(text, "event_id STRING, occurred_at STRING")
    latest = F.col("timestamp") + F.make_dt_interval(mins=F.lit(future_tolerance_minutes))

    def field(name: str) -> Column:
        return F.coalesce(F.col(f"said.{name}"), F.get_json_object(text, f"$.{name}"))

    # each step uses the one before more than once: Spark keeps them apart, and computes each value one time
    return (
        kafka.withColumn("said", said)
        .withColumn("said_time", field("occurred_at").try_cast("timestamp"))
        .withColumn("can_be", (F.col("said_time") >= F.lit(FIRST_MOMENT)) & (F.col("said_time") <= latest))
        .select(
            F.lit(landing).cast("bigint").alias("landing"),
            F.col("partition").alias("kafka_partition"),
            F.col("offset").alias("kafka_offset"),
            F.col("timestamp").alias("kafka_timestamp"),
            "key",
            "value",
            F.lower(F.trim(field("event_id"))).alias("event_id"),
            F.when(F.col("can_be"), F.to_date("said_time")).alias("event_date"),
        )
    )


def same_ids_elsewhere(
    raw: DataFrame, dates: list[date | None], window_days: int, counts: Mapping[date | None, int]
) -> DataFrame | None:
    """The records of other days that share an event_id with records of these dates; none if there is none.

    Only the column of ids is read of the other days, unless one is found. Ids are held against each other by their
    hash, which may take in an id too many.

    Args:
        raw: ``raw_events``.
        dates: the dates that are being built.
        window_days: how many days before the first and after the last of them are looked through.
        counts: date -> how many records ``raw`` has of it.
    """
    days = [day for day in dates if day is not None]
    if not days:
        return None
    first, last = min(days) - timedelta(days=window_days), max(days) + timedelta(days=window_days)
    other_days = [day for day in counts if day is not None and first <= day <= last and day not in days]
    if not other_days:
        return None
    others = raw.where(F.col("event_date").isin(other_days))
    here = raw.where(F.col("event_date").isin(days)).select("event_id")
    are_few = sum(counts.get(day, 0) for day in days) <= MOST_IDS_IN_MEMORY
    shared = ids_also_in(here, others.select("event_id"), in_memory=are_few).distinct().toArrow()
    if not shared.num_rows:
        return None
    ids = raw.sparkSession.createDataFrame(shared, "event_id STRING")
    return others.join(F.broadcast(ids), on="event_id", how="left_semi")


def ids_also_in(some: DataFrame, others: DataFrame, *, in_memory: bool) -> DataFrame:
    """The rows of ``others`` whose event_id has the hash of one of ``some``.

    Args:
        some: one column, event_id.
        others: the same.
        in_memory: whether to hold the hashes of ``some`` in memory, in place of sorting those of both.
    """
    hashed = F.xxhash64("event_id")
    hashes = some.where("event_id IS NOT NULL").select(hashed.alias("hash"))
    kept = F.broadcast(hashes) if in_memory else hashes
    return others.where("event_id IS NOT NULL").join(kept, on=hashed == hashes["hash"], how="left_semi")


def judged(raw: DataFrame, window_days: int, elsewhere: DataFrame | None = None) -> DataFrame:
    """Every raw record with its verdict.

    A record is an event if none that was landed before it (lower landing, then partition, then offset) is an event of
    the same event_id that happened within the window around its day. If there is one, it is a duplicate if the first
    of them says the same (type, item, guild, player, host), and rejected as a conflict if not. Times are not compared:
    a client that sends no ``occurred_at`` gets a new one with every retry. The window is counted from each record's own
    day, so a day's rows do not depend on which other days are built with it.

    Args:
        raw: rows of ``raw_events``, of whole days.
        window_days: how many days apart two records with one event_id can still be the same event.
        elsewhere: records of other days from :func:`same_ids_elsewhere`, which take part in the contest for their ids
            and are not returned.

    Returns:
        The rows of ``raw`` with the contract's fields (null where unreadable), ``verdict`` (event, duplicate, rejected)
        and ``reason`` (null unless rejected); ``key`` and ``value`` are null unless rejected.
    """
    hashed = F.xxhash64("event_id")
    ids = raw.select("event_id")
    if elsewhere is not None:
        ids = ids.unionByName(elsewhere.select("event_id"))
    # most ids stand in one record: only the others are sorted and held against each other. The hash may take in an id
    # too many, and is a quarter of the id's bytes. A record without an id is no event, however many there are
    counted = ids.where("event_id IS NOT NULL").groupBy(hashed.alias("hash")).count()
    several = counted.where("count > 1").select("hash").toArrow()
    if not several.num_rows:
        return _verdicts(_uncontested(raw))
    hashes = F.broadcast(raw.sparkSession.createDataFrame(several, "hash BIGINT"))
    alone = raw.join(hashes, on=hashed == hashes["hash"], how="left_anti")
    contested = raw.join(hashes, on=hashed == hashes["hash"], how="left_semi").withColumn("is_here", F.lit(True))
    if elsewhere is not None:
        contested = contested.unionByName(elsewhere.withColumn("is_here", F.lit(False)))
    return _verdicts(_uncontested(alone).unionByName(_contested(contested, window_days)))


def read(raw: DataFrame) -> DataFrame:
    """Raw records with the contract's fields, and ``broken``: why a record is no event, null if it is one."""
    text = F.col("value").cast("string")
    # inline(array(...)) parses each record once and keeps its coordinates; from_json under a filter is parsed again for
    # every column that the filter and the output use
    fields = raw.select(*raw.columns, F.inline(F.array(F.from_json(text, _BODY_SCHEMA))))
    texts_of_types = [name for name, kind in RECORD_FIELDS if name in OWN_FIELDS and kind == "string"]
    names = [F.col(name) for name in (*texts_of_types, "user_id")]
    texts = [*names, F.col("host"), F.col("user_agent")]
    not_of_its_type = _any(
        (F.col("event_type") == kind)
        & _any(
            [*(F.col(name).isNull() for name in REQUIRED[kind]), *(F.col(name).isNotNull() for name in ABSENT[kind])]
        )
        for kind in EVENT_TYPES
    )
    # from_json gives nulls for what is no JSON, and looks at no escape of a field that it does not want; the second
    # parse is for those alone
    is_doubtful = F.contains(text, F.lit("\\")) | F.coalesce(*names, "host", "user_agent", "event_type").isNull()
    reason = (
        F.when(F.col("value").isNull(), "null_value")
        .when(~F.is_valid_utf8(text), "not_utf8")
        .when(
            ~F.coalesce(F.trim(text).startswith("{"), F.lit(False))
            | (is_doubtful & F.get_json_object(text, "$").isNull()),
            "not_json",
        )
        .when(F.coalesce("event_id", F.lit("")) == "", "no_event_id")
        .when(~F.coalesce(F.col("event_type").isin(*EVENT_TYPES), F.lit(False)), "unknown_type")
        .when(~F.col("schema_version").between(1, SCHEMA_VERSION), "other_schema")
        .when(F.coalesce("user_id", F.lit("")) == "", "no_user")
        .when(not_of_its_type, "no_item")
        .when(
            F.concat_ws("", *texts).rlike(r"\p{Cc}")
            | _any(F.length(name) > MAX_NAME_CHARACTERS for name in names)
            | _any([F.length("host") > MAX_HOST_CHARACTERS, F.length("user_agent") > MAX_USER_AGENT_CHARACTERS]),
            "bad_text",
        )
        # a number is no time, though from_json takes it for seconds
        .when(
            F.col("occurred_at").isNull()
            | (F.col("event_date").isNull() & F.get_json_object(text, "$.occurred_at").try_cast("timestamp").isNull()),
            "no_time",
        )
        .when(F.col("occurred_at") < F.lit(FIRST_MOMENT), "too_old")
        .when(F.col("event_date").isNull(), "in_future")
        .when(F.to_date("occurred_at") != F.col("event_date"), "no_time")
    )
    return fields.withColumn("broken", reason)


def _uncontested(raw: DataFrame) -> DataFrame:
    """Raw records that no other shares an event_id with, read: ``is_first``, and ``reason``."""
    return read(raw).withColumns({"reason": F.col("broken"), "is_first": F.lit(True)})


def _contested(raw: DataFrame, window_days: int) -> DataFrame:
    """The same of records that share their event_id; a conflict has a reason too."""
    # a record that is no event takes no part in the contest for its id
    rivals = (
        Window.partitionBy("event_id", F.col("broken").isNull())
        .orderBy(F.unix_date("event_date"))
        .rangeBetween(-window_days, window_days)
    )
    coordinates = ("landing", "kafka_partition", "kafka_offset")
    body = F.struct("event_type", "item", "guild", "user_id", "host")
    return (
        read(raw)
        .withColumn("first", F.min(F.struct(*coordinates, body.alias("body"))).over(rivals))
        .withColumn("is_first", F.struct(*coordinates) == F.struct(*(F.col(f"first.{name}") for name in coordinates)))
        .withColumn("reason", F.coalesce("broken", F.when(~F.col("first.body").eqNullSafe(body), F.lit("conflict"))))
        .where("is_here")
        .drop("first", "is_here")
    )


def _verdicts(records: DataFrame) -> DataFrame:
    is_rejected = F.col("reason").isNotNull()
    return records.withColumns(
        {
            "verdict": F.when(is_rejected, REJECTED).when(F.col("is_first"), EVENT).otherwise(DUPLICATE),
            # the bytes of what is an event are not needed any more, and are most of a record
            "key": F.when(is_rejected, F.col("key")),
            "value": F.when(is_rejected, F.col("value")),
        }
    ).drop("broken", "is_first")


def _any(conditions: Iterable[Column]) -> Column:
    """Whether one of the conditions holds; a condition on a null does not."""
    return reduce(or_, (F.coalesce(condition, F.lit(False)) for condition in conditions), F.lit(False))


def provider_map(spark: SparkSession, hosts: list[str]) -> DataFrame:
    """The provider of each distinct host, resolved on the driver: host, provider, provider_domain."""
    known = [resolve(host) for host in hosts]
    columns = {
        "host": pa.array(hosts, pa.string()),
        "provider": pa.array([one.provider for one in known], pa.string()),
        "provider_domain": pa.array([one.domain for one in known], pa.string()),
    }
    return spark.createDataFrame(pa.table(columns), "host STRING, provider STRING, provider_domain STRING")


def first_pages(spark: SparkSession, landings: dict[date, int]) -> DataFrame:
    """The last landing that each day's first page was built from: event_date, first_page_landing."""
    rows = [{"event_date": day, "first_page_landing": landing} for day, landing in landings.items()]
    schema = pa.schema([("event_date", pa.date32()), ("first_page_landing", pa.int64())])
    return spark.createDataFrame(
        pa.Table.from_pylist(rows, schema=schema), "event_date DATE, first_page_landing BIGINT"
    )


def events_of(judged_records: DataFrame, providers: DataFrame, pages: DataFrame) -> DataFrame:
    """The rows of ``events``.

    Args:
        judged_records: from :func:`judged`.
        providers: from :func:`provider_map`, with every host of the records.
        pages: from :func:`first_pages`. An event is late if its day has a first page and its record was landed after
            the landings that page was built from.
    """
    return (
        judged_records.where(F.col("verdict") == EVENT)
        .join(F.broadcast(providers), on=F.coalesce(judged_records["host"], F.lit("")) == providers["host"], how="left")
        .drop(providers["host"])
        .join(F.broadcast(pages), on="event_date", how="left")
        .withColumn("is_late", F.coalesce(F.col("landing") > F.col("first_page_landing"), F.lit(False)))
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
