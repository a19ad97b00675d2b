"""The contract: valid events, refused values with the field's name, and the records in Kafka."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from daybook import idn
from daybook.contract import (
    EVENT_TYPES,
    EXAMPLES,
    FIRST_MOMENT,
    MAX_USER_AGENT_CHARACTERS,
    RECORD_FIELDS,
    clean_host,
    clean_user_agent,
    client_event,
    complete,
    encode,
    event_schema,
    moment_text,
    record_schema,
)

ITEMS = ("sword", "knife")
NOW = datetime(2026, 5, 3, 18, 21, 8, tzinfo=UTC)
SWORD: dict[str, Any] = {"event_type": "purchase_item", "item": "sword"}


def completed(value: dict[str, Any], **request: Any) -> dict[str, Any]:
    request = {"received_at": NOW, "request_host": "intake.example", "user_agent": None, **request}
    return complete(client_event.validate_python(value), **request)


def wrong_fields(value: Any) -> set[str]:
    with pytest.raises(ValidationError) as refusal:
        client_event.validate_python(value)
    # an error in a field starts with the type's name; an error in the type itself has no location
    return {str(error["loc"][1]) if len(error["loc"]) > 1 else "" for error in refusal.value.errors()}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_type_has_an_example_that_is_an_event(event_type: str) -> None:
    record = completed(EXAMPLES[event_type])
    assert record["event_type"] == event_type
    assert [*record] == [name for name, _ in RECORD_FIELDS]


def test_a_record_retains_what_the_client_sent() -> None:
    assert completed(EXAMPLES["purchase_item"], user_agent="ab/2.3") == {
        "event_id": "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a01",
        "event_type": "purchase_item",
        "item": "sword",
        "guild": None,
        "user_id": "user53",
        "host": "user53.att.com",
        "occurred_at": "2026-05-03T18:21:07.250000Z",
        "received_at": "2026-05-03T18:21:08.000000Z",
        "user_agent": "ab/2.3",
        "schema_version": 1,
    }


@pytest.mark.parametrize(
    ("request_host", "player"),
    [("user53.att.com", "user53"), ("localhost", "localhost"), ("203.0.113.9", "203.0.113.9"), ("", "unknown")],
)
def test_fields_that_the_client_omits_come_from_the_request(request_host: str, player: str) -> None:
    record = completed(SWORD, request_host=request_host)
    assert (record["user_id"], record["host"]) == (player, request_host)
    assert record["occurred_at"] == record["received_at"] == "2026-05-03T18:21:08.000000Z"
    assert UUID(record["event_id"]).version == 4


def test_an_empty_host_means_no_host_and_is_not_filled_in() -> None:
    assert completed({**SWORD, "host": "", "user_id": "user1"})["host"] == ""


def test_times_are_kept_in_utc() -> None:
    assert completed({**SWORD, "occurred_at": "2026-05-03T01:30:00+02:00"})["occurred_at"] == (
        "2026-05-02T23:30:00.000000Z"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", 1),
        ("event_id", None),
        ("event_id", "not-a-uuid"),
        ("event_id", "\ud800"),
        ("item", ""),
        ("item", None),
        ("item", {}),
        ("item", "a\0b"),
        ("item", "\ud800"),
        ("item", "x" * 129),
        ("guild", "wolves"),
        ("user_id", 5),
        ("user_id", ""),
        ("user_id", "a\nb"),
        ("host", "\ud800"),
        ("host", "b\0"),
        ("host", "<script>"),
        ("host", "a..b"),
        ("host", ".ü.de"),
        ("host", "ü..de"),
        ("host", "☃.net"),
        ("host", "::::"),
        ("host", "a" * 5000),
        ("host", "ü" * 1025),
        ("occurred_at", 1_777_832_467),
        ("occurred_at", 2**63),
        ("occurred_at", "2026-05-03"),
        ("occurred_at", "2026-05-03T10:00:00"),
        ("occurred_at", "2026-02-30T10:00:00Z"),
        ("occurred_at", "0001-01-01T00:00:00+10:00"),
        ("occurred_at", "9999-12-31T23:59:59-10:00"),
        ("occurred_at", "1969-12-31T23:59:59Z"),
        ("schema_version", 2),
        ("schema_version", True),
        ("schema_version", 1.0),
        ("schema_version", float("inf")),
        ("schema_version", 2**63),
        ("received_at", "2026-05-03T10:00:00Z"),
        ("price", 3),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    assert wrong_fields({**SWORD, field: value}) == {field}


@pytest.mark.parametrize("event_type", ["", "PURCHASE_ITEM", "\ud800", [], {}, None, 2**70, True])
def test_a_wrong_type_is_refused(event_type: Any) -> None:
    assert wrong_fields({**SWORD, "event_type": event_type}) == {""}


@pytest.mark.parametrize("value", [None, [], "x", 5, {}, True])
def test_a_body_that_is_not_an_event_is_refused(value: Any) -> None:
    assert wrong_fields(value) == {""}


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("USER53.ATT.com:5000", "user53.att.com"),
        ("user53.att.com.", "user53.att.com"),
        ("user.bücher.example", "user.xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("fass.de", "fass.de"),
        ("xn--n3h.net", "xn--n3h.net"),  # IDNA 2003, as in older records
        ("ΟΔΥΣΣΕΥΣ.gr", "xn--pxac2arabkd.gr"),
        ("ὀδυσσεύς.gr", "xn--pxac3bcak3d8526a.gr"),
        ("_x.user_1.bücher.de:80", "_x.user_1.xn--bcher-kva.de"),
        ("ü。de。", "xn--tda.de"),
        ("Ü.example.", "xn--tda.example"),
        ("203.0.113.9:80", "203.0.113.9"),
        ("[2001:DB8::1]:80", "2001:db8::1"),
        ("", ""),
        (":80", ""),
    ],
)
def test_a_host_is_kept_in_one_form(raw: str, kept: str) -> None:
    assert clean_host(raw) == kept
    assert clean_host(kept) == kept


def test_a_name_of_two_rules_is_kept_as_its_owner_registered_it() -> None:
    """By IDNA 2003, the final sigma and the sharp s become other letters, and the name belongs to someone else."""
    assert clean_host("ὀδυσσεύς.gr") != clean_host("ὀδυσσεύσ.gr")
    assert clean_host("straße.de") != clean_host("strasse.de")


@pytest.mark.parametrize(
    "raw",
    [
        "一二三四五六七八九十" * 100,
        "ü" * 254,
        "ü" * 60 + ".de",
        ".".join(["ü" * 60] * 4),
        "\ufdfa" * 100,  # expands to 18 letters
        "[" + "ü" * 900 + "]",
        "ü" * 900 + ":80",
    ],
    ids=range(7),
)
def test_a_host_that_is_too_long_is_refused_before_it_is_encoded(raw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec's cost grows with the square of a label's length: a request of 8 kB once took 47 seconds."""
    encoded: list[str] = []
    mapped: list[str] = []
    monkeypatch.setattr(idna, "alabel", _noting(idna.alabel, encoded))
    monkeypatch.setattr(idna, "uts46_remap", _noting(idna.uts46_remap, mapped))
    with pytest.raises(ValueError, match=r"characters|is not a host name"):
        clean_host(raw)
    assert encoded == []
    assert sum(map(len, mapped)) <= 253


