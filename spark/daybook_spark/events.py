"""Turns raw records into events: parse, reject, de-duplicate, add the provider. Pure DataFrame -> DataFrame.

The rows of a day are a function of three inputs: the raw records of the day and of the lateness window around it, the
provider map, and the end offsets that the day's first revision was built to. Building a day again gives the same rows.
Records landed later never remove an event from a day: among records with one event_id, the first landed one counts
(:func:`classify`).
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
    "not_json": "the value is not exactly one JSON object with unique names and no trailing text",
    "no_event_id": "event_id is missing, is not text, or is the nil or max UUID",
    "unknown_type": "event_type is not in the contract",
    "no_user": "user_id is missing",
    "no_item": "a purchase has no item, or an event has a field (guild, item) that its type does not have",
    "bad_text": "a name is not text, is empty, has control characters, or is longer than the contract allows",
    "other_schema": "schema_version is not in the contract",
    "no_time": "occurred_at is missing or not a time",
    "too_old": "occurred_at is before the first valid day",
    "in_future": "occurred_at is later than the record's own time by more than the tolerance for wrong clocks",
    "conflict": "the client sent another body with the event_id of an event that landed before",
}
"""Reason code -> its meaning. A record gets the first reason that applies."""

EVENT, DUPLICATE, REJECTED = "event", "duplicate", "rejected"

MOST_IDS_IN_MEMORY = 5_000_000
"""Most id hashes that are held in memory, some 70 bytes each; more are sorted. Measured on two cores: the ids of a day
were compared with those of the 30 days before it, a million events each. This took 25 s with sorted ids and 17 s with
sorted hashes. With the day's hashes in memory it takes 5 s, nearly all of it reading."""

MOST_IDS_ON_DRIVER = 200_000
"""Most ids, or hashes of ids, that are collected on the driver and sent to all tasks; some 100 bytes each. There are
more only after the topic was rewound and its records were landed again."""

_ID_AND_TIME = "event_id STRING, occurred_at STRING"
"""The fields that are parsed when a record is landed."""

_BODY_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in RECORD_FIELDS if name != "event_id")
"""The fields that are parsed when events are built; the id was parsed when the record was landed."""


_EMPTY_IDS = [form for one in EMPTY_IDS for form in (one, one.replace("-", ""), f"{{{one}}}")]
"""The empty ids in every UUID notation that other producers write."""


def to_raw(kafka: DataFrame, landing: int, future_tolerance_minutes: int) -> DataFrame:
    """Convert Kafka's records to rows of ``raw_events``.

    ``event_date`` is the UTC day of the record's ``occurred_at``. It is null if the time is missing or impossible:
    before :data:`daybook.contract.FIRST_MOMENT`, or later than the record's own time by more than the tolerance. Such
    a record belongs to no day, so no day waits for it. No record makes this function fail. A value that is not one
    JSON document has neither an id nor a day.

    Args:
        kafka: the columns of Spark's Kafka source: key, value, partition, offset, timestamp.
        landing: number of the landing that they belong to.
        future_tolerance_minutes: how far ahead a client's clock may be.
    """
    plain, doubtful = F.col("is_plain"), F.col("document")

    def field(name: str) -> Column:
        return F.when(plain, F.col(f"parsed.{name}")).otherwise(text_field(doubtful, name))

    latest = F.col("timestamp") + F.make_dt_interval(mins=F.lit(future_tolerance_minutes))

    # each step uses the previous one more than once: Spark does not merge such steps and computes each value once
    return (
        kafka.withColumn("is_plain", is_plain(F.col("value")))
        # one parse for both fields
        .withColumn("parsed", F.from_json(F.when(plain, F.col("value").cast("string")), _ID_AND_TIME))
        .withColumn("document", F.when(~plain, document(F.col("value"))))
        .withColumn("client_time", moment_of(field("occurred_at")))
        .withColumn("can_be", (F.col("client_time") >= F.lit(FIRST_MOMENT)) & (F.col("client_time") <= latest))
        .select(
            F.lit(landing).cast("bigint").alias("landing"),
            F.col("partition").alias("kafka_partition"),
            F.col("offset").alias("kafka_offset"),
            F.col("timestamp").alias("kafka_timestamp"),
            "key",
            "value",
            F.lower(F.trim(field("event_id"))).alias("event_id"),
            F.when(F.col("can_be"), F.to_date("client_time")).alias("event_date"),
        )
    )


