"""A lake of many days, made quickly: days before the first published one, as Daybook and Iceberg would write them.

Running a thousand days would take too long: their files, snapshots and ledger rows are written directly, each day from
its own generated events. What a later day reads of earlier ones is real: every row of every answer, the ids of the raw
records, the ledger, the column statistics in the manifests, and a page in the reports folder. That page is a copy of
the first day's. The files of ``events`` are listed but do not exist, because no day reads those of another; a read
would fail.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO, parquet_file_to_data_file
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestEntry,
    ManifestEntryStatus,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotLogEntry, Summary
from pyiceberg.typedef import Record

from benchmarks.day import SEED
from daybook.lake.catalog import load
from daybook.lake.ledger import Revision, read_ledger
from daybook.lake.snapshots import EPOCH, property_of, published
from daybook.lake.tables import DAY_LEDGER, EVENTS, RAW_EVENTS
from daybook.pipeline.position import END, LANDING, LAST, START, TOPIC_ID
from daybook.settings import Settings
from daybook.sql.answers import answers
from daybook_spark.staging import WAP_ID
from event_generator.day import JOIN_GUILD, Day, build_day
from event_generator.expected import expected_answers

SNAPSHOT_IDS = 10**6
"""The first snapshot id of each table; the ids that Iceberg draws are far higher."""
WEEK = 7
KEPT_BY_UPKEEP = WEEK + 1
"""Snapshots that remain after weekly maintenance: a week of days, and the one from the beginning of the week."""


@dataclass(frozen=True)
class _File:
    """A day's data file of a table."""

    day: date
    data: DataFile
    """Its entry in a manifest."""


def add_history(settings: Settings, days: int, events: int, *, upkeep: bool) -> None:
    """Add published days before the first published day of a lake.

    Args:
        settings: of a lake with its catalog in SQLite, its files on this machine, and one published day.
        days: how many.
        events: of each day, generated.
        upkeep: whether maintenance ran each week: old snapshots are expired, and the ledger's rows of those days are in
            one file.
    """
    newest = read_ledger(settings).revisions[0]
    first = newest.event_date
    history = [first - timedelta(days=back) for back in range(days, 0, -1)]
    names = [RAW_EVENTS, EVENTS, *(name for name in answers() if load(settings, name) is not None)]
    tables = {name: _table(settings, name) for name in names}
    files: dict[str, list[_File]] = {name: [] for name in names}
    ledger_rows = []
    for number, day in enumerate(history):
        plan = build_day(day, events, SEED, settings.items)
        rows = {**expected_answers(plan, np.ones(events, dtype=np.bool_)), "user_activity": _user_activity(plan)}
        for name, table in tables.items():
            path = f"{table.location()}/data/event_date={day}/history.parquet"
            if name == EVENTS:
                files[name].append(_File(day, _of_events(table, day, path, events)))
                continue
            of_day = _raw_records(plan) if name == RAW_EVENTS else rows[name]
            files[name].append(_written(table, day, path, of_day))
        ledger_rows.append(_ledger_row(newest, day, events, dict.fromkeys(names[1:], SNAPSHOT_IDS + number)))
    tables[DAY_LEDGER] = _table(settings, DAY_LEDGER)
    files[DAY_LEDGER] = list(_ledger_files(tables[DAY_LEDGER], ledger_rows, merged=days - WEEK if upkeep else 0))
    for name, table in tables.items():
        _publish(settings, table, files[name], KEPT_BY_UPKEEP if upkeep else days)
    for day in history:
        for kind in ("json", "html"):
            shutil.copyfile(settings.reports_dir / f"{first}.{kind}", settings.reports_dir / f"{day}.{kind}")


def _table(settings: Settings, name: str) -> Table:
    table = load(settings, name)
    assert table is not None, f"the lake has no table {name}"
    return table


def _user_activity(plan: Day) -> list[dict[str, Any]]:
    """The rows of the one answer that the generator's manifest omits, because it names players."""
    joined = np.bincount(plan.user, weights=plan.item == JOIN_GUILD).astype(np.int64)
    users, events = np.unique(plan.user, return_counts=True)
    return [
        {"user_id": f"user{user}", "events": count, "purchases": count - joins, "guild_joins": joins}
        for user, count, joins in zip(users.tolist(), events.tolist(), joined[users].tolist(), strict=True)
    ]


def _raw_records(plan: Day) -> list[dict[str, Any]]:
    """Rows of ``raw_events``: a run reads only id and day of another day's records."""
    return [
        {"landing": 1, "kafka_partition": 0, "kafka_offset": at, "event_id": event_id}
        for at, event_id in enumerate(plan.ids.tolist())
    ]


def _ledger_files(table: Table, rows: list[dict[str, Any]], merged: int) -> Iterator[_File]:
    """The ledger's files: one for each revision; maintenance has merged those of the first ``merged`` rows."""
    parts = [rows[:merged]] if merged > 0 else []
    for part in (*parts, *([row] for row in rows[max(merged, 0) :])):
        day = part[-1]["event_date"]
        yield _written(table, day, f"{table.location()}/data/history-{day}.parquet", part)