def test_the_cost_of_encoding_a_name_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    monkeypatch.setattr(idna, "alabel", _noting(idna.alabel, encoded))
    idn.ascii_name.cache_clear()
    name = ".".join(["ü" * 50] * 4)
    assert clean_host(name) == clean_host(name)
    assert list(map(len, encoded)) == [50] * 4, "once, however often it is named"
    encoded.clear()
    with pytest.raises(ValueError, match="longer than 253 characters"):
        clean_host(".".join(["一二三四五六七八九十"] * 20))  # 219 characters; 599 in ASCII
    assert len(encoded) == 9, "of 29 characters in ASCII each"


def _noting(call: Callable[..., Any], texts: list[str]) -> Callable[..., Any]:
    """The function, which also records the texts of its calls."""

    def noted(text: str, *arguments: Any, **named: Any) -> Any:
        texts.append(text)
        return call(text, *arguments, **named)

    return noted


@given(st.text(max_size=300))
def test_any_text_is_a_host_or_is_refused(raw: str) -> None:
    try:
        host = clean_host(raw)
    except ValueError:
        return
    assert host.isascii()
    assert len(host) <= 253
    assert clean_host(host) == host


@given(st.text(max_size=3000))
def test_a_user_agent_is_one_bounded_line_that_can_be_stored(raw: str) -> None:
    kept = clean_user_agent(raw)
    assert kept is None or (0 < len(kept) <= MAX_USER_AGENT_CHARACTERS)
    assert "\n" not in (kept or "")
    assert "\0" not in (kept or "")
    (kept or "").encode()


