"""From raw records to events: read, reject, de-duplicate, name the provider. Pure DataFrame -> DataFrame.

The rows of a day are a function of the raw records of the day and of the lateness window around it, the provider map
and the end offsets that the day's first page was built to; building them again gives the same rows. Records landed
later never take an event away from a day: of several records with one event_id the one that was landed first counts
(:func:`judged`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import reduce
from operator import and_, or_

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from daybook.contract import (
    ABSENT,
    EMPTY_IDS,
    EVENT_TYPES,
    FIELDS,
    FILLED,
    FILLED_IN,
    FIRST_MOMENT,
    MAX_HOST_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_USER_AGENT_CHARACTERS,
    NO_PART_OF_BODY,
    OWN_FIELDS,
    RECORD_FIELDS,
    REQUIRED,
    SCHEMA_VERSION,
)
from daybook.lake.tables import EVENTS, REJECTED_EVENTS, TABLES
from daybook.providers import resolve
from daybook_spark.documents import document, is_plain, kind_of, moment_of, text_field
from daybook_spark.staging import struct

REASONS: dict[str, str] = {
    "null_value": "the record has no value",
    "not_utf8": "the value is not UTF-8 text",
    "not_json": "the value is not one JSON object, with each name once and nothing behind it",
    "no_event_id": "event_id is missing, no text, or the nil or max UUID",
    "unknown_type": "event_type is none of the contract's",
    "no_user": "user_id is missing",
    "no_item": "a purchase without an item, or a field of another type (a guild, an item) where the type has none",
    "bad_text": "a name is no text, is empty, holds control characters, or is longer than the contract allows",
    "other_schema": "schema_version is none of the contract's",
    "no_time": "occurred_at is missing or not a time",
    "too_old": "occurred_at is before the first day there is",
    "in_future": "occurred_at is further ahead of the record's own time than clocks go wrong",
    "conflict": "the client sent the event_id of an event landed before, and another body",
}
"""Reason code -> what it means. The first that fits a record is the one it gets."""

EVENT, DUPLICATE, REJECTED = "event", "duplicate", "rejected"

MOST_IDS_IN_MEMORY = 5_000_000
"""Hashes of ids that are held in memory, some 70 bytes each; more are sorted. To hold the ids of a day of a million
events against those of the 30 days before it, a million each, took 25 s when the ids were sorted and 17 with their
hashes sorted; with the day's hashes in memory it takes 5, nearly all of which is reading (two cores)."""

MOST_IDS_ON_DRIVER = 200_000
"""Ids, or hashes of ids, that are brought to the driver and sent to all tasks; some 100 bytes each. There are more only
after the topic was rewound and its records were landed again."""

_ID_AND_TIME = "event_id STRING, occurred_at STRING"
"""What is read of a value when it is landed."""

_BODY_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in RECORD_FIELDS if name != "event_id")
"""What is read of a value when the events are built; its id was read when it was landed."""


_EMPTY_IDS = [form for one in EMPTY_IDS for form in (one, one.replace("-", ""), f"{{{one}}}")]
"""In each form of a UUID that other producers write."""


