"""The event contract: the only definition of an event.

The intake validates events with it, and the generator builds them with it. Spark reads records with the schema derived
from it (:data:`RECORD_FIELDS`), and the docs are generated from it. To add an event type, add a class here, name it in
:data:`AnyEvent`, and add an example. To add an optional field, add the field and its lines in :data:`RECORD_FIELDS` and
:data:`NULLABLE_FIELDS`. ``docs/operations.md`` has the order in which the parts are then upgraded.

A client sends a :data:`ClientEvent`. The intake completes it with :func:`complete`; Kafka and the lake hold the result:
every field present, nulls included, times in UTC with microseconds.
"""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args
from uuid import UUID, uuid4

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
)

from daybook import idn
from daybook.documents import document

SCHEMA_VERSION: Literal[1] = 1
"""Written into every event; increased when an older reader would misread a record.

A new optional field or a new type is not such a change: an older landing stores the bytes, ignores the fields that it
does not know, and lands an event's other fields."""

MAX_HOST_CHARACTERS = idn.MAX_NAME_CHARACTERS
MAX_RAW_HOST_CHARACTERS = 1024
"""Limit for a host as it was sent, before it is cleaned: with port, brackets and letters outside ASCII."""
MAX_NAME_CHARACTERS = 128
MAX_USER_AGENT_CHARACTERS = 256

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""Earliest time of an event. It keeps other engines' different calendars out of the lake's oldest partitions."""

EMPTY_IDS = (str(UUID(int=0)), str(UUID(int=2**128 - 1)))
"""The nil and the max UUID, which identify no event."""

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_SECONDS = r":[0-5][0-9](?:\.[0-9]{1,9})?"
_ZONE = "(?:Z|[+-](?:(?:0[0-9]|1[0-7]):[0-5][0-9]|18:00))"
LANDED_MOMENT = f"{_DAY}(?:[T ]{_TIME}{_SECONDS}{_ZONE}?)?"
"""Pattern, for Python and Java, of the times that a landing accepts: RFC 3339, also without a zone (then it is UTC) or
without a time of day. An offset is at most 18 hours, which is Java's limit."""
_LANDED_MOMENT = re.compile(LANDED_MOMENT)
_MOMENT = re.compile(f"{_DAY}[T ]{_TIME}{_SECONDS}{_ZONE}?")  # the type asks for the zone

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_IPV6 = re.compile(r"[0-9a-f:]*:[0-9a-f:.]*")


A_MOMENT = "send RFC 3339 text with a time zone, such as 2026-05-03T12:00:00Z or 2026-05-03T14:00:00.25+02:00"
"""Advice for a client whose time is invalid. No engine after the intake accepts a leap second (``:60``)."""


def _utc(moment: datetime) -> datetime:
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:  # 0001-01-01 in Tokyo is no date in UTC
        raise ValueError("is outside the supported range of times") from None
    if in_utc < FIRST_MOMENT:
        raise ValueError(f"is before {FIRST_MOMENT.year}")
    return in_utc


def _clean_text(text: str) -> str:
    """Reject characters that cannot be stored or shown: control characters (above all NUL) and lone surrogates."""
    for character in text:
        category = unicodedata.category(character)
        if category in {"Cc", "Cs"}:
            raise ValueError(f"contains the character U+{ord(character):04X}, which is not allowed")
    return text


