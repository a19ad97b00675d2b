"""Values that JSON parsers treat differently.

Tests compare the intake, Spark and Python with this one table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from daybook.contract import RECORD_FIELDS

DAY = date(2026, 5, 3)
TAKEN_AT = datetime(2026, 5, 4, 0, 0, 1, tzinfo=UTC)
TOLERANCE_MINUTES = 60
FIELDS: dict[str, Any] = {
    "event_id": "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a01",
    "event_type": "purchase_item",
    "item": "sword",
    "user_id": "user53",
    "host": "user53.att.com",
    "occurred_at": "2026-05-03T18:21:07.25Z",
}
NESTED = 98
"""Number of arrays inside a field's array. With it and the object, the document has the maximum nesting depth."""


@dataclass(frozen=True)
class Odd:
    """A value, and the result of each reader."""

    name: str
    value: bytes | None
    reason: str | None
    """The reason why a landing rejects it; None if it is an event."""
    day: date | None = DAY
    """The day that all readers assign."""
    is_taken: bool = False
    """Whether the intake accepts it as a request body."""


def text(**changes: Any) -> str:
    """The event with some fields changed; a ``...`` removes the field."""
    return json.dumps({name: value for name, value in {**FIELDS, **changes}.items() if value is not ...})


def message(name: str, **changes: Any) -> bytes:
    """The event with ``"X"`` in a field replaced by this text, which may be invalid JSON."""
    return text(**{name: "X"}).replace('"X"', changes["by"]).encode()


GOOD = text()


