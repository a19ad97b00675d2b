"""Removes one player from every table and every snapshot."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.errors import DaybookError
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.state import who
from daybook.lake.tables import (
    CATALOG,
    CHECK_FAILURES,
    ERASURES,
    EVENTS,
    RAW_EVENTS,
    REJECTED_EVENTS,
    TABLES,
    spark_name,
)
from daybook.pipeline.due import lake_days
from daybook.pipeline.erasures import erasures, user_digest
from daybook.pipeline.position import position
from daybook.settings import Settings
from daybook.sql.answers import answers
from daybook_spark.landing import keep_position
from daybook_spark.publishing import publish_days
from daybook_spark.rebuilding import build
from daybook_spark.staging import struct

_TEXT = "CAST(value AS STRING)"
OF_USER = f"""(
    get_json_object({_TEXT}, '$.user_id') <=> :user_id
    OR CAST(key AS STRING) <=> :user_id
    OR (
        get_json_object({_TEXT}, '$.user_id') IS NULL
        AND :user_id IN (
            get_json_object({_TEXT}, '$.host'), substring_index(get_json_object({_TEXT}, '$.host'), '.', 1)
        )
    )
    OR (
        {_TEXT} RLIKE :named
        AND NOT (
            try_parse_json(concat('[', {_TEXT}, ']')) IS NOT NULL
            AND try_parse_json(concat('{{"":', {_TEXT}, '}}')) IS NOT NULL
        )
    )
)"""
"""Whether a raw or rejected record belongs to the player ``:user_id``. It does if its ``user_id`` or its key is the
player's, or if it has no ``user_id`` and its host is the player's. A value that is not one JSON document may name
several players; the pattern ``:named`` finds each of them."""


def _values(user_id: str) -> dict[str, Any]:
    """The parameters of :data:`OF_USER`."""
    name, player = _spelled("user_id"), _spelled(user_id)
    end = r"(?=[\s,}\]]|\z)"
    return {
        "user_id": user_id,
        "named": rf"""(?<![A-Za-z0-9_])["']?{name}["']?\s*:\s*(?:"{player}"|'{player}'|{player}{end})""",
    }


def _spelled(text: str) -> str:
    """A Java regular expression that matches all ways in which JSON can spell a text."""
    return "".join(_ways(character) for character in text)


