"""How the intake parses a body: the result is events or a named reason, never another exception."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybook.contract import A_MOMENT, FIELDS, client_event
from game_api import validation
from game_api.validation import (
    MAX_BODY_BYTES,
    MAX_ERRORS_PER_EVENT,
    MAX_EVENTS_PER_REQUEST,
    NOT_AS_THE_CONTRACT_SAYS,
    BadBody,
    Refused,
    check_event,
    check_host,
    parse_body,
    parse_lines,
    unpack,
)

ITEMS = ("sword", "knife")
LATEST = datetime(2026, 5, 4, 1, tzinfo=UTC)


def refusal(value: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        check_event(value, items=ITEMS, latest=LATEST)
    json.dumps(refused.value.errors).encode()  # the answer is serializable
    return refused.value


@pytest.mark.parametrize(
    ("raw", "field", "status"),
    [
        (b"", "body", 400),
        (b"{", "body", 400),
        (b"[]", "body", 400),
        (b"\xff\xfe{}", "body", 400),
        (b"\xef\xbb\xbf{}", "body", 400),
        (b'{"a": NaN}', "body", 400),
        (b"[-Infinity]", "body", 400),
        (b"[" * 100_000, "body", 400),
        (b'{"a":' * 100_000, "body", 400),
        (b"1" * 10_000, "body", 400),
        (b'{"item": "sword", "item": "knife"}', "item", 400),
        (b'[{"a": {"b": 1, "b": 1}}]', "b", 400),
        (b'{"\\ud800": 1, "\\ud800": 2}', "\\ud800", 400),
        (json.dumps([{}] * 1001).encode(), "body", 413),
    ],
    ids=range(14),
)
def test_a_body_that_cannot_be_read_is_refused_as_a_whole(raw: bytes, field: str, status: int) -> None:
    with pytest.raises(BadBody) as refused:
        parse_body(raw)
    assert (refused.value.field, refused.value.status) == (field, status)


def test_a_single_event_and_an_array_read_alike() -> None:
    assert parse_body(b'{"a": 1}') == parse_body(b'[{"a": 1}]') == [{"a": 1}]
    assert len(parse_body(json.dumps([{}] * 1000).encode())) == 1000


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (5, ["event"]),
        (None, ["event"]),
        ({}, ["event_type"]),
        ({"event_type": "\ud800"}, ["event_type"]),
        ({"event_type": "purchase_item"}, ["item"]),
        ({"event_type": "purchase_item", "item": "spoon"}, ["item"]),
        ({"event_type": "purchase_item", "item": [["sword"]], "host": "a b"}, ["host", "item"]),
        ({"event_type": "join_guild", "\ud800": 1}, ["\\ud800"]),
        ({"event_type": "join_guild", "x" * 1000: 1}, ["x" * 63 + "…"]),
    ],
    ids=range(9),
)
def test_a_refusal_names_each_wrong_field(value: Any, fields: list[str]) -> None:
    assert sorted(error["field"] for error in refusal(value).errors) == fields


def test_an_unknown_field_is_reported_with_the_list_of_fields() -> None:
    first, second = refusal({"event_type": "join_guild", "price": 3, "size": 4}).errors
    assert first == {"field": "price", "message": f"is not a field of an event; the fields are {', '.join(FIELDS)}"}
    assert second == {"field": "size", "message": "is not a field of an event"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("item", None, "is required"),
        ("guild", "wolves", "is not a field of this event type; leave it out or send null"),
        ("user_id", 5, "is not text"),
        ("user_id", "", "is empty; leave it out, or send at least 1 character"),
        ("user_id", "x" * 129, "is longer than 128 characters"),
        ("user_id", "\ud800", "contains half of a surrogate pair, which is not a character"),
        ("event_id", "7", "is not a UUID: 8-4-4-4-12 hexadecimal digits, as text"),
        ("event_id", 7, "is not a UUID: 8-4-4-4-12 hexadecimal digits, as text"),
        ("schema_version", 2, "is not 1"),
        ("occurred_at", "2026-05-03T10:00:00", f"has no time zone; {A_MOMENT}"),
        *(
            ("occurred_at", value, f"is not a time; {A_MOMENT}")
            for value in (
                *(
                    5,
                    True,
                    "",
                    "now",
                    "2026-05-03",
                    "2026-05-03T10:00:00+05",
                    "2026-05-03T10:00:00 Z",
                    "2026-02-30T10:00:00Z",
                ),
                *(
                    "2026-05-03T23:59:60Z",
                    "2026-05-03T24:00:00Z",
                    "2026-05-03T10:00:00Z\n",
                    "2026-05-03T" + "1" * 100_000,
                ),
            )
        ),
    ],
)
def test_an_error_is_reported_in_our_own_words(field: str, value: Any, message: str) -> None:
    sent = {"event_type": "purchase_item", "item": "sword", field: value}
    if value is None:
        del sent[field]
    assert refusal(sent).errors == [{"field": field, "message": message}]


def test_unknown_fields_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body can contain 100,000 of them."""
    handed: list[dict[str, Any]] = []

    class Noting:
        def validate_python(self, value: dict[str, Any]) -> Any:
            handed.append(value)
            return client_event.validate_python(value)

    monkeypatch.setattr(validation, "client_event", Noting())
    sent = {"event_type": "join_guild", "guild": "wolves"}
    assert len(refusal({f"f{n}": n for n in range(50_000)} | sent).errors) == MAX_ERRORS_PER_EVENT
    assert handed == [sent]


