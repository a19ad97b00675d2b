"""The records that the routes pass to the producer, without a broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from daybook.settings import Settings
from game_api.app import create_app
from game_api.producer import EventProducer, Receipt

JOIN = {"event_type": "join_guild", "user_id": "user53"}
BUY = {"event_type": "purchase_item", "item": "sword", "user_id": "user53"}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = []

    def send(_self: EventProducer, records: Sequence[tuple[bytes, bytes]]) -> list[Receipt]:
        values.extend(json.loads(value) for _, value in records)
        return [Receipt(0, at) for at, _ in enumerate(records)]

    monkeypatch.setattr(EventProducer, "send", send)
    return values


@pytest.fixture
def client(own_settings: Settings) -> FlaskClient:
    return create_app(own_settings).test_client()


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
def test_events_of_a_request_without_times_happened_in_its_order(
    client: FlaskClient, sent: list[dict[str, Any]], media_type: str
) -> None:
    events = [JOIN, BUY] * 500
    body = json.dumps(events) if media_type == "application/json" else "\n".join(map(json.dumps, events))
    answer = client.post("/events", data=body, content_type=media_type, headers={"Host": "user53.att.com"})
    assert answer.status_code == 201
    times = [record["occurred_at"] for record in sent]
    assert len({*times}) == 1000
    assert times == sorted(times)
    assert [record["event_type"] for record in sent[:2]] == ["join_guild", "purchase_item"]


def test_a_record_lists_the_fields_that_the_intake_filled_in(client: FlaskClient, sent: list[dict[str, Any]]) -> None:
    full = {**JOIN, "host": "a.att.com", "occurred_at": "2026-05-03T12:00:00Z"}
    for event in (full, JOIN, {"event_type": "join_guild"}):
        assert client.post("/events", json=event, headers={"Host": "user9.att.com"}).status_code == 201
    assert client.post("/join_a_guild", headers={"Host": "user9.att.com"}).status_code == 200
    assert [record.get("filled") for record in sent] == [
        None,
        ["host", "occurred_at"],
        ["user_id", "host", "occurred_at"],
        ["user_id", "host", "occurred_at"],
    ]


@pytest.mark.parametrize("empty", [UUID(int=0), UUID(int=2**128 - 1)], ids=str)
@pytest.mark.parametrize("form", [str, lambda one: one.hex, lambda one: str(one).upper()])
def test_the_nil_and_max_ids_are_refused(
    client: FlaskClient, sent: list[dict[str, Any]], empty: UUID, form: Any
) -> None:
    answer = client.post("/events", json=[{**JOIN, "event_id": form(empty)}, JOIN], headers={"Host": "a.att.com"})
    assert answer.status_code == 207
    [error] = answer.get_json()["events"][0]["errors"]
    assert (error["field"], len(sent)) == ("event_id", 1)
    by_key = client.post("/join_a_guild", headers={"Host": "a.att.com", "Idempotency-Key": form(empty)})
    assert (by_key.status_code, by_key.text[:8], len(sent)) == (400, "event_id", 1)
