"""Rejected records: ``daybook rejected`` lists them, and :mod:`daybook.operations.replay` sends them again."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid5

from daybook.contract import FIELDS, moment_text
from daybook.days import parse_day
from daybook.documents import document
from daybook.errors import BadInput
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.snapshots import readable_snapshot
from daybook.lake.tables import REJECTED_EVENTS
from daybook.settings import Settings

_NAMESPACE = UUID("5f8f2c1e-7d0b-5c3a-9a57-0d4b2c9e6a10")
"""Namespace of ids derived from coordinates: the same record gets the same id whenever it is repaired."""
SHOWN_ROWS = 20

CONFLICT = "conflict"
"""Records with this reason are sent again only on request: a person has to confirm that both events happened."""
NEEDS_ID = {"no_event_id", CONFLICT}
"""Reasons that a new id repairs."""
NEEDS_TIME = {"no_time", "too_old", "in_future"}
"""Reasons that are repaired with the time at which Kafka took the record."""


@dataclass(frozen=True)
class Rejected:
    """A rejected record."""

    landing: int
    kafka_partition: int
    kafka_offset: int
    kafka_timestamp: datetime
    reason: str
    detail: str
    value: bytes | None

    @property
    def coordinates(self) -> tuple[int, int, int]:
        """The record's coordinates, which identify it for ever."""
        return self.landing, self.kafka_partition, self.kafka_offset

    def repaired(self) -> dict[str, Any] | None:
        """Return the event that the record can be repaired into automatically; None if a person has to look.

        Fields that are not in the contract are dropped. An id that is missing, is not a UUID or belongs to another
        event is derived from the coordinates. A missing or impossible time becomes the time at which Kafka took the
        record.
        """
        # the document is the same in UTF-16 or after a byte order mark
        value = self.value or b""
        try:
            fields = document(value.decode(json.detect_encoding(value)).encode())
        except ValueError:
            return None
        if fields is None:
            return None
        event = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
        if self.reason in NEEDS_ID or not _is_uuid(event.get("event_id")):
            event["event_id"] = id_made_of(self.coordinates)
        if self.reason in NEEDS_TIME:
            event["occurred_at"] = moment_text(self.kafka_timestamp)
        # without a host the intake would use the host of this request
        event.setdefault("host", "")
        return event

    def as_json(self) -> dict[str, Any]:
        """Return the record for display, or for a file to repair by hand for ``daybook replay --repaired``."""
        text: str | None = None
        coded: str | None = None
        try:
            text = self.value.decode() if self.value is not None else None
        except UnicodeDecodeError:
            coded = base64.b64encode(self.value or b"").decode()
        return {
            "landing": self.landing,
            "kafka_partition": self.kafka_partition,
            "kafka_offset": self.kafka_offset,
            "kafka_timestamp": moment_text(self.kafka_timestamp),
            "reason": self.reason,
            "detail": self.detail,
            "value": text,
            "value_base64": coded,
            "event": self.repaired(),
        }


def id_made_of(coordinates: tuple[int, int, int]) -> str:
    """Return the id of the event that replaces a record without its own id: the same at every call."""
    return str(uuid5(_NAMESPACE, "/".join(map(str, coordinates))))


def _is_uuid(value: Any) -> bool:
    try:
        return bool(UUID(value))
    except (ValueError, TypeError, AttributeError):
        return False


def rejected_records(settings: Settings, day: date | None, reason: str | None = None) -> list[Rejected]:
    """List a day's rejected records as of its published revision, or those without a day, ordered by coordinates.

    Args:
        settings: where the lake is.
        day: the day; None for the records without a day.
        reason: only those with this reason code.

    Raises:
        BadInput: the day is not published.
    """
    pinned = read_ledger(settings).of(day.isoformat()).snapshots.get(REJECTED_EVENTS) if day else None
    table = load(settings, REJECTED_EVENTS)
    if table is None:
        return []
    known = readable_snapshot(table, pinned) if pinned else None
    of_day = f"event_date = '{day}'" if day else "event_date IS NULL"
    rows = table.scan(row_filter=of_day, snapshot_id=known).to_arrow().to_pylist()
    found = [
        Rejected(**{name: row[name] for name in Rejected.__dataclass_fields__})
        for row in rows
        if reason is None or row["reason"] == reason
    ]
    return sorted(found, key=lambda one: one.coordinates)


def chosen_day(day: str | None, no_day: bool) -> date | None:
    """Return the day that ``--day`` names, or None for ``--no-day``.

    Raises:
        BadInput: not exactly one of the two was given.
    """
    if (day is None) == (not no_day):
        raise BadInput("give --day D, or --no-day for the records without a day")
    return parse_day(day) if day else None