def test_a_refusal_is_bounded_however_much_is_wrong() -> None:
    assert len(refusal({"event_type": "join_guild"} | {f"f{n}": n for n in range(50_000)}).errors) == (
        MAX_ERRORS_PER_EVENT
    )


def test_a_refusal_carries_the_event_id_if_there_is_one() -> None:
    event_id = "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a01"
    assert refusal({"event_type": "purchase_item", "item": "spoon", "event_id": event_id}).event_id == event_id
    assert refusal({"event_type": "what", "event_id": event_id.upper()}).event_id == event_id
    assert refusal({"event_type": "purchase_item", "item": "spoon"}).event_id is None
    assert refusal({"event_type": "what", "event_id": [5]}).event_id is None


@pytest.mark.parametrize("host", ["<x>", "a b", "a..b", "a,b", "-a", "a" * 2000, "\x00", "user1.att.com, b"])
def test_a_request_with_an_invalid_host_is_refused_as_a_whole(host: str) -> None:
    with pytest.raises(BadBody) as refused:
        check_host(host)
    assert (refused.value.field, refused.value.status) == ("Host", 400)


@pytest.mark.parametrize("host", ["", "user1", "User1.ATT.com:5000", "203.0.113.9", "[2001:db8::1]:80", "ü.example"])
def test_names_addresses_and_no_host_at_all_are_taken(host: str) -> None:
    check_host(host)


class TestLines:
    def test_each_line_is_an_event_and_blank_lines_are_skipped(self) -> None:
        assert parse_lines(b'{"a": 1}\r\n\n  \n{"b": 2}') == [{"a": 1}, {"b": 2}]

    @pytest.mark.parametrize("broken", [b"{", b"\xff", b"NaN", b"[" * 100_000, b'{"a": 1, "a": 2}'], ids=range(5))
    def test_a_line_that_cannot_be_read_is_refused_by_itself(self, broken: bytes) -> None:
        first, second = parse_lines(broken + b'\n{"b": 2}\n')
        assert isinstance(first, Refused)
        assert first.errors
        assert second == {"b": 2}

    @pytest.mark.parametrize(("raw", "status"), [(b"", 400), (b"\n \n", 400), (b"{}\n" * 1001, 413)], ids=range(3))
    def test_empty_and_too_large_batches_are_refused_as_a_whole(self, raw: bytes, status: int) -> None:
        with pytest.raises(BadBody) as refused:
            parse_lines(raw)
        assert refused.value.status == status


