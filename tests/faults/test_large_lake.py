"""Maintenance of a lake that went without it for years: a thousand published days, 100,000 killed runs.

Its metadata is written as Iceberg would have written it. A table of that age cannot be made with as many commits,
because each commit rewrites the list of all snapshots.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import cycle

import pyarrow as pa
import pytest
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotLogEntry, Summary
from pyiceberg.typedef import Record
from pyspark.sql import SparkSession

from daybook.lake.catalog import load
from daybook.lake.snapshots import partition_counts, published
from daybook.lake.tables import DAY_LEDGER, EVENTS, REJECTED_EVENTS
from daybook.settings import Settings
from daybook_spark.maintenance import expire_snapshots
from daybook_spark.staging import WAP_ID
from tests.figures import Figures

pytestmark = pytest.mark.long

LAST_DAY = date(2026, 5, 3)
DAYS = 1_000
LEFTOVERS = 100_000
YOUNG_LEFTOVERS = 5
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
ROWS_OF_A_DAY = 7
LEFTOVER_IDS, PAGE_IDS = 10**9, 10**6


def test_a_thousand_days_and_a_hundred_thousand_leftovers_shrink_to_what_is_needed(
    spark: SparkSession, lake: Settings, figures: Figures
) -> None:
    began = time.perf_counter()
    days = [LAST_DAY - timedelta(days=back) for back in reversed(range(DAYS))]
    states = _states(lake, days)
    _write_table(lake, states, _leftovers(states))
    _write_ledger(lake, days, states)
    made = time.perf_counter() - began
    full = _seconds(lambda: load(lake, EVENTS), times=1)
    large = _table(lake)
    walk = _seconds(lambda: list(published(large)))

    began = time.perf_counter()
    removed = expire_snapshots(spark, lake, NOW)
    expire = time.perf_counter() - began

    # a week of revisions, the one that readers saw when the week began, and what was staged within it
    kept = {state.snapshot_id for state in states[-8:]}
    kept |= {LEFTOVER_IDS + LEFTOVERS + number for number in range(YOUNG_LEFTOVERS)}
    assert removed == {EVENTS: DAYS + LEFTOVERS + YOUNG_LEFTOVERS - len(kept)}
    table = load(lake, EVENTS)
    assert table is not None
    assert {one.snapshot_id for one in table.metadata.snapshots} == kept
    assert partition_counts(table) == dict.fromkeys(days, ROWS_OF_A_DAY)
    assert expire_snapshots(spark, lake, NOW) == {}
    fresh, after = _seconds(lambda: load(lake, REJECTED_EVENTS)), _seconds(lambda: load(lake, EVENTS))
    figures(
        {
            "made in": f"{made:.1f} s",
            "load": f"{full:.1f} s",
            "walk": f"{walk:.2f} s",
            "expire": f"{expire:.1f} s",
            "load after": f"{after * 1000:.0f} ms",
            "a fresh table's": f"{fresh * 1000:.0f} ms",
        }
    )
    assert walk < full / 4, "a walk along the states must not look through all snapshots for each"
    assert after < 5 * fresh


def _seconds(call: Callable[[], object], times: int = 5) -> float:
    """Return the smallest of several measurements."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _table(lake: Settings, name: str = EVENTS) -> Table:
    table = load(lake, name)
    assert table is not None
    return table


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _published_at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 0, 16, tzinfo=UTC) + timedelta(days=1)