def _documents() -> list[Odd]:
    other = text(event_id="0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a02")
    no_json = {
        "nothing": b"",
        "blank": b" \r\n\t",
        "two objects": (GOOD + other).encode(),
        "two lines": f"{GOOD}\n{other}\n".encode(),
        "two objects and a comma": f"{GOOD},{other}".encode(),
        "trailing text": f"{GOOD} x".encode(),
        "trailing brace": (GOOD + "}").encode(),
        "trailing bracket": (GOOD + "]").encode(),
        "trailing bracket and array": (GOOD + "], [1").encode(),
        "trailing field": (GOOD + ', "user_id": "user54"').encode(),
        "trailing brace and object": (GOOD + '}, {"a": 1').encode(),
        "trailing NUL": GOOD.encode() + b"\x00",
        "trailing comment": (GOOD + " // x").encode(),
        "trailing comma": (GOOD[:-1] + ",}").encode(),
        "single quotes": GOOD.replace('"', "'").encode(),
        "one name in single quotes": GOOD.replace('"item"', "'item'").encode(),
        "one text in single quotes": GOOD.replace('"sword"', "'sword'").encode(),
        "no quotes": GOOD.replace('"item"', "item").encode(),
        "tab in a text": GOOD.replace("user53", "user\t53").encode(),
        "line in a text": GOOD.replace("user53", "user\n53").encode(),
        "tab in a field of no interest": (GOOD[:-1] + ', "x": "\t"}').encode(),
        "bad escape": GOOD.replace("user53", "user\\x53").encode(),
        "bad escape in a field of no interest": (GOOD[:-1] + ', "x": "\\x"}').encode(),
        "half an escape": GOOD.replace("user53", "user\\u12").encode(),
        "BOM": b"\xef\xbb\xbf" + GOOD.encode(),
        "UTF-16 without BOM": GOOD.encode("utf-16-le"),
        "name twice": (GOOD[:-1] + ', "user_id": "user54"}').encode(),
        "name twice, the same value": (GOOD[:-1] + ', "user_id": "user53"}').encode(),
        "name twice, escaped": (GOOD[:-1] + ', "user\\u005fid": "user54"}').encode(),
        "unknown name twice": (GOOD[:-1] + ', "x": 1, "x": 1}').encode(),
        "name twice further in": (GOOD[:-1] + ', "x": [{"y": 1, "y": 2}]}').encode(),
        "time twice": (GOOD[:-1] + ', "occurred_at": "2026-05-02T12:00:00Z"}').encode(),
        "NaN": message("schema_version", by="NaN"),
        "infinity": (GOOD[:-1] + ', "x": -Infinity}').encode(),
        "leading zero": message("schema_version", by="01"),
        "plus": message("schema_version", by="+1"),
        "point without digits": message("schema_version", by="1."),
        "number of 1,001 digits": (GOOD[:-1] + f', "x": {"9" * 1001}}}').encode(),
        "number of 5,000 digits": (GOOD[:-1] + f', "x": {"9" * 5000}}}').encode(),
        "too deep": (GOOD[:-1] + ', "x": ' + "[" * (NESTED + 2) + "]" * (NESTED + 2) + "}").encode(),
        "far too deep": (GOOD[:-1] + ', "x": ' + "[" * 3000 + "]" * 3000 + "}").encode(),
        "never closed": GOOD[:-1].encode(),
        "half a pair": GOOD.replace("user53", "user\\ud83d").encode(),
        "other half of a pair": GOOD.replace("user53", "user\\udc00").encode(),
        "pair the wrong way round": GOOD.replace("user53", "\\udc00\\ud83d").encode(),
        "half a pair in a field of no interest": (GOOD[:-1] + ', "x": "\\ud83d"}').encode(),
        "a name of 60,000 letters": (GOOD[:-1] + f', "{"x" * 60_000}": 1}}').encode(),
        "text": b'"text"',
        "null": b"null",
        "number": b"17",
    }
    not_utf8 = {
        "UTF-16": GOOD.encode("utf-16"),
        "UTF-32": GOOD.encode("utf-32"),
        "Latin-1": GOOD.replace("user53", "usér53").encode("latin-1"),
        "surrogate in UTF-8": GOOD.encode().replace(b"user53", b"\xed\xa0\x80"),
        "overlong": GOOD.encode().replace(b"user53", b"\xc0\xaf"),
    }
    documents = {
        "as it should be": GOOD.encode(),
        "newline before": f"  \n{GOOD}".encode(),
        "all white space": f"\t\r\n {GOOD} \n\r\t".encode(),
        "line breaks inside": json.dumps(FIELDS, indent=2).encode(),
        "letters outside ASCII": text(user_id="Jürgen").encode(),
        "letters outside ASCII, unescaped": json.dumps({**FIELDS, "user_id": "Jürgen"}, ensure_ascii=False).encode(),
        "a pair in two escapes": text(user_id="\U0001f5e1").encode(),
        "escaped backslash before what looks like half a pair": text(user_id="\\ud83d").encode(),
        "brackets in a text": text(user_id="[{" * 60 + "}").encode(),
        "name with an escape": GOOD.replace('"item"', '"\\u0069tem"').encode(),
    }
    known_to_landings = {
        "unknown field": (GOOD[:-1] + ', "x": {"y": [1, null, true]}}').encode(),
        "as deep as may be": (GOOD[:-1] + ', "x": ' + "[" * (NESTED + 1) + "]" * (NESTED + 1) + "}").encode(),
        "number of 1,000 digits": (GOOD[:-1] + f', "x": {"9" * 1000}}}').encode(),
        "a number beyond all": (GOOD[:-1] + ', "x": 1e999}').encode(),
        "id that is no UUID": text(event_id="a").encode(),
    }
    return [
        *(Odd(name, value, "not_json", None) for name, value in no_json.items()),
        *(Odd(name, value, "not_utf8", None) for name, value in not_utf8.items()),
        *(Odd(name, value, None, is_taken=True) for name, value in documents.items()),
        *(Odd(name, value, None) for name, value in known_to_landings.items()),
        # a request may contain several events, a record only one
        Odd("an array of one", f"[{GOOD}]".encode(), "not_json", None, is_taken=True),
        Odd("no value", None, "null_value", None),
    ]


