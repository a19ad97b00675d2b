"""Parses bytes into events, or into reasons why they are not events. Uses the contract but not Flask.

Invalid input raises one of the two errors below, never another exception.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from daybook.contract import A_MOMENT, EVENT_TYPES, FIELDS, AnyEvent, clean_host, client_event, moment_text
from daybook.documents import NotJson, decoded
from game_api.responses import FieldError

MAX_BODY_BYTES = 1024 * 1024
MAX_EVENTS_PER_REQUEST = 1000
MAX_ERRORS_PER_EVENT = 20
MAX_ERROR_CHARACTERS = 200

NO_FIELD = "is not a field of an event"
THE_FIELDS = f"; the fields are {', '.join(FIELDS)}"
"""Added once per event: a request can have thousands of wrong fields."""
NOT_AS_THE_CONTRACT_SAYS = "does not match the contract"
"""Message for a pydantic error that has no text of ours; a test checks that there is no such error."""
WORDS = {
    "missing": "is required",
    "union_tag_not_found": "is required",
    "union_tag_invalid": f"is not one of {', '.join(EVENT_TYPES)}",
    "extra_forbidden": "is not a field of this event type; leave it out",
    "none_required": "is not a field of this event type; leave it out or send null",
    "literal_error": "is not {expected}",
    "string_type": "is not text",
    "string_unicode": "contains half of a surrogate pair, which is not a character",
    "string_too_short": "is empty; leave it out, or send at least {min_length} character",
    "string_too_long": "is longer than {max_length} characters",
    "uuid_type": "is not a UUID: 8-4-4-4-12 hexadecimal digits, as text",
    "uuid_parsing": "is not a UUID: 8-4-4-4-12 hexadecimal digits, as text",
    "timezone_aware": f"has no time zone; {A_MOMENT}",
    "datetime_parsing": f"is not a time; {A_MOMENT}",
    "datetime_from_date_parsing": f"is not a time; {A_MOMENT}",
    "datetime_object_invalid": f"is not a time; {A_MOMENT}",
}
"""Type of a pydantic error -> message for the developer."""


class BadBody(Exception):
    """The body as a whole cannot be parsed; none of its events was checked."""

    def __init__(self, detail: str, *, field: str = "body", status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.status = status


class Refused(Exception):
    """One value is not an event: holds the reasons, and the event's id if it can be read."""

    def __init__(self, errors: list[FieldError], event_id: str | None = None) -> None:
        super().__init__(errors)
        self.errors = errors
        self.event_id = event_id


def unpack(raw: bytes) -> bytes:
    """Unpack a gzip body of one or several consecutive members (RFC 1952).

    It never holds more than :data:`MAX_BODY_BYTES`, and reads no more members than the maximum number of events.

    Raises:
        BadBody: it does not consist of complete gzip members, or it exceeds these limits.
    """
    body, rest, members = b"", raw, 0
    while rest or not members:
        members += 1
        if members > MAX_EVENTS_PER_REQUEST:
            raise BadBody(f"is gzip of more than {MAX_EVENTS_PER_REQUEST} members; send fewer at once", status=413)
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            body += member.decompress(rest, MAX_BODY_BYTES + 1 - len(body))
        except zlib.error:
            raise BadBody(
                "is gzip, but the body is not" if members == 1 else "is gzip, but the body continues after its end",
                field="Content-Encoding",
            ) from None
        if len(body) > MAX_BODY_BYTES:
            raise BadBody(f"unpacks to more than {MAX_BODY_BYTES} bytes; send fewer events at once", status=413)
        if not member.eof:
            raise BadBody("is gzip, but the body ends early", field="Content-Encoding")
        rest = member.unused_data
    return body