def clean_host(raw: str) -> str:
    """Return a normalized host name: lower case, ASCII (IDN as ``xn--``, by UTS 46), no port, no trailing dot.

    IP addresses are unchanged, but IPv6 loses its brackets. An empty string stays empty: the host is missing.

    Raises:
        ValueError: the text is not a host name (spaces, markup, an empty label, over 253 characters).

    >>> clean_host("User53.ATT.com:5000")
    'user53.att.com'
    >>> clean_host("[2001:db8::1]:80")
    '2001:db8::1'
    >>> clean_host("<script>")
    Traceback (most recent call last):
    ...
    ValueError: is not a host name
    """
    if len(raw) > MAX_RAW_HOST_CHARACTERS:
        raise ValueError(f"is longer than {MAX_RAW_HOST_CHARACTERS} characters")
    host = raw
    if host.startswith("["):
        address, bracket, port = host[1:].partition("]")
        if not bracket or not re.fullmatch(r"(?::\d{1,5})?", port) or not _is_ip_address(address):
            raise ValueError("is not a host name")
        host = address
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if not re.fullmatch(r"\d{0,5}", port):
            raise ValueError("has a port that is not a number")
    host = host.removesuffix(".")
    if not host:
        return ""
    host = idn.ascii_name(host).removesuffix(".")  # an ideographic full stop has become one
    if not _HOST.fullmatch(host) and not (_IPV6.fullmatch(host) and _is_ip_address(host)):
        raise ValueError("is not a host name")
    return host


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)  # every event of a request has the same
def clean_user_agent(raw: str | None) -> str | None:
    r"""Return a normalized User-Agent: one line, without characters that cannot be stored, truncated to a limit.

    It is arbitrary text and not part of the event, so it is repaired where other fields would be rejected.

    >>> clean_user_agent("ApacheBench/2.3\x00\r\n")
    'ApacheBench/2.3'
    """
    if raw is None:
        return None
    kept = "".join(c for c in raw[: 4 * MAX_USER_AGENT_CHARACTERS] if unicodedata.category(c) not in {"Cc", "Cs"})
    return kept.strip()[:MAX_USER_AGENT_CHARACTERS] or None


def _moment_text(value: Any) -> Any:
    """Require RFC 3339 text: a bare number could be seconds or milliseconds, so it is rejected."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _MOMENT.fullmatch(value.upper()):
        raise ValueError(f"is not a time; {A_MOMENT}")
    return value


def _no_empty_id(event_id: UUID) -> UUID:
    """Reject the nil and max UUID: a client that never sets the id would send many events, and only one would count."""
    if str(event_id) in EMPTY_IDS:
        raise ValueError("is the nil or the max UUID, which identifies no event")
    return event_id


# the patterns approximate the validators in the exported schema; the validators decide and report the error
Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_CHARACTERS, strict=True),
    AfterValidator(_clean_text),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_NAME_CHARACTERS,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$",
        }
    ),
]
Host = Annotated[
    str,
    Field(max_length=MAX_RAW_HOST_CHARACTERS, strict=True),
    AfterValidator(clean_host),
    WithJsonSchema({"type": "string", "maxLength": MAX_RAW_HOST_CHARACTERS, "format": "host-or-address"}),
]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment_text),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": r"^(19[7-9]\d|[2-9]\d{3})-"}),
]


def _whole_number(value: Any) -> Any:
    """Require an integer: JSON's ``true`` and ``1.0`` are not the integer 1, although they are equal in Python."""
    if type(value) is not int:
        raise ValueError("is not a whole number")
    return value


