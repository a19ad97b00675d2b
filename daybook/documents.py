"""The JSON rules of every reader in Daybook: one value in UTF-8 and nothing else.

The intake, ``daybook.contract.event_date`` and the commands use :func:`decoded` and :func:`document`; Spark applies the
same rules (:mod:`daybook_spark.documents`). ``tests/odd_documents.py`` checks all of them with one table. Python's own
parser is more lenient: it accepts NaN and duplicate names, and guesses UTF-16.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 100
"""Maximum nesting of arrays and objects. An event is flat; both engines have their own limit near 1,000."""
MAX_NUMBER_CHARACTERS = 1_000
"""Maximum length of a number; Java's parser has the same limit."""
MAX_FIELD_NAME_CHARACTERS = 50_000
"""Maximum length of a field name; Java's parser has the same limit."""


class NotJson(ValueError):
    """The bytes are not one JSON value: has the reason, and the name of the field that caused it, if there is one."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


def decoded(raw: bytes) -> Any:
    """Decode the bytes as a single JSON value.

    Raises:
        NotJson: the bytes are not UTF-8 (or begin with a byte order mark), not JSON, more than one value, or nested
            deeper than :data:`MAX_DEPTH`; or they hold NaN, an infinity, a number that is too long, or a name twice in
            one object.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_int=_integer,
            parse_float=_fraction,
        )
    except UnicodeDecodeError as error:
        raise NotJson(f"is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJson("is nested too deeply; an event is a flat object") from None
    if _is_deep(value):
        raise NotJson("is nested too deeply; an event is a flat object")
    return value


def document(value: bytes | None) -> dict[str, Any] | None:
    r"""Return the JSON object in a record's value, or None if the value is not exactly one object.

    Text with a lone surrogate (``"\ud800"``) is not valid UTF-8, so such a value gives None too.

    >>> document(b' {"item": "sword"} ')
    {'item': 'sword'}
    >>> document(b'{"item": "sword"}{"item": "knife"}')
    """
    try:
        found = decoded(value or b"")
        json.dumps(found, ensure_ascii=False).encode()
    except ValueError:  # NotJson, or a lone surrogate
        return None
    return found if isinstance(found, dict) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise NotJson("is there twice in one object", field=name)
            seen.add(name)
    if any(len(name) > MAX_FIELD_NAME_CHARACTERS for name in fields):
        raise NotJson("has a field with a name that is too long")
    return fields


def _no_number(name: str) -> NoReturn:
    raise NotJson(f"holds {name}, which is not JSON")


def _integer(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _fraction(digits: str) -> float:
    _check_length(digits)
    return float(digits)


def _check_length(digits: str) -> None:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise NotJson("holds a number that is too long")


def _is_deep(value: Any) -> bool:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        level = [child for one in level for child in _children(one)]
    return False


def _children(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
