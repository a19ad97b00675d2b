"""A small lake made by PyIceberg, without Spark: the published tables, with a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import sqlglot
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlglot import exp

from daybook.kafka.offsets import Offsets, offsets_text
from daybook.lake.config import sqlalchemy_uri
from daybook.lake.ledger import Revision
from daybook.lake.tables import (
    ACCEPTED_LOSSES,
    CATALOG,
    DAY_LEDGER,
    EVENTS,
    NAMESPACE,
    RAW_EVENTS,
    REJECTED_EVENTS,
    TABLES,
)
from daybook.pipeline.balance import DayCounts, LandedRange, balance, lines_json
from daybook.pipeline.position import END, LANDING
from daybook.settings import Settings

_TYPES = {
    "BIGINT": pa.int64(),
    "INT": pa.int32(),
    "DATE": pa.date32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    "TEXT": pa.string(),
    "BINARY": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "MAP<TEXT, BIGINT>": pa.map_(pa.string(), pa.int64()),
    "ARRAY<TEXT>": pa.list_(pa.string()),
}
"""sqlglot's name of a column type -> PyArrow's type."""


def arrow_schema(columns: str) -> pa.Schema:
    """Return the PyArrow schema of columns in Spark's DDL (:class:`daybook.lake.tables.Table`)."""
    tree = sqlglot.parse_one(f"CREATE TABLE one ({columns})", dialect="spark")
    return pa.schema([(column.name, _TYPES[str(column.kind)]) for column in tree.find_all(exp.ColumnDef)])


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
SCHEMAS = {
    **{table.name: arrow_schema(table.columns) for table in TABLES.values()},
    "event_popularity": POPULARITY,
    "provider_usage": PROVIDERS,
    "provider_event_popularity": MIX,
    "hourly_activity": HOURS,
    "daily_activity": ACTIVITY,
    "user_activity": PLAYERS,
}
NAMED = {REJECTED_EVENTS: ("reason", "detail"), EVENTS: ("user_id", "provider", "event_type", "item")}
"""The columns that :meth:`SmallLake.put` takes of these tables; the others are null. An answer's rows are whole."""
TAKEN_AT = datetime(2026, 5, 3, 8, tzinfo=UTC)
"""The default time at which Kafka accepted the raw records."""


def a_revision(day: date, **columns: Any) -> Revision:
    """Return a revision of a day; by default the first, with ten events, one duplicate, one rejected."""
    counts = DayCounts(day=day, landed=12, events=10, duplicates=1, rejected=1, late=0)
    number = columns.get("revision", 1)
    default = Revision(
        event_date=day,
        revision=number,
        published_at=datetime(2026, 5, 4, 0, 16, 1, 250000, tzinfo=UTC),
        run_id="scheduled__2026-05-03",
        sent=None,
        accepted=None,
        refused=None,
        landed=counts.landed,
        events=counts.events,
        duplicates=counts.duplicates,
        rejected=counts.rejected,
        late=counts.late,
        balanced=True,
        lines=lines_json(balance(counts, [LandedRange(0, 100, 112, 12)])),
        receipt=f"{day} r{number}: 10 events",
        changes="{}",
        checks="[]",
        range_start=json.dumps({"0": 100}),
        range_end=json.dumps({"0": 112}),
        range_records=12,
        range_gaps=0,
        landing=1,
        built_to=json.dumps({"0": 112}),
        raw_snapshot_id=9_007_199_254_740_993,  # a float would lose digits
        provider_map_version="aliases 1",
        answers_version="2",
        rules_version=None,
        snapshots={},
    )
    return replace(default, **columns)


BuiltOnce = Callable[[Callable[["SmallLake"], None]], "SmallLake"]
"""The fixture ``built_once``."""


class SmallLake:
    """Writes the rows that publishing a day writes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        assert settings.catalog_file is not None
        settings.catalog_file.parent.mkdir(parents=True, exist_ok=True)
        self.catalog = SqlCatalog(CATALOG, uri=sqlalchemy_uri(settings.catalog_uri), warehouse=settings.warehouse)
        self.catalog.create_namespace_if_not_exists(NAMESPACE)

    def table(self, name: str) -> Table:
        """The table; creates it if it does not exist."""
        if not self.catalog.table_exists((NAMESPACE, name)):
            table = self.catalog.create_table((NAMESPACE, name), schema=SCHEMAS[name])
            if name not in TABLES or TABLES[name].by_day:
                with table.update_spec() as spec:
                    spec.add_identity("event_date")
        return self.catalog.load_table((NAMESPACE, name))

    def put(self, name: str, day: date, *rows: Sequence[Any]) -> int:
        """Make these rows (without their date) the day's content; returns the snapshot."""
        table = self.table(name)
        schema = SCHEMAS[name]
        columns = NAMED.get(name) or [column for column in schema.names if column != "event_date"]
        cells = [{"event_date": day, **dict(zip(columns, row, strict=True))} for row in rows]
        table.overwrite(pa.Table.from_pylist(cells, schema=schema), overwrite_filter=f"event_date = '{day}'")
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def publish(self, day: date, snapshots: dict[str, int], **columns: Any) -> None:
        """Add the ledger row of a revision (:func:`a_revision`)."""
        row = asdict(a_revision(day, snapshots=snapshots, **columns))
        self.table(DAY_LEDGER).append(pa.Table.from_pylist([row], schema=SCHEMAS[DAY_LEDGER]))

    def land(self, counts: dict[date, int], taken_at: datetime = TAKEN_AT, end: Offsets | None = None) -> None:
        """Add this many raw records to each day, like a landing that ended at the given offsets, if any."""
        days = [day for day, count in counts.items() for _ in range(count)]
        rows = [{"event_date": day, "value": b"{}", "kafka_timestamp": taken_at} for day in days]
        landing = {END: offsets_text(end), LANDING: "1"} if end else {}
        table = pa.Table.from_pylist(rows, schema=SCHEMAS[RAW_EVENTS])
        self.table(RAW_EVENTS).append(table, snapshot_properties=landing)

    def accept_loss(self, lost: str, note: str) -> None:
        """Add an operator's decision."""
        row = {
            "accepted_at": datetime(2026, 5, 4, 9, 30, tzinfo=UTC),
            "accepted_by": "operator",
            "note": note,
            "lost": lost,
        }
        self.table(ACCEPTED_LOSSES).append(pa.Table.from_pylist([row], schema=SCHEMAS[ACCEPTED_LOSSES]))