def same_ids_elsewhere(
    raw: DataFrame, dates: list[date | None], window_days: int, counts: Mapping[date | None, int]
) -> DataFrame | None:
    """Return the records of other days that the verdicts of these dates depend on; None if there are no such records.

    These are the records with the same event_id within the window. Whether they are events depends on records within
    the window around them, and so on. Only the id column of the other days is read, unless an id is found. Within the
    window around these dates all their ids are searched; beyond it, only the ids that were found. Ids are compared by
    their hash, which may include an id too many.

    Args:
        raw: ``raw_events``.
        dates: the dates to build.
        window_days: how many days apart two records with one event_id can still be the same event.
        counts: date -> number of its records in ``raw``.
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
    """Collect the rows on the driver; None if there are more than :data:`MOST_IDS_ON_DRIVER`."""
    held = rows.limit(MOST_IDS_ON_DRIVER + 1).toArrow()
    if held.num_rows > MOST_IDS_ON_DRIVER:
        return None
    return rows.sparkSession.createDataFrame(held, schema), held


def ids_also_in(some: DataFrame, others: DataFrame, *, in_memory: bool) -> DataFrame:
    """Return the rows of ``others`` whose event_id has the hash of one of ``some``.

    Args:
        some: one column, event_id.
        others: the same column, and others.
        in_memory: whether to hold the hashes of ``some`` in memory instead of sorting those of both.
    """
    hashed = F.xxhash64("event_id")
    hashes = some.where("event_id IS NOT NULL").select(hashed.alias("hash"))
    kept = F.broadcast(hashes) if in_memory else hashes
    return others.where("event_id IS NOT NULL").join(kept, on=hashed == hashes["hash"], how="left_semi")


def classify(raw: DataFrame, window_days: int, elsewhere: DataFrame | None = None) -> DataFrame:
    """Return every raw record with its verdict.

    Records with one event_id are processed in landing order (landing, then partition, then offset). A record is an
    event if no earlier event with the same id lies within the window around its day. So a duplicate always repeats an
    event, and two events with one id are always further apart than the window.

    Otherwise the record is compared with these events. It is a duplicate if the client sent the same content for one of
    them (type, item, guild, player, host), else it is rejected as a conflict. Fields that the intake took from the
    request are not compared: the player or host of a record that did not name it (:data:`daybook.contract.FILLED`).
    Times are not compared either: a client that sends no ``occurred_at`` gets a new one with every retry. The window is
    counted from each record's own day, so a day's rows do not depend on the other days that are built with it.

    Args:
        raw: rows of ``raw_events``, of whole days.
        window_days: how many days apart two records with one event_id can still be the same event.
        elsewhere: records of other days from :func:`same_ids_elsewhere`; they are compared but not returned.

    Returns:
        The rows of ``raw`` with the contract's fields (null where unreadable), ``verdict`` (event, duplicate, rejected)
        and ``reason`` (null unless rejected); ``key`` and ``value`` are null unless rejected.
    """
    hashed = F.xxhash64("event_id")
    ids = raw.select("event_id")
    if elsewhere is not None:
        ids = ids.unionByName(elsewhere.select("event_id"))
    # Most ids occur in one record; only the others are sorted and compared. The hash may include an id too many, and
    # has a quarter of the id's bytes. A record without an id is never an event, so it needs no comparison
    counted = ids.where("event_id IS NOT NULL").groupBy(hashed.alias("hash")).count()
    several = _on_driver(counted.where("count > 1").select("hash"), "hash BIGINT")
    if several is None:  # a rewound topic: nearly every id occurs in several records
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
    """Add the contract's fields, and ``broken``: the reason why a record is not an event, null if it is one."""
    plain, doubtful = F.col("is_plain"), F.col("document")
    is_document = plain | doubtful.isNotNull()
    text = F.col("value").cast("string")
    # inline(array(...)) parses each record once and retains its coordinates. Under a filter, from_json is evaluated
    # again for every column that the filter and the output use
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
    # from_json accepts a number as a time, and times in more formats
    exact_times = {
        name: F.when(plain, F.col(name)).otherwise(moment_of(text_field(doubtful, name)))
        for name, kind in RECORD_FIELDS
        if kind == "timestamp"
    }
    texts_of_types = [name for name, kind in RECORD_FIELDS if name in OWN_FIELDS and kind == "string"]
    names = [*texts_of_types, "user_id"]
    texts = [*names, "host", "user_agent"]
    # from_json reads a number or an object as its text
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
    """Parse raw records whose event_id occurs only once; adds ``is_first`` and ``reason``."""
    return read(raw).withColumns({"reason": F.col("broken"), "is_first": F.lit(True)})