moments = st.builds(
    lambda seconds, hours: (FIRST_MOMENT + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=hours))),
    st.floats(min_value=0, max_value=250e9),
    st.integers(-14, 14),
)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
hosts = st.from_regex(r"user[0-9]{1,3}(\.[a-z]{1,9}){0,3}", fullmatch=True) | st.ip_addresses().map(str) | st.just("")
optional_fields = {
    "event_id": st.uuids().map(str),
    "user_id": names | st.none(),
    "host": hosts | st.none(),
    "occurred_at": moments.map(datetime.isoformat) | st.none(),
    "schema_version": st.just(1),
}
purchases = st.fixed_dictionaries(
    {"event_type": st.just("purchase_item"), "item": names}, optional={**optional_fields, "guild": st.none()}
)
guild_joins = st.fixed_dictionaries(
    {"event_type": st.just("join_guild")}, optional={**optional_fields, "guild": names | st.none(), "item": st.none()}
)


@given(purchases | guild_joins, st.text(max_size=400) | st.none())
def test_an_event_that_is_valid_becomes_a_record_whose_json_reads_back(
    value: dict[str, Any], user_agent: str | None
) -> None:
    event = client_event.validate_python(value)
    record = complete(event, received_at=NOW, request_host="user9.cox.com", user_agent=user_agent)
    assert json.loads(encode(record).decode("utf-8")) == record
    filled = [name for name in ("user_id", "host", "occurred_at") if value.get(name) is None]
    assert [*record] == [*(name for name, _ in RECORD_FIELDS), *(["filled"] if filled else [])]
    assert record.get("filled", []) == filled
    assert record["user_id"]
    assert datetime.fromisoformat(record["occurred_at"]) >= FIRST_MOMENT
    assert len(record["occurred_at"]) == len("2026-05-03T18:21:07.250000Z")


@given(moments)
def test_moments_sort_as_text(moment: datetime) -> None:
    assert (moment_text(moment) < moment_text(NOW)) == (moment < NOW)


def test_every_example_is_an_event_by_the_exported_schema() -> None:
    schema = Draft202012Validator(event_schema(ITEMS))
    for value in EXAMPLES.values():
        schema.validate(value)
    assert set(event_schema(ITEMS)["discriminator"]["mapping"]) == set(EVENT_TYPES)
    assert not schema.is_valid({**EXAMPLES["purchase_item"], "item": "spoon"})
    assert not schema.is_valid({**EXAMPLES["purchase_item"], "guild": "wolves"})


@given(purchases | guild_joins, st.text(max_size=400) | st.none())
def test_every_record_is_one_by_the_exported_schema(value: dict[str, Any], user_agent: str | None) -> None:
    event = client_event.validate_python(value)
    record = complete(event, received_at=NOW, request_host="", user_agent=user_agent)
    Draft202012Validator(record_schema()).validate(json.loads(encode(record)))
    for name in RECORD_FIELDS:
        assert not Draft202012Validator(record_schema()).is_valid({k: v for k, v in record.items() if k != name[0]})
