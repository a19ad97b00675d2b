"""The automatic repairs of a rejected record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from daybook.contract import client_event
from daybook.pipeline.rejected import Rejected

ID = "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a01"
EVENT = {
    "event_id": ID,
    "event_type": "purchase_item",
    "item": "sword",
    "user_id": "user53",
    "host": "user53.att.com",
    "occurred_at": "2026-05-03T18:21:07.250000Z",
}


def a_record(value: bytes | None, reason: str = "conflict", offset: int = 7) -> Rejected:
    taken_at = datetime(2026, 5, 4, 1, 2, 3, tzinfo=UTC)
    return Rejected(1, 0, offset, taken_at, reason, "what is wrong", value)


def repaired(reason: str, offset: int = 7, **changes: Any) -> dict[str, Any]:
    fields = {name: value for name, value in {**EVENT, **changes}.items() if value is not None}
    event = a_record(json.dumps(fields).encode(), reason, offset).repaired()
    assert event is not None
    client_event.validate_python(event)
    return event


def test_a_conflict_gets_an_id_of_its_own_and_the_same_one_each_time() -> None:
    event = repaired("conflict")
    assert event == {**EVENT, "event_id": event["event_id"]}
    assert event["event_id"] != ID
    assert repaired("conflict") == event
    assert repaired("conflict", offset=8)["event_id"] != event["event_id"]


@pytest.mark.parametrize("reason", ["no_time", "too_old", "in_future"])
def test_a_time_that_cannot_be_is_the_one_at_which_kafka_took_the_record(reason: str) -> None:
    event = repaired(reason, occurred_at=None)
    assert event == {**EVENT, "occurred_at": "2026-05-04T01:02:03.000000Z"}


@pytest.mark.parametrize("wrong", [None, "a", 17])
def test_a_missing_id_is_made_from_the_coordinates(wrong: Any) -> None:
    assert repaired("no_event_id", event_id=wrong)["event_id"] != ID


def test_unknown_fields_are_left_out_and_the_others_are_stored() -> None:
    assert repaired("unknown_type", received_at="2026-05-03T18:21:08Z", colour="red") == EVENT


def test_a_missing_host_stays_missing() -> None:
    assert repaired("no_event_id", host=None, event_id=None)["host"] == ""


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[1]", b"17", b"{"])
def test_an_unreadable_record_is_exported_with_its_bytes(value: bytes | None) -> None:
    record = a_record(value)
    assert record.repaired() is None
    payload = json.loads(json.dumps(record.as_json()))
    assert payload["event"] is None
    assert (payload["value"] is None) == (value is None or value == b"\xff")
    assert payload["value_base64"] == ("/w==" if value == b"\xff" else None)