def raw_records(kafka: DataFrame, landing: int, future_tolerance_minutes: int) -> DataFrame:
    """Kafka's records as rows of ``raw_events``.

    ``event_date`` is the UTC day that a record says it happened on; null if it does not say, or names a time that
    cannot be: before :data:`daybook.contract.FIRST_MOMENT`, or later than the record's own time by more than the
    tolerance. Such a record belongs to no day, so no day waits for it. No record makes this fail. What is not one JSON
    document says neither an id nor a day.

    Args:
        kafka: what Spark's Kafka source reads: key, value, partition, offset, timestamp.
        landing: number of the landing that they belong to.
        future_tolerance_minutes: how far ahead a client's clock may be.
    """
    plain, doubtful = F.col("is_plain"), F.col("document")

    def field(name: str) -> Column:
        return F.when(plain, F.col(f"said.{name}")).otherwise(text_field(doubtful, name))

    latest = F.col("timestamp") + F.make_dt_interval(mins=F.lit(future_tolerance_minutes))

    # each step uses the one before more than once: Spark keeps them apart, and computes each value one time
    return (
        kafka.withColumn("is_plain", is_plain(F.col("value")))
        # one parse for both fields
        .withColumn("said", F.from_json(F.when(plain, F.col("value").cast("string")), _ID_AND_TIME))
        .withColumn("document", F.when(~plain, document(F.col("value"))))
        .withColumn("said_time", moment_of(field("occurred_at")))
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
    """The records of other days on which the verdict over records of these dates depends; none if there is none.

    These are the records of the same event_id within the window; and within the window around those, for whether they
    are events themselves; and so on. Only the column of ids is read of the other days, unless one is found: of the
    window around these dates for all of their ids, beyond it for those that were found alone. Ids are held against
    each other by their hash, which may take in an id too many.

    Args:
        raw: ``raw_events``.
        dates: the dates that are being built.
        window_days: how many days apart two records with one event_id can still be the same event.
        counts: date -> how many records ``raw`` has of it.
    """
    reached = [day for day in dates if day is not None]
    ids = raw.where(F.col("event_date").isin(reached))
    are_few = sum(counts.get(day, 0) for day in reached) <= MOST_IDS_IN_MEMORY
    looked_through = {*reached}
    found: list[DataFrame] = []
    while reached:
        first, last = min(reached) - timedelta(days=window_days), max(reached) + timedelta(days=window_days)
        ahead = [day for day in counts if day is not None and first <= day <= last and day not in looked_through]
        if not ahead:
            break
        looked_through |= {*ahead}
        others = raw.where(F.col("event_date").isin(ahead))
        shared = ids_also_in(ids.select("event_id"), others.select("event_id", "event_date"), in_memory=are_few)
        shared = shared.distinct()
        few = _on_driver(shared, "event_id STRING, event_date DATE")
        if few is None:  # a rewound topic: nearly every id is among them
            ids, reached = shared.select("event_id").distinct(), ahead
            found.append(others.join(ids, on="event_id", how="left_semi"))
            continue
        ids, rows = few
        are_few, reached = True, rows["event_date"].unique().to_pylist()
        if reached:
            found.append(others.join(F.broadcast(ids), on="event_id", how="left_semi"))
    return reduce(DataFrame.unionByName, found) if found else None


def _on_driver(rows: DataFrame, schema: str) -> tuple[DataFrame, pa.Table] | None:
    """The same rows, brought to the driver; none if they are more than :data:`MOST_IDS_ON_DRIVER`."""
    held = rows.limit(MOST_IDS_ON_DRIVER + 1).toArrow()
    if held.num_rows > MOST_IDS_ON_DRIVER:
        return None
    return rows.sparkSession.createDataFrame(held, schema), held


def ids_also_in(some: DataFrame, others: DataFrame, *, in_memory: bool) -> DataFrame:
    """The rows of ``others`` whose event_id has the hash of one of ``some``.

    Args:
        some: one column, event_id.
        others: the same, and further ones.
        in_memory: whether to hold the hashes of ``some`` in memory, in place of sorting those of both.
    """
    hashed = F.xxhash64("event_id")
    hashes = some.where("event_id IS NOT NULL").select(hashed.alias("hash"))
    kept = F.broadcast(hashes) if in_memory else hashes
    return others.where("event_id IS NOT NULL").join(kept, on=hashed == hashes["hash"], how="left_semi")


def judged(raw: DataFrame, window_days: int, elsewhere: DataFrame | None = None) -> DataFrame:
    """Every raw record with its verdict.

    The records of one event_id are walked in the order in which they were landed (landing, then partition, then
    offset). A record is an event if no event of the same id was found before it on a day within the window around its
    own; so a duplicate is always one of an event, and each event is further than the window from every other of its id.
    If there is one, the record is a duplicate if the client said the same of one of them (type, item, guild, player,
    host), and rejected as a conflict if not. What the intake took from the request is not compared: the player or host
    of a record that did not name it (:data:`daybook.contract.FILLED`). Times are not compared: a client that sends no
    ``occurred_at`` gets a new one with every retry. The window is counted from each record's own day, so a day's rows
    do not depend on which other days are built with it.

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
    several = _on_driver(counted.where("count > 1").select("hash"), "hash BIGINT")
    if several is None:  # a rewound topic: nearly every id is in several records
        alone, contested = raw.where("event_id IS NULL"), raw.where("event_id IS NOT NULL")
    elif not several[1].num_rows:
        return _verdicts(_uncontested(raw))
    else:
        hashes = F.broadcast(several[0])
        alone = raw.join(hashes, on=hashed == hashes["hash"], how="left_anti")
        contested = raw.join(hashes, on=hashed == hashes["hash"], how="left_semi")
    contested = contested.withColumn("is_here", F.lit(True))
    if elsewhere is not None:
        contested = contested.unionByName(elsewhere.withColumn("is_here", F.lit(False)))
    return _verdicts(_uncontested(alone).unionByName(_contested(contested, window_days)))


def read(raw: DataFrame) -> DataFrame:
    """Raw records with the contract's fields, and ``broken``: why a record is no event, null if it is one."""
    plain, doubtful = F.col("is_plain"), F.col("document")
    is_document = plain | doubtful.isNotNull()
    text = F.col("value").cast("string")
    # inline(array(...)) parses each record once and keeps its coordinates; from_json under a filter is parsed again for
    # every column that the filter and the output use
    fields = (
        raw.withColumn("is_plain", is_plain(F.col("value")))
        .withColumn("document", F.when(~plain, document(F.col("value"))))
        .select(
            *raw.columns,
            "is_plain",
            "document",
            F.inline(F.array(F.from_json(F.when(is_document, text), _BODY_SCHEMA))),
        )
    )
    # from_json takes a number for a time, and times in more forms
    exact_times = {
        name: F.when(plain, F.col(name)).otherwise(moment_of(text_field(doubtful, name)))
        for name, kind in RECORD_FIELDS
        if kind == "timestamp"
    }
    texts_of_types = [name for name, kind in RECORD_FIELDS if name in OWN_FIELDS and kind == "string"]
    names = [*texts_of_types, "user_id"]
    texts = [*names, "host", "user_agent"]
    # from_json takes a number or an object for its text
    is_no_text = _any(~kind_of(doubtful, name).isin("STRING", "VOID") for name in texts)
    version = kind_of(doubtful, "schema_version")
    is_this_version = F.coalesce(F.col("schema_version").between(1, SCHEMA_VERSION), F.lit(False))
    other_schema = F.when(plain, F.col("schema_version").isNotNull() & ~is_this_version).otherwise(
        version.isNotNull() & ~((version == "BIGINT") & is_this_version)
    )
    not_of_its_type = _any(
        (F.col("event_type") == kind)
        & _any(
            [*(F.col(name).isNull() for name in REQUIRED[kind]), *(F.col(name).isNotNull() for name in ABSENT[kind])]
        )
        for kind in EVENT_TYPES
    )
    reason = (
        F.when(F.col("value").isNull(), "null_value")
        .when(~F.is_valid_utf8(text), "not_utf8")
        .when(~is_document, "not_json")
        .when(F.coalesce("event_id", F.lit("")).isin("", *_EMPTY_IDS), "no_event_id")
        .when(~F.coalesce(F.col("event_type").isin(*EVENT_TYPES), F.lit(False)), "unknown_type")
        .when(other_schema, "other_schema")
        .when(F.coalesce("user_id", F.lit("")) == "", "no_user")
        .when(not_of_its_type, "no_item")
        .when(
            is_no_text
            | F.concat_ws("", *texts).rlike(r"\p{Cc}")
            | _any(~F.length(name).between(1, MAX_NAME_CHARACTERS) for name in names)
            | _any([F.length("host") > MAX_HOST_CHARACTERS, F.length("user_agent") > MAX_USER_AGENT_CHARACTERS]),
            "bad_text",
        )
        .when(F.col("occurred_at").isNull(), "no_time")
        .when(F.col("occurred_at") < F.lit(FIRST_MOMENT), "too_old")
        .when(F.col("event_date").isNull(), "in_future")
        .when(F.to_date("occurred_at") != F.col("event_date"), "no_time")
    )
    return fields.withColumns(exact_times).withColumn("broken", reason).drop("is_plain", "document")


def _uncontested(raw: DataFrame) -> DataFrame:
    """Raw records that no other shares an event_id with, read: ``is_first``, and ``reason``."""
    return read(raw).withColumns({"reason": F.col("broken"), "is_first": F.lit(True)})


def _contested(raw: DataFrame, window_days: int) -> DataFrame:
    """The same of records that share their event_id; a conflict has a reason too."""
    # a record that is no event takes no part in the contest for its id
    rivals = ("event_id", F.col("broken").isNull())
    place = F.struct("landing", "kafka_partition", "kafka_offset")
    compared = [name for name, _ in RECORD_FIELDS if name in FIELDS and name not in NO_PART_OF_BODY]
    filled = F.get_json_object(F.col("value").cast("string"), f"$.{FILLED}")

    def sent(name: str) -> Column:
        is_filled_in = F.startswith(filled, F.lit("[")) & F.contains(filled, F.lit(f'"{name}"'))
        return F.when(~F.coalesce(is_filled_in, F.lit(False)), F.col(name)).alias(name)

    body = F.struct(*(sent(name) if name in FILLED_IN else F.col(name) for name in compared))
    rival = F.struct(place.alias("place"), F.unix_date("event_date").alias("day"), body.alias("body"))

    def is_near(one: Column, other: Column) -> Column:
        return F.abs(one["day"] - other["day"]) <= window_days

    def is_same(one: Column, other: Column) -> Column:
        return reduce(
            and_,
            (
                F.coalesce(one[name] == other[name], F.lit(True))  # null: the client did not say
                if name in FILLED_IN
                else one[name].eqNullSafe(other[name])
                for name in compared
            ),
        )

    def walk(events: Column, one: Column) -> Column:
        return F.when(F.exists(events, lambda event: is_near(event, one)), events).otherwise(
            F.concat(events, F.array(one))
        )

    before = F.filter("events", lambda event: (event["place"] < F.col("rival.place")) & is_near(event, F.col("rival")))
    return (
        read(raw)
        .withColumn("rival", rival)
        # of the records of one day the first alone can be an event: one list of few for each id
        .withColumn("first", F.min("rival").over(Window.partitionBy(*rivals, "event_date")))
        .withColumn(
            "firsts",
            F.collect_list(F.when(F.col("rival.place") == F.col("first.place"), F.col("rival"))).over(
                Window.partitionBy(*rivals)
            ),
        )
        .withColumn("firsts", F.sort_array("firsts"))
        .withColumn("events", F.aggregate("firsts", F.slice("firsts", 1, 0), walk))
        .withColumn("is_first", F.exists("events", lambda event: event["place"] == F.col("rival.place")))
        .withColumn("before", before)
        .withColumn("is_known", F.exists("before", lambda event: is_same(event["body"], F.col("rival.body"))))
        .withColumn(
            "reason",
            F.coalesce("broken", F.when(~F.col("is_first") & ~F.col("is_known"), F.lit("conflict"))),
        )
        .where("is_here")
        .drop("rival", "first", "firsts", "events", "before", "is_known", "is_here")
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
        .select(*struct(TABLES[EVENTS].columns).fieldNames())
    )


def rejected_of(judged_records: DataFrame) -> DataFrame:
    """The rows of ``rejected_events``."""
    meanings = F.create_map(*[F.lit(part) for pair in REASONS.items() for part in pair])
    return (
        judged_records.where(F.col("verdict") == REJECTED)
        .withColumn("detail", meanings[F.col("reason")])
        .select(*struct(TABLES[REJECTED_EVENTS].columns).fieldNames())
    )