def _ways(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    escaped = "".join(rf"\\u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4))
    itself = character if character.isalnum() or not character.isascii() else rf"\x{ord(character):02x}"
    behind_backslash = [rf"\\{itself}"] if character in '"\\/' else []
    return f"(?:{'|'.join([*behind_backslash, itself, escaped])})"


def forget(spark: SparkSession, settings: Settings, user_id: str, run_id: str, note: str) -> dict[str, Any]:
    """Remove a player's rows.

    If no table has a row of the player and none was ever removed, nothing is done and nothing is recorded. Otherwise
    the steps are: record the erasure, remove the raw records, rebuild the affected days from the remaining records,
    and delete all older snapshots with their files. Repeat a killed run to finish it; an erasure that was already
    recorded is not recorded again. Records that land during the run stay until the next one.

    Args:
        spark: the session.
        settings: where the lake is.
        user_id: the player.
        run_id: stored with each revision.
        note: stored with the record of the erasure.

    Returns:
        ``records`` removed, ``days`` rebuilt.

    Raises:
        DaybookError: the player has rows in a published day whose raw records were removed by retention, and nothing
            was removed; or rows of the player are left at the end.
    """
    _refuse_unbuildable_days(spark, settings, user_id)
    upto = position(settings, load(settings, RAW_EVENTS)).landing
    digest = user_digest(user_id)
    # raw records are removed in one commit: if a recorded landing still has some, that run had not removed any
    before = [row["landing"] for row in erasures(settings) if row["user_digest"] == digest]
    is_new = F.col("landing") > max(before, default=0)
    landed = (
        _records(spark, RAW_EVENTS, user_id)
        .where(F.col("landing") <= upto)
        .groupBy("event_date")
        .agg(
            F.count(F.lit(1)).alias("removed"),
            F.count_if(is_new).alias("records"),
            F.collect_set(F.when(is_new, F.col("event_id"))).alias("event_ids"),
        )
        .orderBy("event_date")
        .collect()
    )
    removed = sum(row["removed"] for row in landed)
    if not landed and not before and not any(_derived(spark, user_id, upto).values()):
        return {"records": 0, "days": []}
    counted = [row for row in landed if row["records"]]
    days = [
        {"day": row["event_date"].isoformat() if row["event_date"] else None, "records": row["records"]}
        for row in counted
    ]
    records = sum(row["records"] for row in counted)
    event_ids = [event_id for row in counted for event_id in row["event_ids"]]
    written = (datetime.now(UTC), who(), note, digest, records, json.dumps(days), upto, event_ids)
    spark.createDataFrame([written], struct(TABLES[ERASURES].columns)).writeTo(spark_name(ERASURES)).append()

    _remove_raw(spark, user_id, upto)
    keep_position(settings)
    spark.sql(f"DELETE FROM {spark_name(CHECK_FAILURES)} WHERE {_FAILURE_OF_USER}", args={"user_id": user_id})
    # also search the derived tables: this finishes a run that was killed after the first deletion
    left = spark.table(spark_name(EVENTS)).where(F.col("user_id") == user_id).select("event_date")
    left = left.union(_records(spark, REJECTED_EVENTS, user_id).select("event_date"))
    touched = {row["event_date"] for row in [*left.distinct().collect(), *landed]}
    published = read_ledger(settings).newest
    dates = [*sorted(day for day in touched if day in published), *([None] if None in touched else [])]
    if dates:
        stage, staged_answers = build(spark, settings, dates, run_id)
        own = next((day for day in dates if day is not None), datetime.now(UTC).date())
        publish_days(spark, settings, stage, staged_answers, own, None)
    _expire_all_but_current(spark, settings)
    not_removed = _records(spark, RAW_EVENTS, user_id).where(F.col("landing") <= upto).count()
    of_tables = {RAW_EVENTS: not_removed, **_derived(spark, user_id, upto)}
    if left_over := {table: count for table, count in of_tables.items() if count}:
        raise DaybookError(
            f"rows of the user remain: {', '.join(f'{count} of {table}' for table, count in left_over.items())}. "
            f"{removed} raw records were removed and the erasure is recorded. Check these rows, then repeat the erasure"
        )
    return {"records": removed, "days": [day.isoformat() for day in dates if day is not None]}


_FAILURE_OF_USER = "get_json_object(failing_row, '$.user_id') = :user_id"


def _remove_raw(spark: SparkSession, user_id: str, upto: int) -> None:
    spark.sql(
        f"DELETE FROM {spark_name(RAW_EVENTS)} WHERE {OF_USER} AND landing <= :upto",
        args={**_values(user_id), "upto": upto},
    )


def _records(spark: SparkSession, table: str, user_id: str) -> DataFrame:
    return spark.sql(f"SELECT * FROM {spark_name(table)} WHERE {OF_USER}", args=_values(user_id))


def _derived(spark: SparkSession, user_id: str, upto: int) -> dict[str, int]:
    """Count the player's rows in each derived table, from landings so far; an answer's rows have no landing."""
    events = spark.table(spark_name(EVENTS)).where(F.col("user_id") == user_id)
    landed_so_far = F.col("landing") <= upto
    counts = {
        REJECTED_EVENTS: _records(spark, REJECTED_EVENTS, user_id).where(landed_so_far).count(),
        EVENTS: events.where(landed_so_far).count(),
    }
    if not events.where(~landed_so_far).isEmpty():
        return counts  # the player has newer events and may be in the answers because of them
    failures = spark.sql(f"SELECT * FROM {spark_name(CHECK_FAILURES)} WHERE {_FAILURE_OF_USER}", {"user_id": user_id})
    counts[CHECK_FAILURES] = failures.count()
    for name, answer in answers().items():
        if answer.names_players and spark.catalog.tableExists(spark_name(name)):
            counts[name] = spark.table(spark_name(name)).where(F.col("user_id") == user_id).count()
    return counts


def _refuse_unbuildable_days(spark: SparkSession, settings: Settings, user_id: str) -> None:
    """Refuse days that cannot be rebuilt: without its raw records a day would be empty, for every player."""
    known = lake_days(settings, load(settings, RAW_EVENTS))
    near = known.near
    if not near:
        return
    rows = spark.table(spark_name(EVENTS)).where(F.col("user_id") == user_id).select("event_date")
    for table in (RAW_EVENTS, REJECTED_EVENTS):
        rows = rows.union(_records(spark, table, user_id).select("event_date"))
    if bound := sorted({row["event_date"] for row in rows.distinct().collect()} & near.keys() & known.published.keys()):
        missing = near[bound[0]]
        why = (
            f"DAYBOOK_RAW_RETENTION_DAYS removed raw records of {missing}"
            if known.is_past_retention(missing)
            else f"raw records of {missing} are missing (`daybook verify --day {missing}` shows which)"
        )
        raise DaybookError(
            f"{', '.join(map(str, bound))}: these published days have rows of the user and cannot be rebuilt without "
            f"them, because {why}. Nothing was removed"
        )


def _expire_all_but_current(spark: SparkSession, settings: Settings) -> None:
    """Expire all but the current snapshot of every table that names players, and delete the files no longer used.

    Staged snapshots are expired too. If a published day's pinned snapshot is gone, readers get the oldest remaining
    state (:func:`daybook.lake.snapshots.readable_snapshot`), which is then the only one.
    """
    for table in (RAW_EVENTS, EVENTS, REJECTED_EVENTS, CHECK_FAILURES, *answers()):
        metadata = load(settings, table)
        if metadata is None or len(metadata.metadata.snapshots) < 2:
            continue
        spark.sql(
            f"CALL {CATALOG}.system.expire_snapshots(table => :table, older_than => :now, retain_last => 1)",
            args={"table": spark_name(table), "now": datetime.now(UTC)},
        ).collect()
