"""The lake's maintenance. Each step may be repeated or stopped at any time; no step changes what readers see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, timedelta

from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.snapshots import partition_counts, readers_states
from daybook.lake.tables import CATALOG, RAW_EVENTS, REJECTED_EVENTS, TABLES, spark_name
from daybook.pipeline.position import position
from daybook.settings import Settings
from daybook.sql.answers import answers
from daybook_spark.landing import keep_position, left_staged

ORPHANS_AFTER = timedelta(days=3)
"""Age at which a file that no snapshot references is an orphan; a younger one may belong to a running writer.
This is Iceberg's own default."""

Counts = dict[str, int]
"""Table -> number of items that a step processed; tables with nothing to do are left out."""


def tables(settings: Settings) -> Iterator[tuple[str, Table]]:
    """Yield every existing table with its metadata; an answer's table is created with its first rows."""
    for name in (*TABLES, *answers()):
        if (table := load(settings, name)) is not None:
            yield name, table


def expire_snapshots(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Expire snapshots older than the retention, including staged ones of failed runs.

    Snapshots are expired by id and only in the metadata, so this takes seconds however many there are;
    :func:`remove_orphan_files` deletes the files. Snapshots younger than the retention are retained, and:

    - each table's current snapshot,
    - the snapshots that ledger rows younger than the retention pin,
    - the snapshots that a half-published day depends on,
    - the one that holds the next Kafka offsets, and a landing staged from there: the broker may have lost it since.

    Args:
        spark: the session.
        settings: where the lake is, and the retention.
        now: UTC.

    Returns:
        Table -> number of removed snapshots.
    """
    keep_position(settings)
    since = now - timedelta(days=settings.snapshot_retention_days)
    pins = _young_pins(settings, since)
    done: Counts = {}
    for name, table in tables(settings):
        kept = _kept(settings, table, name, since) | pins.get(name, set())
        gone = [one.snapshot_id for one in table.metadata.snapshots if one.snapshot_id not in kept]
        if gone:
            _expire(spark, name, gone)
            done[name] = len(gone)
    return done


def _expire(spark: SparkSession, table: str, snapshot_ids: list[int]) -> None:
    """Remove snapshots from the metadata through Iceberg's own Java API.

    The procedure ``expire_snapshots`` would read every manifest to find the files. PyIceberg scans all snapshots for
    each one that it removes (1,000 take 30 s, measured with 0.12).
    """
    jvm = spark._jvm
    assert jvm is not None  # a local session has one
    loaded = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, spark_name(table))
    # 0 is the epoch: nothing is expired by age
    expiry = loaded.expireSnapshots().cleanExpiredFiles(False).expireOlderThan(0)
    for snapshot_id in snapshot_ids:
        expiry = expiry.expireSnapshotId(snapshot_id)
    expiry.commit()


def _young_pins(settings: Settings, since: datetime) -> dict[str, set[int]]:
    """Return table -> snapshots pinned by ledger rows that were published since a time."""
    pins: dict[str, set[int]] = {}
    for one in read_ledger(settings).revisions:
        if one.published_at >= since:
            for name, snapshot_id in {**one.snapshots, RAW_EVENTS: one.raw_snapshot_id}.items():
                if snapshot_id is not None:
                    pins.setdefault(name, set()).add(snapshot_id)
    return pins


def _kept(settings: Settings, table: Table, name: str, since: datetime) -> set[int]:
    young = [one for one in table.metadata.snapshots if one.timestamp_ms >= since.timestamp() * 1000]
    kept = {one.snapshot_id for one in young}
    # publishing a staged snapshot needs its parent
    kept |= {one.parent_snapshot_id for one in young if one.parent_snapshot_id}
    if name == RAW_EVENTS:
        waiting = left_staged(table, position(settings, table))
        kept |= {waiting.snapshot_id} if waiting else set()
    else:
        kept |= _half_published(settings, table, name)
    return kept | {table.metadata.current_snapshot_id or 0}


def _half_published(settings: Settings, table: Table, name: str) -> set[int]:
    """Return the snapshots back to the one before the oldest change of a day that no ledger row covers yet.

    Readers use the pinned snapshot, or the oldest remaining one if the pinned one was expired. That snapshot must show
    the day without the change. Later ones are retained too, or the next maintenance run could not detect the change.
    """
    pins = {
        day: (pin, newest.published_at.timestamp() * 1000)
        for day, newest in read_ledger(settings).newest.items()
        if (pin := newest.snapshots.get(name))
    }
    if not pins:
        return set()
    states = list(readers_states(table))
    place = {state.snapshot_id: at for at, state in enumerate(states)}
    kept: set[int] = set()
    for at, state in enumerate(states):
        for pin, published_ms in (pins[day] for day in _changed_days(table, state) if day in pins):
            # if the pinned snapshot is gone, compare the times: the ledger row was written after the tables
            if at < place[pin] if pin in place else state.timestamp_ms > published_ms:
                kept |= {one.snapshot_id for one in states[: at + 2]} | {pin}
    return kept


def _changed_days(table: Table, state: Snapshot) -> set[date]:
    """Return the days whose rows a snapshot changed; empty if it only merged files."""
    if state.summary is None or state.summary.operation == Operation.REPLACE:
        return set()
    changed = set()
    for manifest in state.manifests(table.io):
        if manifest.added_snapshot_id != state.snapshot_id:
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
            if entry.snapshot_id == state.snapshot_id and entry.status != ManifestEntryStatus.EXISTING:
                days_since_1970 = entry.data_file.partition[0]
                if days_since_1970 is not None:
                    changed.add(date(1970, 1, 1) + timedelta(days=days_since_1970))
    return changed


def compact_files(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Merge small files: late events add some to a day of ``raw_events``, every revision adds one to the ledger.

    Days with fewer than five small files are not changed (Iceberg's ``min-input-files``), so a second run finds
    nothing to do.

    Returns:
        Table -> number of merged files.
    """
    done: Counts = {}
    for name, _ in tables(settings):
        if merged := merge_files(spark, name):
            done[name] = merged
    keep_position(settings)
    return done


def merge_files(spark: SparkSession, table: str) -> int:
    """Merge a table's small files; return how many were merged."""
    [row] = spark.sql(
        f"CALL {CATALOG}.system.rewrite_data_files(table => :table)", args={"table": spark_name(table)}
    ).collect()
    return int(row["rewritten_data_files_count"])


def apply_raw_retention(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Remove raw records of published days that are older than the retention; the days stay published.

    Only records that a published revision has counted are removed. Records that arrived after their day was built
    stay. Every day within ``lateness_days`` of an unpublished day stays too: its ids will be compared with that day's.

    Returns:
        Table -> number of removed rows; empty if raw records are retained for ever.
    """
    if not settings.raw_retention_days or load(settings, RAW_EVENTS) is None:
        return {}
    first_kept = now.date() - timedelta(days=settings.raw_retention_days)
    raw = load(settings, RAW_EVENTS)
    counts = partition_counts(raw)
    # do not remove records that land while this runs, whatever their day
    landed = f"landing <= {position(settings, raw).landing}"
    landings = {day: newest.landing for day, newest in read_ledger(settings).newest.items()}
    waiting = {day for day in counts if day is not None and day not in landings}
    window = range(-settings.lateness_days, settings.lateness_days + 1)
    kept = {day + timedelta(days=days) for day in waiting for days in window}
    old = {day for day in counts if day is not None and day < first_kept and day in landings and day not in kept}
    done: Counts = {}
    if old:
        for day in _days_with_later_records(spark, old, landings):
            old.discard(day)
            counted = f"event_date = DATE '{day}' AND landing <= {landings[day]}"
            done[RAW_EVENTS] = done.get(RAW_EVENTS, 0) + _delete(spark, RAW_EVENTS, counted)
        days = ", ".join(f"DATE '{day}'" for day in sorted(old))
        if days:  # one commit for all days; it drops whole files
            done[RAW_EVENTS] = done.get(RAW_EVENTS, 0) + _delete(
                spark, RAW_EVENTS, f"event_date IN ({days}) AND {landed}"
            )
    # Records without a day are removed by their own time, from both tables together. If some are not in
    # rejected_events yet, all of them wait for the next run, which reports them.
    nameless = f"event_date IS NULL AND kafka_timestamp < TIMESTAMP '{first_kept} 00:00:00' AND {landed}"
    if counts.get(None, 0) <= partition_counts(load(settings, REJECTED_EVENTS)).get(None, 0):
        for name in (RAW_EVENTS, REJECTED_EVENTS):
            done[name] = done.get(name, 0) + _delete(spark, name, nameless)
    keep_position(settings)
    return {name: rows for name, rows in done.items() if rows}


def _days_with_later_records(spark: SparkSession, days: Collection[date], landings: Mapping[date, int]) -> set[date]:
    """Return the days that have records from a landing after their published one; ``landings``: day -> last landing."""
    rows = spark.table(spark_name(RAW_EVENTS)).where(F.col("event_date").isin(list(days)))
    newest = rows.groupBy("event_date").agg(F.max("landing").alias("landing")).collect()
    return {row["event_date"] for row in newest if row["landing"] > landings[row["event_date"]]}


def _delete(spark: SparkSession, table: str, condition: str) -> int:
    rows = spark.table(spark_name(table)).where(condition).count()
    if rows:
        spark.sql(f"DELETE FROM {spark_name(table)} WHERE {condition}")
    return rows


def remove_orphan_files(spark: SparkSession, settings: Settings, now: datetime) -> Counts:
    """Delete files that no snapshot references: those of expired snapshots and of killed writers.

    Returns:
        Table -> number of deleted files.
    """
    done: Counts = {}
    for name, _ in tables(settings):
        deleted = spark.sql(
            f"CALL {CATALOG}.system.remove_orphan_files(table => :table, older_than => :before, "
            "prefix_listing => :prefix_listing)",
            # a bucket has no folders, and Spark has no Hadoop file system for it
            args={
                "table": spark_name(name),
                "before": now - ORPHANS_AFTER,
                "prefix_listing": settings.is_on_s3,
            },
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
"""Task of ``dags/lake_maintenance.py`` -> its function, in order of execution."""