def _fields() -> list[Odd]:
    no_text = {"object": {"a": 1}, "array": ["user53"], "true": True, "number": 5, "fraction": 5.5}
    ids = {"nil": "00000000-0000-0000-0000-000000000000", "max": "ffffffff-ffff-ffff-ffff-ffffffffffff"}
    forms = {**ids, "nil without dashes": "0" * 32, "max in capitals": ids["max"].upper()}
    odd = [
        *(Odd(f"event_id {name}", text(event_id=one).encode(), "no_event_id") for name, one in forms.items()),
        *(Odd(f"event_id {name}", text(event_id=one).encode(), "no_event_id") for name, one in no_text.items()),
        *(Odd(f"event_type {name}", text(event_type=one).encode(), "unknown_type") for name, one in no_text.items()),
        *(
            Odd(f"{field} {name}", text(**{field: one}).encode(), "bad_text")
            for field in ("user_id", "host", "item")
            for name, one in no_text.items()
        ),
        Odd("user_id empty", text(user_id="").encode(), "no_user"),
        Odd("item empty", text(item="").encode(), "bad_text"),
        Odd("item null", text(item=None).encode(), "no_item"),
        Odd("guild of a purchase", text(guild="wolves").encode(), "no_item"),
        *(
            Odd(f"schema_version {by}", message("schema_version", by=by), "other_schema")
            for by in ('"9"', '"1"', "2.5", "1.0", "1e0", str(2**40), str(2**70), "2", "0", "-1", "true", "null", "[1]")
        ),
        Odd("schema_version 1", message("schema_version", by="1"), None, is_taken=True),
        Odd("host empty, user given", text(host="").encode(), None, is_taken=True),
    ]
    return odd


def _times() -> list[Odd]:
    taken = {
        "2026-05-03T12:00:00Z": DAY,
        "2026-05-03 12:00:00Z": DAY,
        "2026-05-03T23:59:59.999999Z": DAY,
        "2026-05-03T12:00:00.123456789Z": DAY,
        "2026-05-04T01:30:00+02:00": DAY,
        "2026-05-03T23:30:00-00:30": date(2026, 5, 4),
        "2026-05-03T12:00:00+18:00": date(2026, 5, 2),
        "2024-02-29T12:00:00Z": date(2024, 2, 29),
        "1970-01-01T00:00:00Z": date(1970, 1, 1),
    }
    landed = {  # without the parts that the intake requires
        "2026-05-03T12:00:00": DAY,
        "2026-05-03": DAY,
    }
    none = (
        *("2026-05-03T12:00:00,5Z", "2026-05-03T12:00:00.Z", "2026-05-03T12:00:00.1234567890Z"),
        *("2026-05-03T12:00:00+19:00", "2026-05-03T12:00:00+18:01", "2026-05-03T12:00:00-19:00"),
        *(
            "2026-05-03T12:00:00+05:75",
            "2026-05-03T12:00:00+05",
            "2026-05-03T12:00:00+0500",
            "2026-05-03T12:00:00+5:00",
        ),
        *(
            "2026-05-03T12:00:00 Z",
            " 2026-05-03T12:00:00Z",
            "2026-05-03T12:00:00Z\n",
            "2026-05-03T12:00:00 Europe/Paris",
        ),
        *(
            "2026-05-03T24:00:00Z",
            "2026-05-03T23:59:60Z",
            "2026-05-03T12:60:00Z",
            "2026-05-03T1:00:00Z",
            "2026-05-03T12Z",
            "2026-05-03T12:00Z",
        ),
        *("2026-5-3", "2026-05", "2026", "20260503T120000Z", "2026-W18-7", "2026-123", "T12:00:00Z", "+2026-05-03"),
        *("2026-02-30T12:00:00Z", "2026-13-01T12:00:00Z", "0000-01-01T00:00:00Z\x00", "٢٠٢٦-05-03T12:00:00Z"),
        *("12026-05-03T12:00:00Z", "soon", "", "1777777777", "epoch", "now"),
    )
    return [
        *(Odd(f"at {at}", text(occurred_at=at).encode(), None, day, is_taken=True) for at, day in taken.items()),
        *(Odd(f"at {at}", text(occurred_at=at).encode(), None, day) for at, day in landed.items()),
        *(Odd(f"at {at!r}", text(occurred_at=at).encode(), "no_time", None) for at in none),
        *(
            Odd(f"at {at!r}", text(occurred_at=at).encode(), "no_time", None)
            for at in (5, 1777777777, 5.5, True, {"a": 1}, ["2026-05-03T12:00:00Z"])
        ),
        Odd("no time", text(occurred_at=...).encode(), "no_time", None, is_taken=True),
        Odd("too early", text(occurred_at="1969-12-31T23:59:59Z").encode(), "too_old", None),
        Odd("too late", text(occurred_at="2026-05-04T01:00:02Z").encode(), "in_future", None),
        Odd("just in time", text(occurred_at="2026-05-04T01:00:01Z").encode(), None, date(2026, 5, 4), is_taken=True),
        Odd("a year that is none", text(occurred_at="0000-01-01T00:00:00Z").encode(), "too_old", None),
        Odd("far too late", text(occurred_at="9999-12-31T23:59:59Z").encode(), "in_future", None),
        Odd("before the first year", text(occurred_at="0001-01-01T00:00:00+09:00").encode(), "too_old", None),
    ]


