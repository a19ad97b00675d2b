"""From raw records to events: each case turns a few records into verdicts or rows."""

from __future__ import annotations

import json
import uuid
from datetime import date, datetime
from random import Random
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.contract import EXAMPLES, event_date
from daybook.documents import document
from daybook_spark import events
from daybook_spark.events import (
    classify,
    events_of,
    first_revisions,
    provider_map,
    read,
    rejected_of,
    same_ids_elsewhere,
)
from tests.odd_documents import GOOD, ODD_DOCUMENTS, TAKEN_AT, TOLERANCE_MINUTES, plainly
from tests.spark.lake_run import an_id
from tests.spark.topic_records import Topic

A = str(uuid.UUID(int=1, version=4))
B = str(uuid.UUID(int=2, version=4))
WINDOW = 30


def verdicts(topic: Topic) -> list[tuple[str, str | None]]:
    rows = classify(topic.raw(), WINDOW).orderBy("kafka_partition", "kafka_offset").collect()
    return [(row.verdict, row.reason) for row in rows]


def elsewhere_of(raw: DataFrame, dates: list[date | None], window_days: int) -> DataFrame | None:
    counts = {row.event_date: row["count"] for row in raw.groupBy("event_date").count().collect()}
    return same_ids_elsewhere(raw, dates, window_days, counts)


GUILD = b'{"event_id": "a", "event_type": "join_guild"'
BUY = b'{"event_id": "a", "event_type": "purchase_item"'


INVALID: tuple[tuple[bytes | None, str], ...] = (
    (None, "null_value"),
    (b"", "not_json"),
    (b"\xff\xfe\x00", "not_utf8"),
    (b"hello", "not_json"),
    (b"[1, 2]", "not_json"),
    (b'"text"', "not_json"),
    (b"17", "not_json"),
    (b"{", "not_json"),
    (b"\x00", "not_json"),
    (b"[" * 3000, "not_json"),
    (b"{}", "no_event_id"),
    (b'{"event_id": " "}', "no_event_id"),
    (b'{"event_id": "a"}', "unknown_type"),
    (b'{"event_id": "a", "event_type": "dance"}', "unknown_type"),
    (GUILD + b"}", "no_user"),
    (GUILD + b', "user_id": "u", "schema_version": 2}', "other_schema"),
    (BUY + b', "user_id": "u"}', "no_item"),
    (BUY + b', "user_id": "u", "item": "sword", "guild": "g"}', "no_item"),
    (GUILD + b', "user_id": "u", "item": "sword"}', "no_item"),
    (GUILD + b', "user_id": "u\\u0000"}', "bad_text"),
    (GUILD + b', "user_id": "' + b"u" * 129 + b'"}', "bad_text"),
    (GUILD + b', "user_id": "' + b"u" * 900_000 + b'"}', "bad_text"),
    (GUILD + b', "user_id": "u", "host": "a\\nb"}', "bad_text"),
    (GUILD + b', "user_id": "u"}', "no_time"),
    (GUILD + b', "user_id": "u", "occurred_at": "soon"}', "no_time"),
    (GUILD + b', "user_id": "u", "occurred_at": 5}', "no_time"),
    (GUILD + b', "user_id": "u", "occurred_at": "2026-02-30"}', "no_time"),
    (GUILD + b', "user_id": "u", "occurred_at": "1969-12-31T23:59:59Z"}', "too_old"),
    (GUILD + b', "user_id": "u", "occurred_at": "2026-05-06T00:00:02Z"}', "in_future"),
)
"""A value, and the reason why it is not an event."""


def test_an_invalid_record_is_rejected_with_its_reason_and_its_bytes(topic: Topic) -> None:
    # each with its own id: none is compared with another
    values = [value and value.replace(b'"a"', b'"a%d"' % number) for number, (value, _) in enumerate(INVALID)]
    for value in values:
        topic.send(value)
    rows = rejected_of(classify(topic.raw(), WINDOW)).orderBy("kafka_offset").collect()
    assert [(row.value, row.reason) for row in rows] == [
        (value, reason) for value, (_, reason) in zip(values, INVALID, strict=True)
    ]
    assert all(row.detail for row in rows)