def _states(lake: Settings, days: list[date]) -> list[Snapshot]:
    """The snapshots that readers saw: each adds a file of its day. The last one lists all files."""
    table = _table(lake)
    manifests: list[ManifestFile] = []
    states: list[Snapshot] = []
    for number, day in enumerate(days, start=1):
        snapshot_id = PAGE_IDS + number
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=f"{table.location()}/data/event_date={day}/{number}.parquet",
            file_format=FileFormat.PARQUET,
            partition=Record((day - date(1970, 1, 1)).days),
            record_count=ROWS_OF_A_DAY,
            file_size_in_bytes=1_000,
        )
        file.spec_id = table.spec().spec_id
        output = table.io.new_output(f"{table.location()}/metadata/{number}-m0.avro")
        with write_manifest(2, table.spec(), table.schema(), output, snapshot_id, "null") as manifest:
            manifest.add_entry(
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED, snapshot_id=snapshot_id, sequence_number=None, data_file=file
                )
            )
        made = manifest.to_manifest_file()
        made.sequence_number = made.min_sequence_number = number
        manifests.append(made)
        parent = states[-1].snapshot_id if states else None
        listing = f"{table.location()}/metadata/snap-{snapshot_id}.avro"
        output = table.io.new_output(listing)
        with write_manifest_list(2, output, snapshot_id, parent, number, "null") as manifest_list:
            # nobody reads the files of other days in a snapshot that expires
            manifest_list.add_manifests(manifests if day == days[-1] else manifests[-1:])
        states.append(
            Snapshot.model_validate(
                {
                    "snapshot-id": snapshot_id,
                    "parent-snapshot-id": parent,
                    "sequence-number": number,
                    # the ledger's row follows within a minute
                    "timestamp-ms": _milliseconds(_published_at(day) - timedelta(minutes=1)),
                    "manifest-list": listing,
                    "summary": Summary(Operation.OVERWRITE, **{WAP_ID: f"scheduled__{day}:1"}),
                    "schema-id": table.schema().schema_id,
                }
            )
        )
    return states


def _leftovers(states: list[Snapshot]) -> list[Snapshot]:
    """Snapshots staged by killed runs, on each of the states in turn; the last few are within the retention."""
    old = [
        state.model_copy(
            update={
                "snapshot_id": LEFTOVER_IDS + number,
                "parent_snapshot_id": state.snapshot_id,
                "sequence_number": DAYS + 1 + number,
                "timestamp_ms": state.timestamp_ms + 1,
            }
        )
        for number, state in zip(range(LEFTOVERS), cycle(states[:-8]), strict=False)
    ]
    young = [
        states[-1].model_copy(
            update={
                "snapshot_id": LEFTOVER_IDS + LEFTOVERS + number,
                "parent_snapshot_id": states[-1].snapshot_id,
                "sequence_number": DAYS + 1 + LEFTOVERS + number,
                "timestamp_ms": states[-1].timestamp_ms + 1 + number,
            }
        )
        for number in range(YOUNG_LEFTOVERS)
    ]
    return old + young


def _write_table(lake: Settings, states: list[Snapshot], leftovers: list[Snapshot]) -> None:
    """Write the metadata with all snapshots and register it in the catalog."""
    table = _table(lake)
    current = states[-1]
    metadata = table.metadata.model_copy(
        update={
            "snapshots": sorted([*states, *leftovers], key=lambda one: one.timestamp_ms),
            "snapshot_log": [
                SnapshotLogEntry.model_validate({"snapshot-id": one.snapshot_id, "timestamp-ms": one.timestamp_ms})
                for one in states
            ],
            "refs": {
                MAIN_BRANCH: SnapshotRef.model_validate(
                    {"snapshot-id": current.snapshot_id, "type": SnapshotRefType.BRANCH}
                )
            },
            "current_snapshot_id": current.snapshot_id,
            "last_sequence_number": DAYS + LEFTOVERS + YOUNG_LEFTOVERS,
            "last_updated_ms": leftovers[-1].timestamp_ms,
            "metadata_log": [],
        }
    )
    file = f"{table.location()}/metadata/99999-large.metadata.json"
    ToOutputFile.table_metadata(metadata, table.io.new_output(file))
    assert lake.catalog_file is not None
    with sqlite3.connect(lake.catalog_file) as catalog:
        catalog.execute("UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (file, EVENTS))


def _write_ledger(lake: Settings, days: list[date], states: list[Snapshot]) -> None:
    table = _table(lake, DAY_LEDGER)
    rows = [
        {
            "event_date": day,
            "revision": 1,
            "published_at": _published_at(day),
            "landed": ROWS_OF_A_DAY,
            "events": ROWS_OF_A_DAY,
            "checks": "[]",
            "snapshots": [(EVENTS, state.snapshot_id)],
        }
        for day, state in zip(days, states, strict=True)
    ]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
