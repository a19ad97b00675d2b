"""A loop in Python lands a day: ``json.loads`` for each record, a dictionary against duplicates, PyArrow to write."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from benchmarks.peers.land_rules import REQUIRED, provider
from benchmarks.peers.topic import batches
from daybook.contract import RECORD_FIELDS
from daybook.settings import Settings, load_settings

TYPES = {"string": pa.string(), "int": pa.int32(), "timestamp": pa.timestamp("us", "UTC")}
SCHEMA = pa.schema(
    [*((name, TYPES[kind]) for name, kind in RECORD_FIELDS), ("provider", pa.string()), ("event_date", pa.date32())]
)
TIMES = [name for name, kind in RECORD_FIELDS if kind == "timestamp"]


def land(settings: Settings, folder: Path) -> None:
    """Write the events below the folder."""
    events: dict[str, dict[str, Any]] = {}
    for values in batches(settings):
        for value in values:
            try:
                event = json.loads(value or b"")
            except ValueError:
                continue
            if not isinstance(event, dict) or any(event.get(name) is None for name in REQUIRED):
                continue
            if event["event_id"] in events:
                continue
            for name in TIMES:
                event[name] = datetime.fromisoformat(event[name])
            event["event_date"] = event["occurred_at"].date()
            event["provider"] = provider(event["host"])
            events[event["event_id"]] = event
    pads.write_dataset(
        pa.Table.from_pylist(list(events.values()), schema=SCHEMA),
        folder / "events",
        format="parquet",
        file_options=pads.ParquetFileFormat().make_write_options(compression="zstd"),
        partitioning=pads.partitioning(pa.schema([("event_date", pa.date32())]), flavor="hive"),
    )


if __name__ == "__main__":
    land(load_settings(), Path(sys.argv[1]))