def test_the_first_of_equal_events_counts_and_the_others_are_duplicates(topic: Topic) -> None:
    topic.event(event_id=A, partition=1)
    topic.event(event_id=A, partition=0)
    topic.event(event_id=A, partition=0)
    topic.event(event_id=B, partition=0)
    assert verdicts(topic) == [("event", None), ("duplicate", None), ("event", None), ("duplicate", None)]


def test_the_same_id_with_another_body_is_a_conflict(topic: Topic) -> None:
    topic.event(event_id=A, item="sword")
    topic.event(event_id=A, item="knife")
    assert verdicts(topic) == [("event", None), ("rejected", "conflict")]


ON_THE_WAY = {"event_type": "purchase_item", "item": "sword", "event_id": A}
"""A client's event that names neither its host nor its player."""


def test_a_retry_from_another_network_is_a_duplicate(topic: Topic) -> None:
    cases: list[dict[str, str]] = [{}, {"user_id": "mover"}, {"host": "user53.att.com"}]
    for number, named in enumerate(cases):
        message = {**ON_THE_WAY, **named, "event_id": an_id(number)}
        topic.client_event(message, request_host="mover.att.com")
        topic.client_event(message, request_host="other.t-mobile.com")
    assert verdicts(topic) == [("event", None), ("duplicate", None)] * len(cases)


def test_fields_that_one_of_two_clients_did_not_send_are_not_compared(topic: Topic) -> None:
    """A retry of a record that was landed before the intake recorded which fields it fills in."""
    topic.client_event({**ON_THE_WAY, "user_id": "user53", "host": "user53.att.com"})
    topic.client_event(ON_THE_WAY, request_host="mover.t-mobile.com")
    assert verdicts(topic) == [("event", None), ("duplicate", None)]


def test_fields_that_both_clients_sent_are_compared(topic: Topic) -> None:
    cases = [{"user_id": "user54"}, {"host": "user53.cox.com"}, {"item": "knife"}]
    for number, other in enumerate(cases):
        message = {**ON_THE_WAY, "user_id": "user53", "host": "user53.att.com", "event_id": an_id(number)}
        topic.client_event(message)
        topic.client_event({**message, **other})
    assert verdicts(topic) == [("event", None), ("rejected", "conflict")] * len(cases)


def test_an_event_of_another_type_is_a_conflict_even_if_the_intake_filled_in_the_rest(topic: Topic) -> None:
    topic.client_event(ON_THE_WAY, request_host="mover.att.com")
    topic.client_event({"event_type": "join_guild", "event_id": A}, request_host="mover.att.com")
    assert verdicts(topic) == [("event", None), ("rejected", "conflict")]


def test_a_record_without_a_list_of_filled_fields_counts_as_complete(topic: Topic) -> None:
    cases: list[Any] = [None, "", [], ["guild"], "host", 5, {"host": 1}]
    for number, filled in enumerate(cases):
        sent = {**EXAMPLES["purchase_item"], "event_id": an_id(number)}
        sent |= {} if filled is None else {"filled": filled}
        topic.send(json.dumps({**sent, "host": "user53.att.com"}).encode())
        topic.send(json.dumps({**sent, "host": "user53.cox.com"}).encode())
    assert verdicts(topic) == [("event", None), ("rejected", "conflict")] * len(cases)


def test_a_retry_at_another_time_of_the_day_is_a_duplicate(topic: Topic) -> None:
    topic.event(event_id=A, occurred_at="2026-05-03T01:00:00Z")
    topic.event(event_id=A, occurred_at="2026-05-03T01:00:05Z")
    assert verdicts(topic) == [("event", None), ("duplicate", None)]


def test_a_broken_record_takes_no_part_in_the_contest_for_its_id(topic: Topic) -> None:
    topic.send(f'{{"event_id": "{A}", "event_type": "dance", "occurred_at": "2026-05-03T01:00:00Z"}}'.encode())
    topic.event(event_id=A, occurred_at="2026-05-03T01:00:00Z")
    assert verdicts(topic) == [("rejected", "unknown_type"), ("event", None)]


