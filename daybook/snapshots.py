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
    for snapshot, source in _states_and_sources(table):
        yield snapshot
        if source is not None:
            yield source


def readers_states(table: Table | None) -> Iterator[Snapshot]:
    """The states that readers saw, newest first, back to the first or to one whose predecessor was expired."""
    for snapshot, _ in _states_and_sources(table):
        yield snapshot


def page_state(table: Table, pinned: int) -> int | None:
    """The snapshot at which to read a page: the one that its ledger row pins.

    If that was expired it is the oldest state that is left of those that came after it: no state is expired between the
    pinned one and a change of the page, so it shows the page as published, also while a new revision of it is published
    by half. None for a table that never had a state.
    """
    if table.snapshot_by_id(pinned) is not None:
        return pinned
    states = list(readers_states(table))
    return states[-1].snapshot_id if states else None


def _states_and_sources(table: Table | None) -> Iterator[tuple[Snapshot, Snapshot | None]]:
    if table is None:
        return
    # PyIceberg looks through all snapshots for each id; a lake may hold 100,000 that were staged and never published
    known = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    snapshot = table.current_snapshot()
    while snapshot is not None:
        source = property_of(snapshot, SOURCE_SNAPSHOT_ID)
        yield snapshot, known.get(int(source)) if source else None
        snapshot = known.get(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None


def property_of(snapshot: Snapshot, key: str) -> str | None:
    """A property of a snapshot's summary."""
    return snapshot.summary.additional_properties.get(key) if snapshot.summary else None


def partition_counts(table: Table | None, snapshot_id: int | None = None) -> dict[date | None, int]:
    """Rows of each event date at a snapshot, or as readers see it, out of the metadata alone. No date has zero rows."""
    if table is None or (snapshot_id is None and table.current_snapshot() is None):
        return {}
    partitions = table.inspect.partitions(snapshot_id)
    if not partitions.num_rows:  # of a table without a file PyIceberg leaves the column out
        return {}
    rows = partitions.select(["partition", "record_count"]).to_pylist()
    return {row["partition"]["event_date"]: row["record_count"] for row in rows if row["record_count"]}
