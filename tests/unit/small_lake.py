"""A small lake made by PyIceberg, without Spark: the published tables, with a few rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, NestedField, StringType, TimestamptzType

from daybook.kafka.offsets import Offsets, offsets_text
from daybook.lake.config import sqlalchemy_uri
from daybook.lake.tables import (
    ACCEPTED_LOSSES,
    CATALOG,
    DAY_LEDGER,
    EVENTS,
    NAMESPACE,
    RAW_EVENTS,
    REJECTED_EVENTS,
    REPLAYED_RECORDS,
)
from daybook.pipeline.balance import LandedRange, PageCounts, balance, lines_json
from daybook.pipeline.position import END, LANDING
from daybook.settings import Settings

_LONGS = ("sent", "accepted", "refused", "landed", "events", "duplicates", "rejected", "late")
_TEXTS = ("lines", "receipt", "changes", "checks", "range_start", "range_end")
LEDGER = pa.schema(
    [
        ("event_date", pa.date32()),
        ("revision", pa.int32()),
        ("published_at", pa.timestamp("us", tz="UTC")),
        ("run_id", pa.string()),
        *((name, pa.int64()) for name in _LONGS),
        ("balanced", pa.bool_()),
        *((name, pa.string()) for name in _TEXTS),
        ("range_records", pa.int64()),
        ("built_to", pa.string()),
        ("raw_snapshot_id", pa.int64()),
        ("provider_map_version", pa.string()),
        ("answers_version", pa.string()),
        ("rules_version", pa.string()),
        ("snapshots", pa.map_(pa.string(), pa.int64())),
    ]
)
POPULARITY = pa.schema(
    [
        ("event_date", pa.date32()),
        ("event_type", pa.string()),
        ("item", pa.string()),
        ("events", pa.int64()),
        ("users", pa.int64()),
        ("share", pa.float64()),
        ("rank", pa.int32()),
    ]
)
PROVIDERS = pa.schema(
    [
        ("event_date", pa.date32()),
        ("provider", pa.string()),
        ("events", pa.int64()),
        ("users", pa.int64()),
        ("share", pa.float64()),
        ("coverage", pa.float64()),
    ]
)
MIX = pa.schema(
    [
        ("event_date", pa.date32()),
        *((name, pa.string()) for name in ("provider", "event_type", "item")),
        *((name, pa.int64()) for name in ("events", "users")),
        ("rank", pa.int32()),
    ]
)
HOURS = pa.schema([("event_date", pa.date32()), *((name, pa.int64()) for name in ("hour", "events", "users"))])
ACTIVITY = pa.schema(
    [
        ("event_date", pa.date32()),
        *((name, pa.int64()) for name in ("events", "users")),
        ("events_per_user", pa.float64()),
        *((name, pa.int64()) for name in ("purchases", "guild_joins", "busiest_hour")),
    ]
)
PLAYERS = pa.schema(
    [
        ("event_date", pa.date32()),
        ("user_id", pa.string()),
        *((name, pa.int64()) for name in ("events", "purchases", "guild_joins")),
    ]
)
REJECTED = pa.schema([("event_date", pa.date32()), ("reason", pa.string()), ("detail", pa.string())])
"""The columns of ``rejected_events`` that the HTML report counts."""
PLAYED = pa.schema(
    [("event_date", pa.date32()), *((name, pa.string()) for name in ("user_id", "provider", "event_type", "item"))]
)
"""The columns of ``events`` that are compared from day to day."""
LOSSES = pa.schema(
    [
        ("accepted_at", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("accepted_by", "note")),
        ("landing", pa.int64()),
        *((name, pa.string()) for name in ("topic_id", "lost")),
        ("records", pa.int64()),
        ("resume_from", pa.string()),
    ]
)
REPLAYED = pa.schema(
    [
        ("replayed_at", pa.timestamp("us", tz="UTC")),
        ("replayed_by", pa.string()),
        ("landing", pa.int64()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("event_id", pa.string()),
    ]
)
SCHEMAS = {
    DAY_LEDGER: LEDGER,
    ACCEPTED_LOSSES: LOSSES,
    REPLAYED_RECORDS: REPLAYED,
    "event_popularity": POPULARITY,
    "provider_usage": PROVIDERS,
    "provider_event_popularity": MIX,
    "hourly_activity": HOURS,
    "daily_activity": ACTIVITY,
    "user_activity": PLAYERS,
    REJECTED_EVENTS: REJECTED,
    EVENTS: PLAYED,
}
BY_DAY = SCHEMAS.keys() - {DAY_LEDGER, ACCEPTED_LOSSES, REPLAYED_RECORDS}
"""Tables that are partitioned by ``event_date``, as Spark creates those of all answers."""
RAW = Schema(
    NestedField(1, "event_date", DateType()),
    NestedField(2, "value", StringType()),
    NestedField(3, "kafka_timestamp", TimestamptzType()),
)
"""The columns of ``raw_events`` that readers count."""
TAKEN_AT = datetime(2026, 5, 3, 8, tzinfo=UTC)
"""The default time at which Kafka accepted the raw records."""


class SmallLake:
    """Writes the rows that publishing a day writes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        Path(settings.catalog_uri.removeprefix("jdbc:sqlite:")).parent.mkdir(parents=True)
        self.catalog = SqlCatalog(CATALOG, uri=sqlalchemy_uri(settings.catalog_uri), warehouse=settings.warehouse)
        self.catalog.create_namespace(NAMESPACE)

    def table(self, name: str) -> Table:
        """The table; creates it if it does not exist."""
        if not self.catalog.table_exists((NAMESPACE, name)):
            table = self.catalog.create_table((NAMESPACE, name), schema=SCHEMAS[name])
            if name in BY_DAY:
                with table.update_spec() as spec:
                    spec.add_identity("event_date")
        return self.catalog.load_table((NAMESPACE, name))

    def put(self, name: str, day: date, *rows: Sequence[Any]) -> int:
        """Make these rows (without their date) the day's content; returns the snapshot."""
        table = self.table(name)
        columns = zip(*((day, *row) for row in rows), strict=True)
        arrays = dict(zip(SCHEMAS[name].names, columns, strict=True))
        table.overwrite(pa.table(arrays, schema=SCHEMAS[name]), overwrite_filter=f"event_date = '{day}'")
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def publish(self, day: date, snapshots: dict[str, int], *, revision: int = 1, **columns: Any) -> None:
        """Add the ledger row of a revision; by default with ten events, one duplicate, one rejected."""
        counts = PageCounts(day=day, landed=12, events=10, duplicates=1, rejected=1, late=0)
        row = {
            **dict.fromkeys(LEDGER.names),
            "event_date": day,
            "revision": revision,
            "published_at": datetime(2026, 5, 4, 0, 16, 1, 250000, tzinfo=UTC),
            "run_id": "scheduled__2026-05-03",
            "landed": counts.landed,
            "events": counts.events,
            "duplicates": counts.duplicates,
            "rejected": counts.rejected,
            "late": counts.late,
            "balanced": True,
            "lines": lines_json(balance(counts, [LandedRange(0, 100, 112, 12)])),
            "receipt": f"{day} r{revision}: 10 events",
            "changes": "{}",
            "checks": "[]",
            "range_start": json.dumps({"0": 100}),
            "range_end": json.dumps({"0": 112}),
            "range_records": 12,
            "built_to": json.dumps({"0": 112}),
            "raw_snapshot_id": 9_007_199_254_740_993,  # a float would lose digits
            "provider_map_version": "aliases 1",
            "answers_version": "2",
            "snapshots": list(snapshots.items()),
            **columns,
        }
        self.table(DAY_LEDGER).append(pa.Table.from_pylist([row], schema=LEDGER))

    def land(self, counts: dict[date, int], taken_at: datetime = TAKEN_AT, end: Offsets | None = None) -> None:
        """Add this many raw records to each day, like a landing that ended at the given offsets, if any."""
        by_day = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "event_date"))
        table = self.catalog.create_table_if_not_exists((NAMESPACE, RAW_EVENTS), schema=RAW, partition_spec=by_day)
        days = [day for day, count in counts.items() for _ in range(count)]
        columns = {
            "event_date": pa.array(days, pa.date32()),
            "value": pa.array(["{}"] * len(days), pa.string()),
            "kafka_timestamp": pa.array([taken_at] * len(days), pa.timestamp("us", tz="UTC")),
        }
        landing = {END: offsets_text(end), LANDING: "1"} if end else {}
        table.append(pa.table(columns), snapshot_properties=landing)

    def accept_loss(self, lost: str, note: str) -> None:
        """Add an operator's decision."""
        row = {
            **dict.fromkeys(LOSSES.names),
            "accepted_at": datetime(2026, 5, 4, 9, 30, tzinfo=UTC),
            "accepted_by": "operator",
            "note": note,
            "lost": lost,
        }
        self.table(ACCEPTED_LOSSES).append(pa.Table.from_pylist([row], schema=LOSSES))