def test_the_day_is_the_utc_day_of_what_happened(topic: Topic) -> None:
    for moment in (
        "2026-05-03T23:59:59.999999Z",
        "2026-05-04T00:00:00Z",
        "2026-05-04T01:30:00+02:00",
        "2024-02-29T12:00:00Z",
    ):
        topic.event(event_id=str(uuid.uuid4()), occurred_at=moment)
    days = [row.event_date for row in topic.raw().orderBy("kafka_offset").collect()]
    assert days == [date(2026, 5, 3), date(2026, 5, 4), date(2026, 5, 3), date(2024, 2, 29)]
    assert verdicts(topic) == [("event", None)] * 4


def test_odd_documents_get_the_verdict_and_the_day_that_all_readers_give(topic: Topic) -> None:
    for odd in ODD_DOCUMENTS:
        topic.send(odd.value, taken_at=TAKEN_AT)
    raw = topic.raw(future_tolerance_minutes=TOLERANCE_MINUTES)
    found = read(raw).select("broken", "event_date").orderBy("kafka_offset").collect()
    by_name = {odd.name: (row.broken, row.event_date) for odd, row in zip(ODD_DOCUMENTS, found, strict=True)}
    assert by_name == {odd.name: (odd.reason, odd.day) for odd in ODD_DOCUMENTS}


def changed(random: Random, value: bytes) -> bytes:
    """A value with up to three of its bytes changed, doubled or removed."""
    odd = [b"", *(bytes([one]) for one in b"{}[]\"',:\\\t\n \x00\xff09-eZ"), b"\\ud83d", b"\\u0022", b"null", b"NaN"]
    odd += [b"1.0", b"\xc3\xa9", b"\xef\xbb\xbf", b'"user_id":"x",', b"{}"]
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(value) + 1)
        value = value[:at] + random.choice(odd) + value[at + random.randrange(2) :]
    return value


def test_values_changed_at_random_are_read_as_by_python(topic: Topic) -> None:
    random = Random(11)
    values = [changed(random, random.choice([GOOD, plainly()]).encode()) for _ in range(3000)]
    for value in values:
        topic.send(value, taken_at=TAKEN_AT)
    raw = topic.raw(future_tolerance_minutes=TOLERANCE_MINUTES)
    found = read(raw).select("broken", "event_date").orderBy("kafka_offset").collect()
    results = [(row.broken not in ("not_json", "not_utf8"), row.event_date) for row in found]
    expected = [(document(one) is not None, event_date(one, TAKEN_AT, TOLERANCE_MINUTES)) for one in values]
    assert {False, True} == {is_one for is_one, _ in expected}
    assert [one for one in zip(values, results, expected, strict=True) if one[1] != one[2]] == []


def test_an_event_row_has_every_field_and_its_provider(spark: SparkSession, topic: Topic) -> None:
    topic.event(event_id=A, host="user53.att.com")
    rows = events_of(classify(topic.raw(), WINDOW), provider_map(spark, ["user53.att.com"]), first_revisions(spark, {}))
    row = rows.first()
    assert row is not None
    assert row.asDict() == {
        "event_id": A,
        "event_type": "purchase_item",
        "item": "sword",
        "guild": None,
        "user_id": "user53",
        "host": "user53.att.com",
        "occurred_at": datetime(2026, 5, 3, 18, 21, 7, 250000),  # noqa: DTZ001 the session's zone is UTC
        "received_at": datetime(2026, 5, 4, 0, 0, 1),  # noqa: DTZ001 the session's zone is UTC
        "user_agent": "test",
        "schema_version": 1,
        "provider": "att",
        "provider_domain": "att.com",
        "landing": 1,
        "kafka_partition": 0,
        "kafka_offset": 0,
        "is_late": False,
        "event_date": date(2026, 5, 3),
    }


def test_an_event_is_late_if_it_was_landed_after_the_first_revision_of_its_day_was_built(
    spark: SparkSession, topic: Topic
) -> None:
    topic.event(event_id=str(uuid.uuid4()))
    topic.event(event_id=str(uuid.uuid4()))
    topic.event(event_id=str(uuid.uuid4()), occurred_at="2026-05-02T12:00:00Z")
    raw = topic.raw().where("kafka_offset = 0").unionByName(topic.raw(landing=2).where("kafka_offset > 0"))
    revisions = first_revisions(spark, {date(2026, 5, 3): 1})
    rows = events_of(classify(raw, WINDOW), provider_map(spark, ["user53.att.com"]), revisions).collect()
    # offset 1 came with the second landing; the other day is not published yet
    assert {row.kafka_offset: row.is_late for row in rows} == {0: False, 1: True, 2: False}


