"""A table's history in Iceberg: which snapshots readers have seen, and what each holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from daybook.contract import FIRST_MOMENT

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.snapshots import Snapshot

SOURCE_SNAPSHOT_ID = "source-snapshot-id"
"""Set by Iceberg on a snapshot that was published by copying another."""
EPOCH = date(1970, 1, 1)
FEW_DAYS = 40
"""Up to this many days, the scan is planned with a filter on them; above, all files are planned and then filtered."""


def published(table: Table | None) -> Iterator[Snapshot]:
    """Yield the snapshots that make up the readers' state, newest first.

    A snapshot may have been published by copying, if the table had changed since it was staged. It is followed by the
    staged snapshot that it was copied from, which holds the properties it was staged with.
    """
    for snapshot, source in _states_and_sources(table):
        yield snapshot
        if source is not None:
            yield source


def readers_states(table: Table | None) -> Iterator[Snapshot]:
    """Yield the states that readers saw, newest first, back to the first or to one whose predecessor expired."""
    for snapshot, _ in _states_and_sources(table):
        yield snapshot


def published_as(table: Table | None, staged_id: int) -> Snapshot | None:
    """Return the state that published a staged snapshot: itself or a copy of it; None if it was not published."""
    for state in readers_states(table):
        if state.snapshot_id == staged_id or property_of(state, SOURCE_SNAPSHOT_ID) == str(staged_id):
            return state
    return None


def readable_snapshot(table: Table, pinned: int) -> int | None:
    """Return the snapshot at which to read a published revision: the one that its ledger row pins.

    If the pinned snapshot expired, it is the oldest remaining state after it. States between the pinned one and the
    day's next change are not expired, so the result shows the day as published. This also holds while a new revision
    is half published. None for a table that never had a state.
    """
    if table.snapshot_by_id(pinned) is not None:
        return pinned
    states = list(readers_states(table))
    return states[-1].snapshot_id if states else None


def _states_and_sources(table: Table | None) -> Iterator[tuple[Snapshot, Snapshot | None]]:
    if table is None:
        return
    # PyIceberg searches all snapshots for each id; a lake may hold 100,000 that were staged and never published
    known = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    snapshot = table.current_snapshot()
    while snapshot is not None:
        source = property_of(snapshot, SOURCE_SNAPSHOT_ID)
        yield snapshot, known.get(int(source)) if source else None
        snapshot = known.get(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None


def property_of(snapshot: Snapshot, key: str) -> str | None:
    """Return a property of a snapshot's summary."""
    return snapshot.summary.additional_properties.get(key) if snapshot.summary else None


def partition_counts(table: Table | None, snapshot_id: int | None = None) -> dict[date | None, int]:
    """Count rows per event date at a snapshot, or as readers see it, from metadata alone; no date has zero rows."""
    if table is None or (snapshot_id is None and table.current_snapshot() is None):
        return {}
    partitions = table.inspect.partitions(snapshot_id)
    if not partitions.num_rows:  # PyIceberg omits the column for a table without files
        return {}
    rows = partitions.select(["partition", "record_count"]).to_pylist()
    return {row["partition"]["event_date"]: row["record_count"] for row in rows if row["record_count"]}


def day_files(
    table: Table, snapshot_id: int, days: Collection[date | None] | None
) -> Iterator[tuple[date | None, FileScanTask]]:
    """Yield day and scan task of each data file at a snapshot, of some or all days; None means rows without a day."""
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.table import FileScanTask

    for task in table.scan(row_filter=_of_days(days) or AlwaysTrue(), snapshot_id=snapshot_id).plan_files():
        if not isinstance(task, FileScanTask):
            raise TypeError(f"{table.name()}: PyIceberg has planned a {type(task).__name__}")
        fields = table.specs()[task.file.spec_id].fields
        day = next((task.file.partition[at] for at, field in enumerate(fields) if field.name == "event_date"), None)
        if isinstance(day, int):  # Iceberg counts days from 1970-01-01
            day = EPOCH + timedelta(days=day)
        if days is None or day in days:
            yield day, task


def _of_days(days: Collection[date | None] | None) -> str:
    if not days or len(days) > FEW_DAYS:
        return ""
    listed = ", ".join(f"'{day}'" for day in sorted(day for day in days if day is not None))
    named = [f"event_date IN ({listed})"] if listed else []
    return " OR ".join([*named, *(["event_date IS NULL"] if None in days else [])])


def record_began(raw: Table | None) -> datetime:
    """Return when Kafka took the first landed record, UTC, from metadata; the end of time if nothing has landed."""
    from pyiceberg.conversions import from_bytes
    from pyiceberg.types import TimestamptzType

    if raw is None:
        return datetime.max.replace(tzinfo=UTC)
    taken_at = raw.schema().find_field("kafka_timestamp").field_id
    lowest = [(task.file.lower_bounds or {}).get(taken_at) for task in raw.scan().plan_files()]
    kind = TimestamptzType()
    moments: list[int] = [from_bytes(kind, one) for one in lowest if one]  # type: ignore[misc]  # its hint says text
    return FIRST_MOMENT + timedelta(microseconds=min(moments)) if moments else datetime.max.replace(tzinfo=UTC)
