"""Hostile requests as bytes on the wire: the same for the same seed.

Each case has its expected result. A family is a function that yields cases; :func:`corpus` collects them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from random import Random
from typing import Any

from game_api.validation import MAX_BODY_BYTES, MAX_EVENTS_PER_REQUEST
from tests.faults.clients import INVALID, event, new_id

MARKUP = "<script>alert(1)</script>"
JSON = "application/json"
NDJSON = "application/x-ndjson"


class Fate(Enum):
    """The expected result of a case."""

    TAKEN = auto()
    """It only looks hostile: answered with 2xx, and exactly its ids are in Kafka."""
    REFUSED = auto()
    """Every answer is a 4xx, and there is at least one."""
    CUT = auto()
    """Not HTTP, or incomplete: a 4xx, or the connection is closed without an answer."""
    EITHER = auto()
    """Made at random: refused, cut, or still valid. The ids that the answer accepts are in Kafka."""


@dataclass(frozen=True)
class Case:
    """One connection: the bytes that are sent on it, after which the sender is silent."""

    name: str
    wire: bytes
    fate: Fate = Fate.REFUSED
    ids: tuple[str, ...] = ()
    """Ids of the valid events in it."""


def corpus(seed: int) -> list[Case]:
    """Return all cases, in an order drawn from the seed."""
    random = Random(seed)
    families = (
        _wrong_values,
        _wrong_texts,
        _no_json,
        _structures,
        _broken_bytes,
        _sizes,
        _media_types,
        _compressed,
        _lines,
        _lengths,
        _chunks,
        _smuggled,
        _hosts,
        _headers,
        _keys,
        _request_lines,
        _paths,
        _no_http,
        _fuzzed,
    )
    cases = [
        Case(f"{family.__name__.strip('_')}/{case.name}", case.wire, case.fate, case.ids)
        for family in families
        for case in family(random)
    ]
    random.shuffle(cases)
    return cases


def post(
    body: Any,
    *headers: str | bytes,
    content_type: str | None = JSON,
    host: str | bytes = "game.example.com",
    length: int | str | None = -1,
) -> bytes:
    """Return a request to ``/events``.

    Args:
        body: bytes are sent unchanged, anything else as JSON.
        headers: more header lines, without line ends.
        content_type: None to omit the header.
        host: the Host header.
        length: the Content-Length; None to omit it, -1 for the correct value.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [b"POST /events HTTP/1.1", b"Host: " + _bytes(host), *map(_bytes, headers)]
    if content_type is not None:
        lines.append(b"Content-Type: " + content_type.encode())
    if length is not None:
        lines.append(b"Content-Length: " + str(len(raw) if length == -1 else length).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + raw


def get(path: str | bytes, *headers: str | bytes, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """Return a request without a body, such as the 2019 routes take."""
    line = method.encode() + b" " + _bytes(path) + b" " + version.encode()
    return b"\r\n".join([line, *map(_bytes, headers)]) + b"\r\n\r\n"


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _wrong_values(random: Random) -> Iterator[Case]:
    """Every field with values of all wrong types."""
    values: dict[str, Any] = {
        "true": True,
        "zero": 0,
        "minus one": -1,
        "fraction": 1.5,
        "2**63": 2**63,
        "2**64": 2**64,
        "-2**63-1": -(2**63) - 1,
        "10**300": 10**300,
        "array": [],
        "array of text": ["sword"],
        "object": {},
        "object of objects": {"a": {"b": {}}},
        "NUL": "\x00",
        "text and NUL": "sword\x00",
        "escape": "\x1b[2J",
        "surrogate": "\ud800",
        "surrogates the wrong way round": "\udc00\ud800",
        "too long": "a" * 2000,
        "far too long": "a" * 500_000,
        "line": "a\r\nb",
    }
    for field in ("event_id", "event_type", "item", "guild", "user_id", "host", "occurred_at", "schema_version"):
        for name, value in values.items():
            yield Case(f"{field} {name}", post(event(random, **{field: value})))
    for field in ("event_id", "event_type", "item", "schema_version"):
        yield Case(f"{field} null", post(event(random, **{field: None})))
    for field in ("user_id", "host", "occurred_at"):
        good = event(random, **{field: None})
        yield Case(f"{field} null", post(good), Fate.TAKEN, (good["event_id"],))
    for field in ("event_id", "event_type", "item", "user_id", "occurred_at", "schema_version"):
        yield Case(f"{field} empty", post(event(random, **{field: ""})))


def _wrong_texts(random: Random) -> Iterator[Case]:
    """Text of the right type without a meaning, and valid text that only looks bad."""
    texts: dict[str, tuple[str, ...]] = {
        "event_id": (
            *("1", "0b9f1d0e-6d53-4b53-9d0f", "g" * 32, MARKUP, "../../etc/passwd", "'; DROP TABLE events;--"),
            *("0" * 32, "F" * 32, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ),
        "event_type": ("PURCHASE_ITEM", "purchase_item ", "purchase", MARKUP, "__class__", "_Event"),
        "item": ("Sword", "sword ", "spoon", MARKUP, "sword\u200b", "ѕword", "{{7*7}}", "${jndi:ldap://x}"),
        "guild": ("wolves", MARKUP),
        "host": (
            MARKUP,
            "a b",
            "a..b",
            ".a",
            "-a.com",
            "a-.com",
            "a" * 64 + ".com",
            "a." * 127 + "com",
            "[::1",
            "[::1]x",
            "1.2.3.4:999999",
            "a.com:port",
            "user@att.com",
            "a/b",
            "a%00b",
            "a\\b",
            "javascript:alert(1)",
            "\u202e.com",
            "*.att.com",
            "a,b",
        ),
        "occurred_at": (
            "yesterday",
            "2026-05-03",
            "2026-05-03T12:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-05-03T25:00:00Z",
            "2026-05-03T12:00:00+99:00",
            "2026-05-03T12:00:00+19:00",
            "2026-05-03T12:00:00,5Z",
            "2026-05-03T23:59:60Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "1969-12-31T23:59:59Z",
            "-2026-05-03T12:00:00Z",
            "2026-05-03T12:00:00Z\n",
            "2026-05-03T12:00:00Z" + " " * 200_000,
            "٢٠٢٦-05-03T12:00:00Z",
            "1777777777",
            "1e9",
            MARKUP,
        ),
        "schema_version": ("1", MARKUP),
    }
    in_two_hours = datetime.now(UTC) + timedelta(hours=2)
    texts["occurred_at"] = (*texts["occurred_at"], "9999-12-31T00:00:00Z", f"{in_two_hours:%Y-%m-%dT%H:%M:%SZ}")
    for field, wrong in texts.items():
        for number, text in enumerate(wrong):
            yield Case(f"{field} {number}", post(event(random, **{field: text})))
    for name, fields in {
        "markup as a player": {"user_id": MARKUP},
        "SQL as a player": {"user_id": "'; DROP TABLE events;--"},
        "right to left": {"user_id": "\u202eresu"},
        "an emoji in two escapes": {"user_id": "\U0001f5e1"},
        "an address": {"host": "2001:db8::1"},
        "no host": {"host": ""},
        "a bare name": {"host": "localhost"},
        "letters outside ASCII": {"host": "bücher.example"},
    }.items():
        good = event(random, **fields)
        yield Case(name, post(good), Fate.TAKEN, (good["event_id"],))


def _no_json(random: Random) -> Iterator[Case]:
    good = json.dumps(event(random)).encode()
    for name, body in {
        "empty": b"",
        "blank": b" \r\n\t",
        "NaN": b'{"event_type": "join_guild", "schema_version": NaN}',
        "NaN alone": b"NaN",
        "infinity": b'[{"event_type": "join_guild", "schema_version": Infinity}]',
        "minus infinity": b'{"event_type": "join_guild", "schema_version": -Infinity}',
        "1e999": b'{"event_type": "join_guild", "schema_version": 1e999}',
        "a hundred thousand digits": b"9" * 100_000,
        "a hundred thousand digits in a field": b'{"schema_version": ' + b"9" * 100_000 + b"}",
        "long fraction": b'{"schema_version": 1.' + b"0" * 500_000 + b"}",
        "name twice": b'{"event_type": "join_guild", "guild": "a", "guild": "b"}',
        "name twice, escaped": b'{"event_type": "join_guild", "guild": "a", "\\u0067uild": "b"}',
        "id twice": b'{"event_id": "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a01", ' + good[1:],
        "BOM": b"\xef\xbb\xbf" + good,
        "UTF-16": good.decode().encode("utf-16"),
        "UTF-32": good.decode().encode("utf-32"),
        "two values": good + good,
        "a comma too many": good[:-1] + b",}",
        "a comment": b"/* */" + good,
        "single quotes": good.replace(b'"', b"'"),
        "no quotes": b"{event_type: join_guild}",
        "NUL behind it": good + b"\x00",
        "XML": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>",
        "a form": b"event_type=join_guild",
        "pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
        "markup": MARKUP.encode(),
        "bare escape": b'{"event_type": "\\x"}',
        "half an escape": b'{"event_type": "\\u12"}',
        "a line in text": b'{"event_type": "join\nguild"}',
    }.items():
        yield Case(name, post(body))


def _structures(random: Random) -> Iterator[Case]:
    for depth in (50, 500, 5_000, 100_000, 500_000):
        yield Case(f"{depth} arrays", post(b"[" * depth + b"]" * depth))
        yield Case(f"{depth} arrays, never closed", post(b"[" * depth))
    for depth in (50, 500, 5_000, 100_000):
        yield Case(f"{depth} objects", post(b'{"a":' * depth + b"1" + b"}" * depth))
        yield Case(f"{depth} arrays in a field", post(_nested_in_field(random, depth)))
    for name, value in {
        "null": None,
        "true": True,
        "number": 5,
        "text": "event",
        "no events": [],
        "no fields": {},
        "array of null": [None],
        "array of arrays": [[event(random)]],
        "events in a field": {"events": [event(random)]},
        "a thousand that are none": ["x"] * 1000,
        "ten thousand fields": {f"field{number}": number for number in range(10_000)},
    }.items():
        yield Case(name, post(value))
    for name in (
        "__proto__",
        "__class__",
        "constructor",
        "EVENT_ID",
        "event_id ",
        "\ud800",
        "\x00",
        MARKUP,
        "a" * 65536,
    ):
        yield Case(f"field {name[:20]!r}", post(event(random, **{name: 1})))
    for number, change in enumerate(INVALID):
        good = [event(random) for _ in range(3)]
        bad = event(random, **change)
        yield Case(f"one of four {number}", post([*good, bad]), Fate.TAKEN, tuple(one["event_id"] for one in good))


def _nested_in_field(random: Random, depth: int) -> bytes:
    return json.dumps(event(random, item="X")).replace('"X"', "[" * depth + "]" * depth).encode()


def _broken_bytes(random: Random) -> Iterator[Case]:
    """A valid event with an extra byte, or truncated, at random places."""
    for number in range(25):
        good = json.dumps(event(random)).encode()
        yield Case(f"truncated {number}", post(good[: random.randrange(1, len(good))]))
    for number in range(25):
        good = json.dumps(event(random)).encode()
        place = random.randrange(len(good))
        # never whitespace, never a character that is valid there
        byte = bytes([random.choice([*range(0x80, 0x100), 0x00, 0x01, 0x0B, 0x1F])])
        yield Case(f"byte {byte!r} {number}", post(good[:place] + byte + good[place:]))
    for name, text in {"overlong": b"\xc0\xaf", "surrogate": b"\xed\xa0\x80", "too high": b"\xf4\x90\x80\x80"}.items():
        good = json.dumps(event(random, user_id="X")).encode()
        yield Case(f"UTF-8 {name}", post(good.replace(b"X", text)))


def _sizes(random: Random) -> Iterator[Case]:
    many = [event(random) for _ in range(MAX_EVENTS_PER_REQUEST + 1)]
    yield Case("one event too many", post(many))
    yield Case("a hundred thousand nothings", post(b"[" + b"0," * 100_000 + b"0]"))
    good = json.dumps(event(random)).encode()
    yield Case("one byte too many", post(good + b" " * (MAX_BODY_BYTES + 1 - len(good))))
    yield Case("two megabytes", post(b" " * 2 * MAX_BODY_BYTES))
    full = event(random)
    padded = json.dumps(full).encode()
    padded += b" " * (MAX_BODY_BYTES - len(padded))
    yield Case("exactly as many bytes as are taken", post(padded), Fate.TAKEN, (full["event_id"],))


def _media_types(random: Random) -> Iterator[Case]:
    for name, content_type in {
        "none": None,
        "empty": "",
        "text": "text/plain",
        "form": "application/x-www-form-urlencoded",
        "multipart": "multipart/form-data; boundary=" + "x" * 5000,
        "XML": "application/xml",
        "UTF-16": "application/json; charset=utf-16",
        "charset that Python has and nobody means": "application/json; charset=unicode_escape",
        "markup": MARKUP,
        "two": "application/json, text/html",
        "wildcard": "*/*",
        "no slash": "json",
        "long": "application/" + "x" * 7000,
    }.items():
        yield Case(name, post(event(random), content_type=content_type))
    # not a parameter by the grammar, so it has no meaning
    for name, content_type in {
        "charset of markup": f"application/json; charset={MARKUP}",
        "half a charset": 'application/json; charset="',
    }.items():
        good = event(random)
        yield Case(name, post(good, content_type=content_type), Fate.EITHER, (good["event_id"],))
    for encoding in ("br", "deflate", "zstd", "compress", "gzip, gzip", "gzip, br", "x", MARKUP, "a" * 5000):
        yield Case(f"encoding {encoding[:20]}", post(event(random), f"Content-Encoding: {encoding}"))
    yield Case("encoding twice", post(event(random), "Content-Encoding: gzip", "Content-Encoding: br"))


def _compressed(random: Random) -> Iterator[Case]:
    def packed(body: bytes, content_type: str = JSON) -> bytes:
        return post(body, "Content-Encoding: gzip", content_type=content_type)

    good = event(random)
    whole = gzip.compress(json.dumps(good).encode(), mtime=0)
    yield Case("good", packed(whole), Fate.TAKEN, (good["event_id"],))
    parted = event(random)
    text = json.dumps(parted).encode()
    members = gzip.compress(text[:40], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(text[40:], mtime=0)
    yield Case("in members", packed(members), Fate.TAKEN, (parted["event_id"],))
    bad = gzip.compress(json.dumps(event(random)).encode(), mtime=0)
    for name, body in {
        "nothing": b"",
        "nothing, packed": gzip.compress(b"", mtime=0),
        "not packed": json.dumps(event(random)).encode(),
        "markup": MARKUP.encode(),
        "magic number only": b"\x1f\x8b",
        "wrong checksum": bad[:-8] + b"\x00\x00\x00\x00" + bad[-4:],
        "wrong size": bad[:-4] + b"\xff\xff\xff\xff",
        "without its end": bad[:-8],
        "garbage behind it": bad + b"garbage",
        "packed twice": gzip.compress(bad, mtime=0),
        "unknown method": bad[:2] + b"\x07" + bad[3:],
        "unknown flags": bad[:3] + b"\xff" + bad[4:],
        "10 MB of zeros": gzip.compress(bytes(10_000_000), mtime=0),
        "10 MB of spaces": gzip.compress(b" " * 10_000_000, mtime=0),
        "100 MB of arrays": gzip.compress(b"[" * 100_000_000, mtime=0),
        "a bomb behind an event": gzip.compress(json.dumps(event(random)).encode() + b" " * 50_000_000, mtime=0),
        "a thousand empty members and one": gzip.compress(b"", mtime=0) * 1001,
        "a bomb as a second member": bad + gzip.compress(b" " * 50_000_000, mtime=0),
        "one byte too many": gzip.compress(json.dumps(event(random)).encode().ljust(MAX_BODY_BYTES + 1), mtime=0),
    }.items():
        yield Case(name, packed(body))
    for number in range(10):
        yield Case(f"truncated {number}", packed(bad[: random.randrange(1, len(bad))]))
    yield Case("not declared", post(bad))


def _lines(random: Random) -> Iterator[Case]:
    """NDJSON: one event per line."""

    def lines(values: Iterable[Any]) -> bytes:
        return b"".join(json.dumps(value).encode() + b"\n" for value in values)

    good = [event(random) for _ in range(5)]
    yield Case("good", post(lines(good), content_type=NDJSON), Fate.TAKEN, tuple(one["event_id"] for one in good))
    packed = event(random)
    wire = post(gzip.compress(lines([packed]), mtime=0), "Content-Encoding: gzip", content_type=NDJSON)
    yield Case("good and packed", wire, Fate.TAKEN, (packed["event_id"],))
    for name, body in {
        "nothing": b"",
        "line ends only": b"\n\r\n\n",
        "no object": lines(["x", 5, None]),
        "arrays": lines([[event(random)], [event(random)]]),
        "broken lines": b"{\n[\n}\n",
        "NaN": b'{"event_type": "join_guild", "schema_version": NaN}\n',
        "a name twice": b'{"event_type": "join_guild", "guild": "a", "guild": "b"}\n',
        "deep": b"[" * 200_000 + b"\n",
        "no UTF-8": b"\xff\n",
        "NUL": b"\x00\n",
        "a line too many": lines(event(random) for _ in range(MAX_EVENTS_PER_REQUEST + 1)),
        "a million empty lines": b"\n" * 1_000_000,
        "markup": MARKUP.encode() + b"\n",
        "a bomb": b"0\n" * 500_000,
    }.items():
        yield Case(name, post(body, content_type=NDJSON))


def _lengths(random: Random) -> Iterator[Case]:
    """A wrong Content-Length; if it promises more than is sent, the request is incomplete."""
    for more in (1, 10, 100_000):
        good = json.dumps(event(random)).encode()
        yield Case(f"{more} more than there is", post(good, length=len(good) + more), Fate.CUT)
    for less in (1, 10, 60):
        good = json.dumps(event(random)).encode()
        yield Case(f"{less} less than there is", post(good, length=len(good) - less))
    for length in ("-1", "+10", "1e3", "0x10", "10,10", "10 10", "1_0", "٥", "", " ", MARKUP, "9" * 30, "9" * 5000):
        yield Case(f"of {length[:20]!r}", post(event(random), length=length), Fate.CUT)
    raw = json.dumps(event(random)).encode()
    yield Case("two that differ", post(raw, "Content-Length: 0"))
    yield Case("over the limit and nothing sent", post(b"", length=MAX_BODY_BYTES + 1), Fate.CUT)
    yield Case("none", post(event(random), length=None))


def _chunks(random: Random) -> Iterator[Case]:
    def chunked(body: bytes, *headers: str) -> bytes:
        return post(body, "Transfer-Encoding: chunked", *headers, length=None)

    def chunk(data: bytes) -> bytes:
        return b"%x\r\n" % len(data) + data + b"\r\n"

    good = event(random)
    raw = json.dumps(good).encode()
    yield Case(
        "a byte at a time",
        chunked(b"".join(chunk(raw[at : at + 1]) for at in range(len(raw))) + b"0\r\n\r\n"),
        Fate.TAKEN,
        (good["event_id"],),
    )
    raw = json.dumps(event(random)).encode()
    for size in ("zz", "-1", "0x10", "+5", "", " 5", "1_0", "٥", MARKUP, "f" * 16, "f" * 5000, "5;" + "x" * 100_000):
        yield Case(f"size {size[:20]!r}", chunked(size.encode() + b"\r\n" + raw + b"\r\n0\r\n\r\n"), Fate.CUT)
    yield Case("without an end", chunked(chunk(raw)), Fate.CUT)
    yield Case("without a line end", chunked(b"%x\r\n" % len(raw) + raw + b"0\r\n\r\n"), Fate.CUT)
    yield Case("cut in the middle", chunked(chunk(raw)[: len(raw) // 2]), Fate.CUT)
    yield Case("larger than it says", chunked(b"5\r\n" + raw + b"\r\n0\r\n\r\n"), Fate.CUT)
    yield Case("over the limit", chunked(chunk(b" " * 65_536) * 17 + b"0\r\n\r\n"))
    yield Case("nothing", chunked(b"0\r\n\r\n"))
    yield Case("line feeds only", chunked(b"%x\n" % len(raw) + raw + b"\n0\n\n"), Fate.CUT)


def _smuggled(random: Random) -> Iterator[Case]:
    """Two parsers may disagree where such a request ends; the event after that place must never be accepted."""
    for number, headers in enumerate(
        (
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 5"),
            ("Content-Length: 5", "Transfer-Encoding: xchunked"),
            ("Content-Length: 5", "Transfer-Encoding: chunked, identity"),
            ("Content-Length: 5", "Transfer-Encoding: identity, chunked"),
            ("Content-Length: 5", "Transfer-Encoding : chunked"),
            ("Content-Length: 5", "Transfer-Encoding:\x0bchunked"),
            ("Content-Length: 5", "Transfer-Encoding: chunked\x00"),
            ("Content-Length: 5", "X: y\nTransfer-Encoding: chunked"),
            ("Content-Length: 5", " Transfer-Encoding: chunked"),
            ("Content-Length: 5", "Transfer-Encoding: cow", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", "Content-Length: 5"),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: 6", "Content-Length : 5"),
            ("Content-Length: 5,6",),
            ("Transfer-Encoding: gzip, chunked",),
            ("Transfer-Encoding: gzip",),
            ("Transfer-Encoding: deflate",),
            ("Transfer-Encoding: chunked, chunked",),
            ("Transfer-Encoding: ",),
            ("Transfer-Encoding: " + MARKUP,),
            ("Transfer_Encoding: chunked", "Content-Length: 0"),
        )
    ):
        # the hidden event follows "5 bytes" and "0 chunk" alike; its own request is complete except for the key
        hidden = post(event(random, item="spoon"), "Connection: close")
        yield Case(str(number), post(b"0\r\n\r\n" + hidden, *headers, length=None))


HOSTS: tuple[str | bytes, ...] = (
    MARKUP,
    "<script>",
    "a b",
    "a\tb",
    "a..b",
    "-a",
    "a.com:port",
    "user@att.com",
    "a/b",
    "a?b",
    "a#b",
    "a\\b",
    'a"b',
    "a'b",
    "a;b",
    "a,b",
    "{a}",
    "[::1",
    "[x]",
    "http://att.com/",
    "%61.com",
    "a" * 300,
    "a." * 600,
    b"\xff\xfe",
    b"\xc0\xaf",
    b"a\x0bb",
    b"a\x7fb",
    b"a\x01b",
    b"a\x00b",
    b"\xe2\x80\xae.com",
    "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 300,
    "".join(chr(0x4E00 + number) for number in range(1000)),
    "ü" * 60 + ".de",
    ".ü.de",
    "\N{SNOWMAN}.net",
)


def _hosts(random: Random) -> Iterator[Case]:
    for number, host in enumerate(HOSTS):
        nameless = event(random)
        del nameless["host"]
        yield Case(f"{number} to /events", post(nameless, host=host))
        yield Case(f"{number} to /purchase", get("/purchase/sword", b"Host: " + _bytes(host)))
    for kilobytes in (4, 7, 16, 64):
        yield Case(f"{kilobytes} KiB", get("/join_a_guild", "Host: " + "a" * 1024 * kilobytes))
        yield Case(f"{kilobytes} KiB of labels", get("/join_a_guild", "Host: " + "a." * 512 * kilobytes))
    for number, pair in enumerate((("a.com", "b.com"), ("a.com", "a.com"), ("a.com", MARKUP), ("", "a.com"))):
        two = [f"Host: {host}" for host in pair]
        yield Case(f"two {number} to /purchase", get("/purchase/sword", *two))
        yield Case(f"two {number} to /join_a_guild", get("/join_a_guild", *two, version="HTTP/1.0"))
        yield Case(f"two {number} to /events", post(event(random), two[1], host=pair[0]))
    for name, headers in {
        "in capitals": ("HOST: user1.att.com",),
        "with a port": ("Host: user1.att.com:80",),
        "an address": ("Host: [::1]:80",),
        "said by a proxy that is not there": ("Host: user1.att.com", f"X-Forwarded-Host: {MARKUP}"),
        "agent of markup": ("Host: user1.att.com", f"User-Agent: {MARKUP}", f"Referer: {MARKUP}"),
    }.items():
        event_id = new_id(random)
        wire = get("/purchase/sword", *headers, f"Idempotency-Key: {event_id}")
        yield Case(name, wire, Fate.TAKEN, (event_id,))


def _headers(random: Random) -> Iterator[Case]:
    for name, lines in {
        "without a colon": ("X-Header",),
        "empty name": (": x",),
        "space in the name": ("X Header: x",),
        "space before the colon": ("X-Header : x",),
        "folded": ("X-Header: a\r\n b",),
        "folded with a tab": ("X-Header: a\r\n\tb",),
        "space at the start": (" X-Header: x",),
        "NUL in the name": ("X-He\x00ader: x",),
        "NUL in the value": ("X-Header: \x00",),
        "escape in the name": ("X-\x1b: x",),
        "markup in the name": (f"{MARKUP}: x",),
        "bare carriage return": ("X-Header: a\rb",),
        "letters outside ASCII in the name": ("X-Ü: x",),
        "two hundred": tuple(f"X-Header-{number}: x" for number in range(200)),
        "ten thousand": tuple(f"X{number}: x" for number in range(10_000)),
        "64 KiB": ("X-Header: " + "a" * 65_536,),
        "a megabyte": ("X-Header: " + "a" * 1_000_000,),
        "expecting the impossible": ("Expect: the impossible",),
        "upgrade": ("Connection: Upgrade", "Upgrade: websocket"),
    }.items():
        yield Case(name, post(event(random), *lines))
    for name, lines in {
        "a page of another site": ("Sec-Fetch-Site: cross-site",),
        "a page of another port": ("Sec-Fetch-Site: same-site", "Origin: http://localhost:3000"),
        "a page of another origin": ("Origin: https://evil.example",),
        "a page of no origin": ("Origin: null",),
        "a page with a name that was rebound": ("Origin: http://game.example.com",),
        "a page's image": ("Referer: https://evil.example/",),
    }.items():
        yield Case(name, post(event(random), *lines))
        yield Case(f"{name} buys", get("/purchase/sword", "Host: game.example.com", *lines))
    for name, lines in {
        "path of a proxy": ("Script-Name: /x",),
        "scheme of a proxy": ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
        "another method": ("X-HTTP-Method-Override: DELETE",),
        "another path": ("X-Original-URL: /admin", "X-Rewrite-URL: /admin"),
        "cookies": ("Cookie: " + "a=b; " * 1000,),
        "any charset": ("Accept: " + MARKUP, "Accept-Language: " + MARKUP),
        "a range": ("Range: bytes=0-0,0-0,0-0",),
    }.items():
        good = event(random)
        yield Case(name, post(good, *lines), Fate.TAKEN, (good["event_id"],))


def _keys(random: Random) -> Iterator[Case]:
    """An Idempotency-Key that is not the event's id is refused."""
    keys: tuple[str | bytes, ...] = (
        "",
        " ",
        "1",
        '""',
        '"',
        "not-a-uuid",
        MARKUP,
        "0" * 31,
        "g" * 32,
        "a" * 5000,
        "{}",
        b"\xff",
        b"\x80" * 32,
        "%00",
    )
    for number, key in enumerate(keys):
        nameless = event(random)
        del nameless["event_id"]
        yield Case(f"{number} to /events", post(nameless, b"Idempotency-Key: " + _bytes(key)))
        headers = ("Host: user1.att.com", b"Idempotency-Key: " + _bytes(key))
        yield Case(f"{number} to /purchase", get("/purchase/sword", *headers))
    yield Case("of another event", post(event(random), f"Idempotency-Key: {new_id(random)}"))
    yield Case("of two events", post([event(random), event(random)], f"Idempotency-Key: {new_id(random)}"))
    two = (f"Idempotency-Key: {new_id(random)}", f"Idempotency-Key: {new_id(random)}")
    yield Case("two", post({"event_type": "join_guild"}, *two))
    yield Case("two to /purchase", get("/purchase/sword", "Host: user1.att.com", *two))


def _request_lines(random: Random) -> Iterator[Case]:
    host = "Host: user1.att.com"
    for method in (
        "get",
        "PoST",
        "G<T",
        MARKUP,
        "A" * 30,
        "A" * 10_000,
        "",
        "DELETE",
        "PATCH",
        "TRACE",
        "CONNECT",
        "PRI",
    ):
        yield Case(f"method {method[:20]!r}", get("/join_a_guild", host, method=method))
    for number in range(10):
        method = "".join(random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=random.randint(3, 12)))
        yield Case(f"method {number}", get("/join_a_guild", host, method=f"X{method}"))
    for path in ("/purchase/sword", "/join_a_guild", "/events"):
        for method in ("HEAD", "PUT", "DELETE", "PATCH"):
            yield Case(f"{method} {path}", get(path, host, method=method))
    yield Case("GET /events", get("/events", host))
    for version in (
        "HTTP/0.9",
        "HTTP/2.0",
        "HTTP/3",
        "HTTP/9.9",
        "HTTP/1.1x",
        "HTTP/1.1\x00",
        "http/1.1",
        "HTTQ/1.1",
        "",
        "SIP/2.0",
    ):
        yield Case(f"version {version!r}", get("/join_a_guild", host, version=version))
    event_id = new_id(random)
    wire = get("http://user1.att.com/purchase/sword", "Host: user2.cox.com", f"Idempotency-Key: {event_id}")
    yield Case("absolute", wire, Fate.TAKEN, (event_id,))
    for target in ("http://a..b/join_a_guild", f"http://{MARKUP}/join_a_guild", "http://a b/join_a_guild"):
        yield Case(f"absolute {target}", get(target, host))
    yield Case("two spaces", b"GET  /join_a_guild HTTP/1.1\r\nHost: a\r\n\r\n")
    yield Case("tabs", b"GET\t/join_a_guild\tHTTP/1.1\r\nHost: a\r\n\r\n")
    yield Case("four words", b"GET /join_a_guild x HTTP/1.1\r\nHost: a\r\n\r\n")
    yield Case("one word", b"GET\r\n\r\n")
    for kilobytes in (5, 64, 1024):
        yield Case(f"{kilobytes} KiB of query", get("/join_a_guild?" + "a" * 1024 * kilobytes, host))
        yield Case(f"{kilobytes} KiB of path", get("/" + "a" * 1024 * kilobytes, host))


def _paths(random: Random) -> Iterator[Case]:
    host = "Host: user1.att.com"
    paths: tuple[str | bytes, ...] = (
        "/purchase/",
        "/purchase/spoon",
        "/purchase/SWORD",
        "/purchase/sword/",
        "/purchase/sword/shield",
        "/purchase/%",
        "/purchase/%zz",
        "/purchase/%00",
        "/purchase/%ff",
        "/purchase/%c0%af",
        "/purchase/sword%00",
        "/purchase/sword%20",
        "/purchase/sword%0d%0aSet-Cookie:%20x=y",
        "/purchase/..%2f..%2fetc%2fpasswd",
        "/purchase/../../etc/passwd",
        "/purchase/%252e%252e",
        "/purchase/" + MARKUP,
        "/purchase/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/purchase/" + "a" * 3000,
        "/purchase/" + "%61" * 1000,
        b"/purchase/\xff",
        b"/purchase/\xc3\xbc",
        b"/purchase/\x01",
        "/purchase/{{7*7}}",
        "/join_a_guild/",
        "/join_a_guild/wolves",
        "/JOIN_A_GUILD",
        "/" + MARKUP,
        "/nowhere",
        "/.git/config",
        "/.env",
        "/events/../events/1",
        "/purchase//sword",
        "//evil.example/%2f..",
        "/health",
        "/health/live/x",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/\\evil.example",
        "x",
        "*",
        "?",
    )
    for number, path in enumerate(paths):
        yield Case(f"{number}", get(path, host))
    # gunicorn treats two leading slashes as one
    good = event(random)
    yield Case("POST //events", post(good).replace(b"/events", b"//events", 1), Fate.TAKEN, (good["event_id"],))
    for path in ("/events//", "/events/", "/Events", "/events/1", "/events%00", "/events;x"):
        wire = post(event(random)).replace(b"/events", path.encode(), 1)
        yield Case(f"POST {path}", wire)
    for path in (f"/purchase/sword?{MARKUP}", "/purchase/%73word", "//join_a_guild", "/join_a_guild?" + "a=b&" * 500):
        event_id = new_id(random)
        yield Case(f"{path[:30]}", get(path, host, f"Idempotency-Key: {event_id}"), Fate.TAKEN, (event_id,))


def _no_http(random: Random) -> Iterator[Case]:
    for name, wire in {
        "nothing": b"",
        "line ends": b"\r\n" * 20,
        "line feeds": b"\n" * 10_000,
        "NULs": bytes(10_000),
        "HTTP/0.9": b"GET /join_a_guild\r\n",
        "HTTP/0.9 of markup": f"GET /{MARKUP}\r\n".encode(),
        "half a request line": b"GET /join_a_g",
        "half a head": b"GET /join_a_guild HTTP/1.1\r\nHost: user1.att",
        "a head without its end": b"GET /join_a_guild HTTP/1.1\r\nHost: user1.att.com\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500),
        "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        "Kafka": b"\x00\x00\x00\x14\x00\x12\x00\x03\x00\x00\x00\x01\x00\x04test\x00\x00\x00\x00",
        "Redis": b"*1\r\n$4\r\nPING\r\n",
        "SMTP": b"EHLO evil.example\r\n",
        "a PROXY line": b"PROXY TCP4 1.2.3.4 127.0.0.1 1 2\r\nGET /join_a_guild HTTP/1.1\r\nHost: a\r\n\r\n",
        "an endless word": b"A" * 1_000_000,
        "markup": MARKUP.encode() + b"\r\n\r\n",
    }.items():
        yield Case(name, wire, Fate.CUT)
    for number in range(20):
        yield Case(f"noise {number}", random.randbytes(random.randint(1, 5000)), Fate.CUT)


def _fuzzed(random: Random) -> Iterator[Case]:
    """A valid request with a few of its bytes changed, doubled or removed."""
    for number in range(120):
        wire = bytearray(post(event(random), "User-Agent: game/1.0"))
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(wire))
            change = random.randrange(3)
            if change == 0:
                wire[at] = random.randrange(256)
            elif change == 1:
                wire.insert(at, random.randrange(256))
            else:
                del wire[at]
        yield Case(str(number), bytes(wire), Fate.EITHER)
