"""Kafka's records and the generator's manifest without a broker: rows that are quick to make."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from daybook.contract import EXAMPLES, client_event, complete, encode
from daybook_spark.events import to_raw
from event_generator.manifest import Request
from tests.unit.manifests import a_manifest

FUTURE_TOLERANCE_MINUTES = 2 * 24 * 60
"""Wide enough for the days of the tests to follow Kafka's timestamps."""
RECEIVED_AT = datetime(2026, 5, 4, 0, 0, 1, tzinfo=UTC)


class Topic:
    """Records as Kafka's source returns them: in sending order, in one partition by default."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self.rows: list[tuple[Any, ...]] = []

    def send(self, value: bytes | None, *, partition: int = 0, taken_at: datetime = RECEIVED_AT) -> int:
        """Append a record with this Kafka timestamp; return its offset."""
        offset = sum(1 for row in self.rows if row[2] == partition)
        self.rows.append((b"key", value, partition, offset, taken_at))
        return offset

    def event(self, *, partition: int = 0, **fields: Any) -> int:
        """Append the contract's example event with these fields; return its offset."""
        kind = fields.get("event_type", "purchase_item")
        return self.client_event({**EXAMPLES[kind], **fields}, partition=partition)

    def client_event(
        self,
        event: dict[str, Any],
        *,
        partition: int = 0,
        received_at: datetime = RECEIVED_AT,
        request_host: str = "",
    ) -> int:
        """Append a client's event, completed as the intake does; return its offset."""
        validated = client_event.validate_python(event)
        record = complete(validated, received_at=received_at, request_host=request_host, user_agent="test")
        return self.send(encode(record), partition=partition, taken_at=received_at)

    def raw(
        self, start: int = 0, landing: int = 1, future_tolerance_minutes: int = FUTURE_TOLERANCE_MINUTES
    ) -> DataFrame:
        """Return the records from the n-th sent on as rows of ``raw_events``, all of one landing."""
        schema = "key BINARY, value BINARY, partition INT, offset BIGINT, timestamp TIMESTAMP"
        return to_raw(self.spark.createDataFrame(self.rows[start:], schema), landing, future_tolerance_minutes)


def manifest(folder: Path, ids: list[str], **changes: int) -> Path:
    """Write a manifest that acknowledges these ids, in the generator's format."""
    (folder / "2026-05-03.ids").write_text("".join(f"{one}\n" for one in ids), encoding="utf-8")
    path = folder / "2026-05-03.json"
    path.write_text(a_manifest(Request(date(2026, 5, 3), len(ids), 1), **changes).text(), encoding="utf-8")
    return path