class TestUnpack:
    @pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES])
    def test_a_compressed_body_is_decompressed(self, size: int) -> None:
        assert unpack(gzip.compress(b"x" * size)) == b"x" * size

    @pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 200 * MAX_BODY_BYTES])
    def test_a_bomb_is_too_large(self, size: int) -> None:
        with pytest.raises(BadBody) as refused:
            unpack(gzip.compress(b"\0" * size))
        assert refused.value.status == 413

    @pytest.mark.parametrize(
        "raw",
        [
            *(b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x", b"\x1f\x8b" * 9),
            gzip.compress(b"{}") + gzip.compress(b"{}")[:-1],
        ],
        ids=range(6),
    )
    def test_an_incomplete_gzip_body_is_refused(self, raw: bytes) -> None:
        with pytest.raises(BadBody) as refused:
            unpack(raw)
        assert (refused.value.field, refused.value.status) == ("Content-Encoding", 400)

    def test_several_members_are_one_body(self) -> None:
        assert unpack(gzip.compress(b"[1,") + gzip.compress(b"") + gzip.compress(b"2]")) == b"[1,2]"
        assert unpack(gzip.compress(b"x") * MAX_EVENTS_PER_REQUEST) == b"x" * MAX_EVENTS_PER_REQUEST

    @pytest.mark.parametrize(
        "raw",
        [
            gzip.compress(b"x" * (MAX_BODY_BYTES // 2 + 1)) * 2,
            gzip.compress(b"x" * MAX_BODY_BYTES) + gzip.compress(b"x"),
            gzip.compress(b"") * (MAX_EVENTS_PER_REQUEST + 1),
        ],
        ids=["half and half", "one too many", "empty ones"],
    )
    def test_members_are_bounded_together(self, raw: bytes) -> None:
        with pytest.raises(BadBody) as refused:
            unpack(raw)
        assert refused.value.status == 413

    @given(st.binary(max_size=200))
    def test_any_bytes_are_unpacked_or_refused(self, raw: bytes) -> None:
        outcome_of(lambda: unpack(raw))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["event_type", "item", "guild", "event_id", "user_id", "host", "occurred_at", "schema_version"]
)


@given(
    st.dictionaries(
        field_names, json_values | st.sampled_from(["purchase_item", "join_guild", "sword", "user1.att.com"])
    ),
)
def test_any_json_value_is_an_event_or_a_refusal_that_names_fields(value: dict[str, Any]) -> None:
    outcome = outcome_of(lambda: check_event(value, items=ITEMS, latest=LATEST))
    if isinstance(outcome, Refused):
        assert outcome.errors
        assert all(error["field"] and error["message"] for error in outcome.errors)
        assert all(NOT_AS_THE_CONTRACT_SAYS not in error["message"] for error in outcome.errors), (
            "a finding without words"
        )
        json.dumps(outcome.errors, ensure_ascii=False).encode()
    else:
        assert outcome.event_type == value["event_type"]


@pytest.mark.parametrize("moment", ["2026-05-04T01:00:00.000001Z", "9999-12-31T23:59:59Z"])
def test_an_event_that_has_not_happened_yet_is_refused_by_its_time(moment: str) -> None:
    refused = refusal({"event_type": "join_guild", "user_id": "u", "occurred_at": moment})
    message = "is in the future: after 2026-05-04T01:00:00.000000Z"
    assert refused.errors == [{"field": "occurred_at", "message": message}]


def test_a_clock_may_be_ahead_by_the_tolerance() -> None:
    sent = {"event_type": "join_guild", "user_id": "u", "occurred_at": "2026-05-04T01:00:00Z"}
    assert check_event(sent, items=ITEMS, latest=LATEST).occurred_at == LATEST


@given(st.binary(max_size=200))
def test_any_bytes_are_values_or_a_bad_body(raw: bytes) -> None:
    outcome = outcome_of(lambda: parse_body(raw))
    assert outcome if isinstance(outcome, list) else (outcome.status == 400 and outcome.detail)


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Refused, BadBody) as refused:
        return refused
