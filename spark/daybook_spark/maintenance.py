"""The lake's upkeep. Each step may be repeated and stopped at any time; none changes what a reader sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timedelta

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from daybook.answers import answers
from daybook.lake import ledger, load
from daybook.lake_names import (
    ACCEPTED_LOSSES,
    CATALOG,
    CHECK_FAILURES,
    DAY_LEDGER,
    ERASURES,
    EVENTS,
    RAW_EVENTS,
    REJECTED_EVENTS,
    REPLAYED_RECORDS,
    spark_name,
)
from daybook.position import position
from daybook.settings import Settings
from daybook.snapshots import partition_counts
from daybook_spark.landing import keep_position
from daybook_spark.pages import latest_revisions

ORPHANS_AFTER = timedelta(days=3)
"""A file that no snapshot names is somebody's who is still writing until then; Iceberg's own default."""

Counts = dict[str, int]
"""Table -> what a step did to it; tables with nothing to do are left out."""


def tables() -> list[str]:
    """Every table of the lake."""
    return [
        *(RAW_EVENTS, EVENTS, REJECTED_EVENTS, *answers()),
        *(DAY_LEDGER, CHECK_FAILURES, ACCEPTED_LOSSES, REPLAYED_RECORDS, ERASURES),
    ]


def expire_snapshots(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Forget former states of the tables and what failed runs left staged, once older than the retention.

    By explicit snapshot ids and in the metadata alone, so that it takes seconds whatever there is to forget; the files
    go with :func:`remove_orphan_files`. Kept are, besides all that is younger than the retention: each table's current
    state, the snapshots that ledger rows published since then are pinned to, those that a half published page stands
    on, and where the record stands in Kafka.

    Args:
        spark: the session.
        settings: where the lake is, and the retention.
        now: UTC.

    Returns:
        Table -> snapshots that were removed.
    """
    keep_position(spark, settings)
    since = now - timedelta(days=settings.snapshot_retention_days)
    pins = _young_pins(settings, since)
    done: Counts = {}
    for name in tables():
        table = load(settings, name)
        if table is None:
            continue
        kept = _kept(settings, table, name, since) | pins.get(name, set())
        gone = [one.snapshot_id for one in table.metadata.snapshots if one.snapshot_id not in kept]
        if gone:
            _expire(spark, name, gone)
            done[name] = len(gone)
    return done


def _expire(spark: SparkSession, table: str, snapshot_ids: list[int]) -> None:
    """Remove snapshots from the metadata, by Iceberg's own API.

    The procedure ``expire_snapshots`` would read every manifest to find the files; PyIceberg looks through all
    snapshots for each that goes (1,000 take 30 s, measured with 0.12).
    """
    jvm = spark._jvm
    assert jvm is not None  # a session of this machine has one
    loaded = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, spark_name(table))
    # older than the beginning of time: nothing goes by age
    expiry = loaded.expireSnapshots().cleanExpiredFiles(False).expireOlderThan(0)
    for snapshot_id in snapshot_ids:
        expiry = expiry.expireSnapshotId(snapshot_id)
    expiry.commit()


def _young_pins(settings: Settings, since: datetime) -> dict[str, set[int]]:
    """Table -> snapshots that ledger rows published since a time are pinned to."""
    pins: dict[str, set[int]] = {}
    for row in ledger(settings).to_dict("records"):
        if row["published_at"] >= since:
            for name, snapshot_id in {**row["snapshots"], RAW_EVENTS: row["raw_snapshot_id"]}.items():
                pins.setdefault(name, set()).add(snapshot_id)
    return pins


def _kept(settings: Settings, table: Table, name: str, since: datetime) -> set[int]:
    by_id = {one.snapshot_id: one for one in table.metadata.snapshots}
    young = [one for one in by_id.values() if one.timestamp_ms >= since.timestamp() * 1000]
    kept = {one.snapshot_id for one in young} | _half_published(settings, table, name, by_id)
    # a staged snapshot is published against the one it was staged on
    kept |= {one.parent_snapshot_id for one in young if one.parent_snapshot_id}
    return kept | {table.metadata.current_snapshot_id or 0}


def _half_published(settings: Settings, table: Table, name: str, by_id: dict[int, Snapshot]) -> set[int]:
    """Pins whose day was published anew in this table, by a run that has not come to its ledger row."""
    pins = {row["event_date"]: row["snapshots"].get(name) for row in latest_revisions(settings)}
    if not pins or table.current_snapshot() is None or not table.spec().fields:
        return set()
    found = set()
    for row in table.inspect.partitions().select(["partition", "last_updated_snapshot_id"]).to_pylist():
        pinned = by_id.get(pins.get(row["partition"]["event_date"]) or 0)
        updated = by_id.get(row["last_updated_snapshot_id"] or 0)
        if pinned is None or updated is None or updated.summary is None:
            continue
        is_newer = (updated.sequence_number or 0) > (pinned.sequence_number or 0)
        if is_newer and updated.summary.operation != Operation.REPLACE:
            found.add(pinned.snapshot_id)
    return found