def _contested(raw: DataFrame, window_days: int) -> DataFrame:
    """Do the same for records that share their event_id; a conflict has a reason too."""
    # a record that is not an event is not compared with others of its id
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
                F.coalesce(one[name] == other[name], F.lit(True))  # null: the client did not send it
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
        # only the first record of a day can be an event: this gives one short list per id
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
            # the bytes of an event are no longer needed, and are most of a record
            "key": F.when(is_rejected, F.col("key")),
            "value": F.when(is_rejected, F.col("value")),
        }
    ).drop("broken", "is_first")


def _any(conditions: Iterable[Column]) -> Column:
    """Whether one of the conditions is true; a null counts as false."""
    return reduce(or_, (F.coalesce(condition, F.lit(False)) for condition in conditions), F.lit(False))


def provider_map(spark: SparkSession, hosts: list[str]) -> DataFrame:
    """Resolve the provider of each distinct host on the driver: host, provider, provider_domain."""
    known = [resolve(host) for host in hosts]
    columns = {
        "host": pa.array(hosts, pa.string()),
        "provider": pa.array([one.provider for one in known], pa.string()),
        "provider_domain": pa.array([one.domain for one in known], pa.string()),
    }
    return spark.createDataFrame(pa.table(columns), "host STRING, provider STRING, provider_domain STRING")


def first_revisions(spark: SparkSession, landings: dict[date, int]) -> DataFrame:
    """Return the last landing that each day's first revision was built from: event_date, first_revision_landing."""
    rows = [{"event_date": day, "first_revision_landing": landing} for day, landing in landings.items()]
    schema = pa.schema([("event_date", pa.date32()), ("first_revision_landing", pa.int64())])
    return spark.createDataFrame(
        pa.Table.from_pylist(rows, schema=schema), "event_date DATE, first_revision_landing BIGINT"
    )


def events_of(judged_records: DataFrame, providers: DataFrame, revisions: DataFrame) -> DataFrame:
    """Return the rows of ``events``.

    Args:
        judged_records: from :func:`classify`.
        providers: from :func:`provider_map`, with every host of the records.
        revisions: from :func:`first_revisions`. An event is late if its day was published before and its record was
            landed after the landings of the day's first revision.
    """
    return (
        judged_records.where(F.col("verdict") == EVENT)
        .join(F.broadcast(providers), on=F.coalesce(judged_records["host"], F.lit("")) == providers["host"], how="left")
        .drop(providers["host"])
        .join(F.broadcast(revisions), on="event_date", how="left")
        .withColumn("is_late", F.coalesce(F.col("landing") > F.col("first_revision_landing"), F.lit(False)))
        .select(*struct(TABLES[EVENTS].columns).fieldNames())
    )


def rejected_of(judged_records: DataFrame) -> DataFrame:
    """Return the rows of ``rejected_events``."""
    meanings = F.create_map(*[F.lit(part) for pair in REASONS.items() for part in pair])
    return (
        judged_records.where(F.col("verdict") == REJECTED)
        .withColumn("detail", meanings[F.col("reason")])
        .select(*struct(TABLES[REJECTED_EVENTS].columns).fieldNames())
    )
