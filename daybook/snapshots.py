"""A table's history as Iceberg keeps it: which snapshots readers' state is made of, and what each holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

SOURCE_SNAPSHOT_ID = "source-snapshot-id"
"""Set by Iceberg on a snapshot that was published by copying another."""


def published(table: Table | None) -> Iterator[Snapshot]:
    """The snapshots that readers' state is made of, newest first.

    A snapshot that was published by copying (the table had moved on since it was staged) is followed by the staged one
    it was copied from, which holds the properties it was staged with.
    """
    if table is None:
        return
    snapshot = table.current_snapshot()
    while snapshot is not None:
        yield snapshot
        source = property_of(snapshot, SOURCE_SNAPSHOT_ID)
        if source and (copied := table.snapshot_by_id(int(source))) is not None:
            yield copied
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None


def property_of(snapshot: Snapshot, key: str) -> str | None:
    """A property of a snapshot's summary."""
    return snapshot.summary.additional_properties.get(key) if snapshot.summary else None


def partition_counts(table: Table | None, snapshot_id: int | None = None) -> dict[date | None, int]:
    """Rows of each event date at a snapshot, or as readers see it, out of the metadata alone. No date has zero rows."""
    if table is None or (snapshot_id is None and table.current_snapshot() is None):
        return {}
    rows = table.inspect.partitions(snapshot_id).select(["partition", "record_count"]).to_pylist()
    return {row["partition"]["event_date"]: row["record_count"] for row in rows if row["record_count"]}