def compact_files(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Merge small files: late events add some to a day of ``raw_events``, every page adds one to the ledger.

    Days with fewer than five small files are left alone (Iceberg's ``min-input-files``), so a second run finds nothing.

    Returns:
        Table -> files that were merged.
    """
    done: Counts = {}
    for name in tables():
        if load(settings, name) is None:
            continue
        [row] = spark.sql(
            f"CALL {CATALOG}.system.rewrite_data_files(table => :table)", args={"table": spark_name(name)}
        ).collect()
        if row["rewritten_data_files_count"]:
            done[name] = row["rewritten_data_files_count"]
    keep_position(spark, settings)
    return done


def apply_raw_retention(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Remove raw records of published days that are older than the retention; their pages stand.

    Only what a page has counted goes. Records that came after their day's page was built stay, and so does every day
    within ``lateness_days`` of one that has no page yet, whose ids will be held against it.

    Returns:
        Table -> rows that were removed; nothing if raw records are kept for ever.
    """
    if not settings.raw_retention_days or load(settings, RAW_EVENTS) is None:
        return {}
    first_kept = now.date() - timedelta(days=settings.raw_retention_days)
    raw = load(settings, RAW_EVENTS)
    counts = partition_counts(raw)
    # what lands while this runs is not meant, whatever its day
    landed = f"landing <= {position(settings, raw).landing}"
    pages = {row["event_date"]: int(row["landing"]) for row in latest_revisions(settings)}
    waiting = {day for day in counts if day is not None and day not in pages}
    window = range(-settings.lateness_days, settings.lateness_days + 1)
    kept = {day + timedelta(days=days) for day in waiting for days in window}
    old = {day for day in counts if day is not None and day < first_kept and day in pages and day not in kept}
    done: Counts = {}
    if old:
        for day in _days_with_later_records(spark, old, pages):
            old.discard(day)
            counted = f"event_date = DATE '{day}' AND landing <= {pages[day]}"
            done[RAW_EVENTS] = done.get(RAW_EVENTS, 0) + _delete(spark, RAW_EVENTS, counted)
        days = ", ".join(f"DATE '{day}'" for day in sorted(old))
        if days:  # all in one commit, which drops whole files
            done[RAW_EVENTS] = done.get(RAW_EVENTS, 0) + _delete(
                spark, RAW_EVENTS, f"event_date IN ({days}) AND {landed}"
            )
    # records without a day go by their own time, from both tables at once in number; those that are not among the
    # rejected yet wait for the next run, which tells of them
    nameless = f"event_date IS NULL AND kafka_timestamp < TIMESTAMP '{first_kept} 00:00:00' AND {landed}"
    if counts.get(None, 0) <= partition_counts(load(settings, REJECTED_EVENTS)).get(None, 0):
        for name in (RAW_EVENTS, REJECTED_EVENTS):
            done[name] = done.get(name, 0) + _delete(spark, name, nameless)
    keep_position(spark, settings)
    return {name: rows for name, rows in done.items() if rows}


def _days_with_later_records(spark: SparkSession, days: Collection[date], pages: Mapping[date, int]) -> set[date]:
    """Those of the days that have records of a landing that their page has not seen; ``pages``: day -> last landing."""
    rows = spark.table(spark_name(RAW_EVENTS)).where(F.col("event_date").isin(list(days)))
    newest = rows.groupBy("event_date").agg(F.max("landing").alias("landing")).collect()
    return {row["event_date"] for row in newest if row["landing"] > pages[row["event_date"]]}


def _delete(spark: SparkSession, table: str, condition: str) -> int:
    rows = spark.table(spark_name(table)).where(condition).count()
    if rows:
        spark.sql(f"DELETE FROM {spark_name(table)} WHERE {condition}")
    return rows


def remove_orphan_files(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Delete files that no snapshot names: of expired snapshots and of writers that were killed.

    Returns:
        Table -> files that were deleted.
    """
    done: Counts = {}
    for name in tables():
        if load(settings, name) is None:
            continue
        deleted = spark.sql(
            f"CALL {CATALOG}.system.remove_orphan_files(table => :table, older_than => :before)",
            args={"table": spark_name(name), "before": now - ORPHANS_AFTER},
        ).count()
        if deleted:
            done[name] = deleted
    return done


STEPS: dict[str, Callable[[SparkSession, Settings, datetime], Counts]] = {
    "expire_snapshots": expire_snapshots,
    "compact_files": compact_files,
    "apply_raw_retention": apply_raw_retention,
    "remove_orphan_files": remove_orphan_files,
}
"""Task of ``dags/lake_maintenance.py`` -> what it does, in order."""