def plainly(**changes: Any) -> str:
    """A record exactly as the intake writes it, with some fields changed."""
    record = {
        **{name: FIELDS.get(name) for name, _ in RECORD_FIELDS},
        **{"occurred_at": "2026-05-03T18:21:07.250000Z", "received_at": "2026-05-03T18:21:08.000000Z"},
        **{"user_agent": "game/1.0", "schema_version": 1},
        **changes,
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _plain() -> list[Odd]:
    """Records that are exactly, or almost, as the intake writes them; no client may send one."""
    good = plainly()
    in_another_order = json.dumps(dict(reversed(json.loads(good).items())), separators=(",", ":"))
    odd: dict[str, tuple[str, str | None, date | None]] = {
        "as it should be": (good, None, DAY),
        "filled in": (plainly(filled=["user_id", "host"]), None, DAY),
        "another order": (in_another_order, None, DAY),
        "line behind": (good + "\n", None, DAY),
        "older, without a field": (good.replace('"guild":null,', ""), None, DAY),
        "newer, with a field": (good[:-1] + ',"level":7}', None, DAY),
        "letters outside ASCII": (plainly(user_id="Jürgen \U0001f5e1"), None, DAY),
        "no agent": (plainly(user_agent=None), None, DAY),
        "two": (good + good, "not_json", None),
        "two lines": (good + "\n" + good, "not_json", None),
        "brace behind": (good + "}", "not_json", None),
        "BOM": ("\ufeff" + good, "not_json", None),
        "name twice": (good[:-1] + ',"user_id":"user54"}', "not_json", None),
        "line in a text": (good.replace("user53", "user\n53"), "not_json", None),
        "an escape that is none": (good.replace("user53", "\\x"), "not_json", None),
        "nil": (plainly(event_id=str(UUID(int=0))), "no_event_id", DAY),
        "no id": (plainly(event_id=None), "no_event_id", DAY),
        "other type": (plainly(event_type="dance"), "unknown_type", DAY),
        "no type": (plainly(event_type=None), "unknown_type", DAY),
        "version 2": (plainly(schema_version=2), "other_schema", DAY),
        "version 0": (plainly(schema_version=0), "other_schema", DAY),
        "version null": (plainly(schema_version=None), "other_schema", DAY),
        "version 2**40": (plainly(schema_version=2**40), "other_schema", DAY),
        "no user": (plainly(user_id=None), "no_user", DAY),
        "empty user": (plainly(user_id=""), "no_user", DAY),
        "no item": (plainly(item=None), "no_item", DAY),
        "empty item": (plainly(item=""), "bad_text", DAY),
        "DEL in a text": (plainly(user_id="user\x7f"), "bad_text", DAY),
        "no such day": (plainly(occurred_at="2026-02-30T12:00:00.000000Z"), "no_time", None),
        "no such time": (plainly(occurred_at="2026-05-03T24:00:00.000000Z"), "no_time", None),
        "no time": (plainly(occurred_at=None), "no_time", None),
        "too early": (plainly(occurred_at="1969-12-31T23:59:59.999999Z"), "too_old", None),
        "too late": (plainly(occurred_at="2026-05-04T01:00:01.000001Z"), "in_future", None),
    }
    return [
        *(Odd(f"record {name}", value.encode(), reason, day) for name, (value, reason, day) in odd.items()),
        Odd("record in Latin-1", plainly(user_id="usér").encode("latin-1"), "not_utf8", None),
    ]


ODD_DOCUMENTS = [*_documents(), *_fields(), *_times(), *_plain()]
"""Every odd value."""