def test_the_first_landed_record_of_an_id_on_two_days_counts(topic: Topic) -> None:
    """A client without a clock retries after midnight; a later landing never takes an event from a published day."""
    topic.event(event_id=A, occurred_at="2026-05-03T23:59:59.999Z")
    topic.event(event_id=A, occurred_at="2026-05-04T00:00:01Z")
    topic.event(event_id=B, occurred_at="2026-05-04T00:00:01Z")
    topic.event(event_id=B, occurred_at="2026-05-03T23:59:59Z", item="knife")
    raw = topic.raw().localCheckpoint()

    def of(day: date) -> list[tuple[int, str, str | None]]:
        elsewhere = elsewhere_of(raw, [day], WINDOW)
        assert elsewhere is not None
        rows = classify(raw.where(F.col("event_date") == day), WINDOW, elsewhere).orderBy("kafka_offset").collect()
        return [(row.kafka_offset, row.verdict, row.reason) for row in rows]

    assert of(date(2026, 5, 3)) == [(0, "event", None), (3, "rejected", "conflict")]
    assert of(date(2026, 5, 4)) == [(1, "duplicate", None), (2, "event", None)]


def test_an_earlier_landing_counts_before_a_lower_offset(topic: Topic) -> None:
    """A recreated topic starts again at offset 0."""
    topic.event(event_id=A, item="knife")
    topic.event(event_id=A, item="sword")
    raw = topic.raw(landing=2).where("kafka_offset = 0").unionByName(topic.raw(landing=1).where("kafka_offset = 1"))
    rows = {row.kafka_offset: row.verdict for row in classify(raw, WINDOW).collect()}
    assert rows == {0: "rejected", 1: "event"}


def test_a_days_rows_do_not_depend_on_the_days_it_is_built_with(topic: Topic) -> None:
    topic.event(event_id=A, occurred_at="2026-03-01T12:00:00Z")
    topic.event(event_id=A, occurred_at="2026-03-31T12:00:00Z")  # 30 days later
    topic.event(event_id=B, occurred_at="2026-03-01T12:00:00Z")
    topic.event(event_id=B, occurred_at="2026-04-01T12:00:00Z")  # 31 days later
    together = classify(topic.raw(), WINDOW).orderBy("kafka_offset").collect()
    assert [row.verdict for row in together] == ["event", "duplicate", "event", "event"]


def of_day(raw: DataFrame, day: date, window_days: int) -> dict[int, tuple[str, str | None]]:
    """The verdicts for a day's records when the day is built alone."""
    elsewhere = elsewhere_of(raw, [day], window_days)
    rows = classify(raw.where(F.col("event_date") == day), window_days, elsewhere).collect()
    return {row.kafka_offset: (row.verdict, row.reason) for row in rows}


def test_a_duplicate_is_of_an_event(topic: Topic) -> None:
    """Each day is within the window of the previous one; the third is not within the window of any event."""
    for day in ("2026-01-01", "2026-01-25", "2026-02-20", "2026-03-18"):
        topic.event(event_id=A, occurred_at=f"{day}T12:00:00Z")
    for day, item in (("2026-01-01", "sword"), ("2026-01-26", "knife"), ("2026-02-20", "knife")):
        topic.event(event_id=B, occurred_at=f"{day}T12:00:00Z", item=item)
    chain = [("event", None), ("duplicate", None), ("event", None), ("duplicate", None)]
    swords_and_knives = [("event", None), ("rejected", "conflict"), ("event", None)]
    assert verdicts(topic) == chain + swords_and_knives
    raw = topic.raw().localCheckpoint()
    assert of_day(raw, date(2026, 2, 20), WINDOW) == {2: ("event", None), 6: ("event", None)}
    assert of_day(raw, date(2026, 3, 18), WINDOW) == {3: ("duplicate", None)}