class _Event(BaseModel):
    """The fields that every event has, as a client may send them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Annotated[UUID, AfterValidator(_no_empty_id)] = Field(
        default_factory=uuid4,
        description="the key for de-duplication: a retry has the same id. Generated by the intake if absent",
        json_schema_extra={"not": {"enum": list(EMPTY_IDS)}},
    )
    user_id: Name | None = Field(
        default=None, description="the user; if absent, the first label of the host", examples=["user53"]
    )
    host: Host | None = Field(
        default=None,
        description="the client's host name or address, IDN and port allowed; if absent, the request's Host header",
        examples=["user53.att.com"],
    )
    occurred_at: Moment | None = Field(
        default=None,
        description="when it happened, RFC 3339 with a time zone; decides the event's day. Absent: the time of receipt",
        examples=["2026-05-03T18:21:07.25Z"],
    )
    schema_version: Annotated[Literal[1], BeforeValidator(_whole_number)] = Field(
        default=SCHEMA_VERSION, description="version of this contract"
    )


class PurchaseItem(_Event):
    """A player bought an item."""

    event_type: Literal["purchase_item"]
    item: Name = Field(description="the item that was bought, from the catalogue", examples=["sword"])
    guild: None = Field(default=None, description="null for this type")


class JoinGuild(_Event):
    """A player joined a guild."""

    event_type: Literal["join_guild"]
    item: None = Field(default=None, description="null for this type")
    guild: Name | None = Field(default=None, description="the guild's name, if the game sends it", examples=["wolves"])


AnyEvent = PurchaseItem | JoinGuild
"""Every type of event."""

ClientEvent = Annotated[AnyEvent, Field(discriminator="event_type")]
"""Any event a client may send."""

client_event: TypeAdapter[AnyEvent] = TypeAdapter(ClientEvent)
"""Validates one decoded JSON object; raises :class:`pydantic.ValidationError` that names each wrong field."""

_TYPES: dict[str, type[_Event]] = {
    get_args(one.model_fields["event_type"].annotation)[0]: one for one in get_args(AnyEvent)
}

EVENT_TYPES: tuple[str, ...] = tuple(_TYPES)

FIELDS: tuple[str, ...] = tuple(dict.fromkeys(name for one in _TYPES.values() for name in one.model_fields))
"""The fields that a client may send."""

OWN_FIELDS: tuple[str, ...] = tuple(name for name in FIELDS if name not in {*_Event.model_fields, "event_type"})
"""Those of them that only some types require or allow."""

REQUIRED: dict[str, frozenset[str]] = {
    kind: frozenset(name for name in OWN_FIELDS if name in one.model_fields and one.model_fields[name].is_required())
    for kind, one in _TYPES.items()
}
"""Event type -> the fields of :data:`OWN_FIELDS` that it requires."""

ABSENT: dict[str, frozenset[str]] = {
    kind: frozenset(
        name for name in OWN_FIELDS if name not in one.model_fields or one.model_fields[name].annotation is type(None)
    )
    for kind, one in _TYPES.items()
}
"""Event type -> the fields of other types that it does not have: they are null."""

EXAMPLES: dict[str, dict[str, Any]] = {
    "purchase_item": {
        "event_id": "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a01",
        "event_type": "purchase_item",
        "item": "sword",
        "user_id": "user53",
        "host": "user53.att.com",
        "occurred_at": "2026-05-03T18:21:07.25Z",
    },
    "join_guild": {
        "event_id": "0b9f1d0e-6d53-4b53-9d0f-3f1f6d1c2a02",
        "event_type": "join_guild",
        "guild": "wolves",
        "user_id": "user7",
        "host": "user7.comcast.net",
        "occurred_at": "2026-05-03T23:59:59.999Z",
    },
}
"""One event of each type, as a client would send it."""


def event_schema(items: Sequence[str], ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an event as a client sends it.

    Args:
        items: the catalogue of items that can be bought.
        ref_template: how a definition is referred to.
    """
    schema = client_event.json_schema(ref_template=ref_template)
    for kind in schema["$defs"].values():
        if kind["properties"].get("item", {}).get("type") == "string":
            kind["properties"]["item"]["enum"] = list(items)
    return schema


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a record's value in Kafka, derived from :data:`RECORD_FIELDS`."""
    kinds: dict[str, dict[str, Any]] = {
        "string": {"type": "string"},
        "int": {"type": "integer"},
        "timestamp": {"type": "string", "format": "date-time", "description": "UTC, with microseconds and Z"},
    }
    properties = {
        name: {**kinds[kind], "type": [kinds[kind]["type"], "null"]} if name in NULLABLE_FIELDS else kinds[kind]
        for name, kind in RECORD_FIELDS
    }
    properties[FILLED] = {
        "type": "array",
        "items": {"enum": list(FILLED_IN)},
        "description": "the fields that the intake took from the request; absent if the client sent them all",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Record",
        "description": "The value of a record in Kafka: every field of the event is present, nulls included.",
        "type": "object",
        "properties": properties,
        "required": [name for name, _ in RECORD_FIELDS],
        "additionalProperties": False,
    }


RECORD_FIELDS: tuple[tuple[str, str], ...] = (
    ("event_id", "string"),
    ("event_type", "string"),
    ("item", "string"),
    ("guild", "string"),
    ("user_id", "string"),
    ("host", "string"),
    ("occurred_at", "timestamp"),
    ("received_at", "timestamp"),
    ("user_agent", "string"),
    ("schema_version", "int"),
)
"""The fields of a record in Kafka, in order, with their Spark SQL types. All times are UTC."""