def is_packed(content_encoding: str) -> bool:
    """Whether a body is gzip, by its Content-Encoding (RFC 9110, 8.4): empty is ``identity``, ``x-gzip`` is ``gzip``.

    Raises:
        BadBody: it has another encoding, or is packed twice.

    >>> is_packed("identity, X-GZIP"), is_packed("")
    (True, False)
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    applied = [coding.removeprefix("x-") for coding in codings if coding not in {"", "identity"}]
    if applied not in ([], ["gzip"]):
        raise BadBody("must be gzip or absent", field="Content-Encoding", status=415)
    return bool(applied)


def parse_lines(raw: bytes) -> list[Any]:
    """Return the JSON values of a body with one object per line; blank lines are ignored.

    A line that cannot be parsed becomes a :class:`Refused` of its own and does not affect the others.

    Raises:
        BadBody: there is no event, or more than :data:`MAX_EVENTS_PER_REQUEST`.
    """
    lines = [line for line in raw.split(b"\n") if line.strip()]
    _check_number(len(lines))
    return [_line_value(line) for line in lines]


def _line_value(line: bytes) -> Any:
    try:
        return _decoded(line)
    except BadBody as bad:
        field = "event" if bad.field == "body" else bad.field
        return Refused([FieldError(field=field, message=bad.detail)])


def parse_body(raw: bytes) -> list[Any]:
    """Return the JSON values of a body: the elements of its array, or its single object.

    Args:
        raw: the body, at most :data:`MAX_BODY_BYTES`.

    Raises:
        BadBody: it is not JSON in UTF-8; it has NaN, an infinity or a name twice in one object; or it has no events
            or more than :data:`MAX_EVENTS_PER_REQUEST`.
    """
    value = _decoded(raw)
    events = value if isinstance(value, list) else [value]
    _check_number(len(events))
    return events


def _check_number(events: int) -> None:
    if not events:
        raise BadBody("contains no event; send at least one")
    if events > MAX_EVENTS_PER_REQUEST:
        raise BadBody(f"contains {events} events; send at most {MAX_EVENTS_PER_REQUEST}", status=413)


def _decoded(raw: bytes) -> Any:
    try:
        return decoded(raw)
    except NotJson as error:
        raise BadBody(error.detail, field="body" if error.field is None else _shown(error.field)) from None


def check_host(raw: str) -> None:
    """Check that the host of a request is valid, whether or not an event needs it.

    Raises:
        BadBody: it is neither a host name, nor an address, nor empty.
    """
    try:
        clean_host(raw)
    except ValueError as error:
        raise BadBody(str(error), field="Host") from None


def check_event(value: Any, *, items: Collection[str], latest: datetime) -> AnyEvent:
    """Validate a client's event against the contract and return it.

    Args:
        value: one decoded JSON value.
        items: the catalogue of items that can be bought.
        latest: the latest allowed ``occurred_at``.

    Raises:
        Refused: the value is not an event; the error lists each wrong field.
    """
    if not isinstance(value, dict):
        raise Refused([FieldError(field="event", message="is not a JSON object")])
    # check only the fields of an event: a body can have 100,000 others
    known = {name: value[name] for name in FIELDS if name in value}
    unknown = islice((name for name in value if name not in known), MAX_ERRORS_PER_EVENT)
    errors = [FieldError(field=_shown(name), message=NO_FIELD) for name in unknown]
    if errors:
        errors[0]["message"] += THE_FIELDS
    try:
        event = client_event.validate_python(known)
    except ValidationError as error:
        wrong = [_field_error(detail) for detail in error.errors(include_url=False, include_input=False)]
        raise Refused([*wrong, *errors][:MAX_ERRORS_PER_EVENT], _readable_id(value)) from None
    if event.item is not None and event.item not in items:
        errors.append(FieldError(field="item", message=f"is not in the catalogue: {', '.join(items)}"))
    if event.occurred_at is not None and event.occurred_at > latest:
        errors.append(FieldError(field="occurred_at", message=f"is in the future: after {moment_text(latest)}"))
    if errors:
        raise Refused(errors, str(event.event_id) if "event_id" in value else None)
    return event


def check_key(raw: str) -> str:
    """Return an Idempotency-Key as an event id.

    Raises:
        BadBody: it is not a UUID, as event ids must be.
    """
    try:
        return str(UUID(raw.strip().strip('"')))
    except ValueError:
        raise BadBody("is not a UUID", field="Idempotency-Key") from None


def _field_error(detail: ErrorDetails) -> FieldError:
    """Rewrite a pydantic error in our words: only the field's name, without the union's names or the input."""
    # a union's errors are about the tag itself, or start with the chosen tag's name
    path = detail["loc"][1:] if detail["loc"] else ("event_type",)
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        message = str(context["error"])
    else:
        message = WORDS.get(detail["type"], NOT_AS_THE_CONTRACT_SAYS).format(**context)
    return FieldError(field=_shown(".".join(map(str, path))), message=_shown(message, MAX_ERROR_CHARACTERS))


def _readable_id(value: dict[str, Any]) -> str | None:
    try:
        return str(UUID(value["event_id"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _shown(text: str, limit: int = 64) -> str:
    """Make a client's text safe for a response: escape what is not valid Unicode, and limit the length."""
    kept = text if len(text) <= limit else text[: limit - 1] + "…"
    return kept.encode("utf-8", "backslashreplace").decode("utf-8")
