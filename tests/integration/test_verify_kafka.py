"""Raw records against what a real broker holds: the same bytes, no more and no fewer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from daybook.settings import Settings
from daybook.verify import DIFFERENT, EQUAL, Verdict, as_in_kafka
from tests.integration.own_topic import Topic
from tests.integration.running_stack import Stack

pytestmark = pytest.mark.integration

DAY = date(2026, 5, 3)
FIRST, LAST = 0, 3


def event(number: int, day: date = DAY) -> bytes:
    return json.dumps({"event_id": str(number), "occurred_at": f"{day}T12:00:0{number}Z"}).encode()


SENT = [event(0), event(1), event(2, date(2026, 5, 2)), event(3)]
"""Four records of a partition; the third is of another day."""
LANDED: dict[int, bytes | None] = {0: SENT[0], 1: SENT[1], 3: SENT[3]}


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Iterator[Settings]:
    """A topic with these records, and settings that name it."""
    topic = Topic(stack.settings)
    topic.send(0, *SENT)
    yield stack.settings.model_copy(update={"kafka_topic": topic.name})
    topic.delete()


def held(settings: Settings, landed: dict[int, bytes | None], last: int = LAST) -> Verdict:
    rows = [
        {"event_date": DAY, "landing": 1, "kafka_partition": 0, "kafka_offset": offset, "value": value}
        for offset, value in landed.items()
    ]
    schema = pa.schema(
        [
            ("event_date", pa.date32()),
            ("landing", pa.int64()),
            ("kafka_partition", pa.int32()),
            ("kafka_offset", pa.int64()),
            ("value", pa.binary()),
        ]
    )
    raw = pads.dataset(pa.Table.from_pylist(rows, schema=schema))
    return as_in_kafka(settings, raw, DAY, (1, 0, FIRST, last), "Kafka")


def test_the_days_records_are_compared_and_another_days_are_not(settings: Settings) -> None:
    assert held(settings, LANDED) == Verdict(EQUAL, "Kafka: 3 records of the day, byte by byte")


def test_other_bytes_are_found(settings: Settings) -> None:
    found = held(settings, {**LANDED, 1: SENT[1].replace(b"12", b"13")})
    assert found == Verdict(DIFFERENT, "Kafka: offset 1 holds other bytes than raw_events")


def test_a_record_that_was_not_landed_is_found(settings: Settings) -> None:
    found = held(settings, {0: SENT[0], 3: SENT[3]})
    assert found == Verdict(DIFFERENT, "Kafka: offset 1 is of the day and not in raw_events")


def test_a_record_that_kafka_does_not_have_is_found(settings: Settings) -> None:
    found = held(settings, {**LANDED, 4: event(4)}, last=4)
    assert found == Verdict(DIFFERENT, "Kafka: offset 4 is in raw_events and not in Kafka")


def test_a_record_that_was_erased_is_no_difference(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook.erasure.erasures", lambda _settings: [{"event_ids": ["1"]}])
    found = held(settings, {0: SENT[0], 3: SENT[3]})
    assert found == Verdict(EQUAL, "Kafka: 2 records of the day, byte by byte, 1 erased")