NULLABLE_FIELDS = frozenset({"item", "guild", "user_agent"})
"""Those of them that can be null."""

FILLED = "filled"
"""A record's list of the fields below that the client did not send; absent if it sent them all.

It is not a field of the event. A record without it, from an older intake or another producer, counts as complete."""
FILLED_IN = ("user_id", "host", "occurred_at")
"""The fields that the intake takes from the request if the client does not send them."""
NO_PART_OF_BODY = frozenset({"event_id", "occurred_at", "schema_version"})
"""The :data:`FIELDS` in which a retry may differ. If the client sends no time, each attempt gets a new one."""


def moment_text(moment: datetime) -> str:
    """Return RFC 3339 in UTC with microseconds and ``Z``: it sorts as text, and every engine reads it the same way.

    >>> moment_text(datetime(2026, 5, 3, 18, 21, 7, 250000, tzinfo=UTC))
    '2026-05-03T18:21:07.250000Z'
    """
    # not strftime: its %Y drops the leading zeros of early years on Linux
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def event_date(value: bytes | None, taken_at: datetime, future_tolerance_minutes: int) -> date | None:
    """Return the UTC day on which a record happened; None if it has no time, or an impossible one.

    It applies the same rule as ``daybook_spark.events.to_raw``, which assigns the day at landing, for readers without
    Spark: a time of the form :data:`LANDED_MOMENT` in a record that is one JSON document.

    Args:
        value: the record's value.
        taken_at: the record's own time, with a time zone.
        future_tolerance_minutes: how far ahead of it a client's clock may be.

    >>> event_date(b'{"occurred_at": "2026-05-03T23:30:00-01:00"}', datetime(2026, 5, 4, 1, tzinfo=UTC), 60)
    datetime.date(2026, 5, 4)
    """
    occurred_at = (document(value) or {}).get("occurred_at")
    if not isinstance(occurred_at, str) or not _LANDED_MOMENT.fullmatch(occurred_at):
        return None
    try:
        moment = datetime.fromisoformat(occurred_at)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # 30 February, out of range
        return None
    latest = taken_at + timedelta(minutes=future_tolerance_minutes)
    return moment.date() if FIRST_MOMENT <= moment <= latest else None


def _player_of(host: str) -> str:
    return host if _is_ip_address(host) else host.partition(".")[0]


def complete(event: AnyEvent, *, received_at: datetime, request_host: str, user_agent: str | None) -> dict[str, Any]:
    """Return the record of an accepted event: every field of :data:`RECORD_FIELDS` with its default, :data:`FILLED`.

    Args:
        event: a validated client event.
        received_at: when the intake got it, with a time zone.
        request_host: the request's Host header, already through :func:`clean_host`; used if the event names no host.
        user_agent: the request's raw User-Agent, or None; stored as :func:`clean_user_agent` returns it.

    Returns:
        A dictionary of JSON types. ``user_id`` falls back to the first label of the host (to the whole host if it
        is an IP address, which has no labels), and to ``unknown`` when there is no host either.
    """
    host = event.host if event.host is not None else request_host
    filled_in = {
        "event_id": str(event.event_id),
        "user_id": event.user_id or _player_of(host) or "unknown",
        "host": host,
        "occurred_at": moment_text(event.occurred_at or received_at),
        "received_at": moment_text(received_at),
        "user_agent": clean_user_agent(user_agent),
    }
    record = {
        name: filled_in[name] if name in filled_in else getattr(event, name, None)  # null: not of this type
        for name, _ in RECORD_FIELDS
    }
    not_sent = [name for name in FILLED_IN if getattr(event, name) is None]
    return {**record, FILLED: not_sent} if not_sent else record


def encode(record: dict[str, Any]) -> bytes:
    """Return the bytes of a record's value in Kafka: compact JSON in UTF-8."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def event_label(event_type: str, item: str | None) -> str:
    """Return a kind of event in words, as every answer, plot and alarm names it; the item is not changed.

    >>> event_label("purchase_item", "sword"), event_label("join_guild", None)
    ('purchase sword', 'join guild')
    """
    words = event_type.replace("_", " ")
    return words if item is None else f"{words.removesuffix(' item')} {item}"