def walked(records: list[tuple[str, date, str]], window_days: int) -> list[tuple[str, str | None]]:
    """The rule in a few lines of Python. The records are in landing order, each with its id, day and item."""
    found: list[tuple[str, date, str]] = []
    outcomes: list[tuple[str, str | None]] = []
    for one in records:
        near = [event for event in found if event[0] == one[0] and abs((event[1] - one[1]).days) <= window_days]
        if not near:
            found.append(one)
            outcomes.append(("event", None))
        else:
            is_same = any(event[2] == one[2] for event in near)
            outcomes.append(("duplicate", None) if is_same else ("rejected", "conflict"))
    return outcomes


@pytest.mark.parametrize("most_on_driver", [200_000, 3])
def test_verdicts_are_those_of_the_rule_in_python_whatever_is_built_together(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, most_on_driver: int
) -> None:
    monkeypatch.setattr(events, "MOST_IDS_ON_DRIVER", most_on_driver)
    random, window, items = Random(7), 3, ("sword", "sword", "knife")
    records = [
        (
            an_id(random.randrange(40)),
            date(2026, 4, random.randrange(1, 25)),
            random.choice(items),
        )
        for _ in range(240)
    ]
    for event_id, day, item in records:
        topic.event(event_id=event_id, occurred_at=f"{day}T12:00:00Z", item=item)
    raw = topic.raw().localCheckpoint()
    outcomes = dict(enumerate(walked(records, window)))
    assert {kind for kind, _ in outcomes.values()} == {"event", "duplicate", "rejected"}
    together = classify(raw, window).collect()
    assert {row.kafka_offset: (row.verdict, row.reason) for row in together} == outcomes
    for day in (date(2026, 4, 3), date(2026, 4, 12), date(2026, 4, 24)):
        expected = {at: outcomes[at] for at, record in enumerate(records) if record[1] == day}
        assert expected
        assert of_day(raw, day, window) == expected


def test_an_id_is_looked_for_within_the_window_and_nowhere_else(topic: Topic) -> None:
    topic.event(event_id=A, occurred_at="2026-05-01T12:00:00Z")
    topic.event(event_id=A, occurred_at="2026-05-03T12:00:00Z")
    topic.event(event_id=B, occurred_at="2026-05-02T12:00:00Z")
    assert elsewhere_of(topic.raw(), [date(2026, 5, 3)], 1) is None
    found = elsewhere_of(topic.raw(), [date(2026, 5, 3)], 2)
    assert found is not None
    assert [row.kafka_offset for row in found.collect()] == [0]


@pytest.mark.parametrize("most_in_memory", [0, 2, 100])
def test_ids_are_found_elsewhere_in_memory_or_sorted(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, most_in_memory: int
) -> None:
    monkeypatch.setattr(events, "MOST_IDS_IN_MEMORY", most_in_memory)
    for day in ("2026-05-01", "2026-05-03"):
        topic.send(json.dumps({"occurred_at": f"{day}T12:00:00Z"}).encode())
    assert elsewhere_of(topic.raw(), [date(2026, 5, 3)], WINDOW) is None, "no id is shared with nobody"
    for number in range(5):
        topic.event(event_id=an_id(number), occurred_at="2026-05-01T12:00:00Z")
        topic.event(event_id=an_id(number + 3), occurred_at="2026-05-03T12:00:00Z")
    found = elsewhere_of(topic.raw(), [date(2026, 5, 3)], WINDOW)
    assert found is not None
    assert sorted(row.event_id for row in found.collect()) == [an_id(3), an_id(4)]


def test_upper_and_lower_case_are_one_id(topic: Topic) -> None:
    topic.event(event_id=A)
    value = topic.rows[0][1].replace(A.encode(), f" {A.upper()}".encode())
    topic.send(value)
    assert verdicts(topic) == [("event", None), ("duplicate", None)]


def test_a_record_is_parsed_once_for_its_day_and_once_for_its_fields(topic: Topic) -> None:
    """Count the parses in the plan: unless prevented, Spark repeats an expression wherever it is used."""
    topic.event(event_id=A)
    topic.event(event_id=B)
    topic.event(event_id=B)
    landing, building = topic.raw(), classify(topic.raw(), WINDOW)
    # one branch for unique ids, one for repeated ids; each record goes through one of them
    assert [parses(landing), parses(building) - 2 * parses(landing)] == [1, 2]


def parses(rows: DataFrame) -> int:
    plan: str = rows._jdf.queryExecution().optimizedPlan().toString()
    return plan.count("from_json(")