def _ledger_row(newest: Revision, day: date, events: int, snapshots: dict[str, int]) -> dict[str, Any]:
    """A copy of a real revision's ledger row, with the counts and snapshots of this day."""
    counts = {"landed": events, "events": events, "duplicates": 0, "rejected": 0, "late": 0}
    return {
        **asdict(newest),
        **counts,
        "event_date": day,
        "receipt": f"{day} r1",
        "snapshots": [*{**newest.snapshots, **snapshots}.items()],
    }


def _written(table: Table, day: date, path: str, rows: list[dict[str, Any]]) -> _File:
    schema = table.schema().as_arrow()  # its fields have Iceberg's ids, which the file needs
    file = Path(PyArrowFileIO.parse_location(path)[2])
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist([{"event_date": day, **row} for row in rows], schema=schema), file, compression="zstd"
    )
    # with column bounds, as Iceberg writes them: a filter on one landing skips the files of the others
    return _File(day, parquet_file_to_data_file(table.io, table.metadata, path))


def _publish(settings: Settings, table: Table, files: list[_File], kept: int) -> None:
    """Give a table one snapshot for each day's file, retain only the last ones, and register them in the catalog.

    All snapshots list the files of all days in one manifest, as Iceberg merges them. A reader of a day at its own
    snapshot finds its file among the others.
    """
    name, current = table.name()[-1], table.current_snapshot()
    assert current is not None, f"{name} has no state to put days before"
    first_sequence = (current.sequence_number or 0) + 1
    ids = [SNAPSHOT_IDS + number for number in range(len(files))]
    sequences = [first_sequence + number for number in range(len(files))]
    metadata_folder = f"{table.location()}/metadata"
    with write_manifest(
        2,
        table.spec(),
        table.schema(),
        table.io.new_output(f"{metadata_folder}/history-m0.avro"),
        ids[-1],
        "null",
    ) as manifest:
        for file, snapshot_id, sequence in zip(files, ids, sequences, strict=True):
            manifest.existing(
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.EXISTING,
                    snapshot_id=snapshot_id,
                    sequence_number=sequence,
                    file_sequence_number=sequence,
                    data_file=file.data,
                )
            )
    merged = manifest.to_manifest_file()
    merged.sequence_number, merged.min_sequence_number = sequences[-1], sequences[0]
    listing = f"{metadata_folder}/snap-history.avro"
    output = table.io.new_output(listing)
    with write_manifest_list(2, output, ids[-1], current.snapshot_id, sequences[-1], "null") as manifests:
        manifests.add_manifests([*current.manifests(table.io), merged])
    states = list(_states(table, current, files, ids, sequences, listing))[-kept:]
    log = [
        SnapshotLogEntry.model_validate({"snapshot-id": one.snapshot_id, "timestamp-ms": one.timestamp_ms})
        for one in states
    ]
    main = SnapshotRef.model_validate({"snapshot-id": ids[-1], "type": SnapshotRefType.BRANCH})
    metadata = table.metadata.model_copy(
        update={
            "snapshots": [*table.metadata.snapshots, *states],
            "snapshot_log": [*table.metadata.snapshot_log, *log],
            "refs": {MAIN_BRANCH: main},
            "current_snapshot_id": ids[-1],
            "last_sequence_number": sequences[-1],
            "last_updated_ms": states[-1].timestamp_ms,
        }
    )
    location = f"{metadata_folder}/{len(files) + 1000:05}-history.metadata.json"
    ToOutputFile.table_metadata(metadata, table.io.new_output(location))
    assert settings.catalog_file is not None
    with sqlite3.connect(settings.catalog_file) as catalog:
        catalog.execute("UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (location, name))


def _of_events(table: Table, day: date, path: str, rows: int) -> DataFile:
    """The entry of a day's file of events; the file itself does not exist."""
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record((day - EPOCH).days),
        record_count=rows,
        file_size_in_bytes=rows * 40,
    )
    made.spec_id = table.spec().spec_id
    return made


def _states(
    table: Table, current: Snapshot, files: list[_File], ids: list[int], sequences: list[int], listing: str
) -> Iterator[Snapshot]:
    """The snapshots that readers saw, in order, before the current one."""
    landed = next((one for one in published(table) if property_of(one, END)), None)
    # each snapshot of `raw_events` records the position: these days did not move it
    kept = (
        {name: value for name in (LANDING, START, END, TOPIC_ID, LAST) if (value := property_of(landed, name))}
        if landed
        else {}
    )
    parent = current.snapshot_id
    for number, (file, snapshot_id, sequence) in enumerate(zip(files, ids, sequences, strict=True), start=1):
        yield Snapshot.model_validate(
            {
                "snapshot-id": snapshot_id,
                "parent-snapshot-id": parent,
                "sequence-number": sequence,
                # after the last change of the table: a snapshot is published later than it was staged
                "timestamp-ms": table.metadata.last_updated_ms + number,
                "manifest-list": listing,
                "summary": Summary(Operation.OVERWRITE, **{WAP_ID: f"history:{file.day}", **kept}),
                "schema-id": table.schema().schema_id,
            }
        )
        parent = snapshot_id
