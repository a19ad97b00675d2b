"""Formats values as text: JSON, CSV, tables for people, and players' text for a terminal."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import Any


def json_value(value: Any) -> Any:
    """Return a cell as a JSON type: None if missing, Python's numbers for NumPy's, times in ISO 8601, UTC with ``Z``.

    >>> json_value(float("nan")) is None, json_value(date(2026, 5, 3))
    (True, '2026-05-03')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def json_tree(value: Any) -> Any:
    """Convert dataclasses, dictionaries and lists of any depth to JSON types.

    >>> json_tree({"days": (date(2026, 5, 3),)})
    {'days': ['2026-05-03']}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return json_tree(asdict(value))
    if isinstance(value, dict):
        return {name: json_tree(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_tree(one) for one in value]
    return json_value(value)


def json_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as JSON objects (:func:`json_value`)."""
    return [{name: json_value(cell) for name, cell in row.items()} for row in rows]


_FORMULA = re.compile(r"(^|;)([=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""Characters that make a spreadsheet treat text as a formula, at the beginning of a cell.

In locales with a decimal comma a spreadsheet begins a new cell at each semicolon.
"""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, for_spreadsheets: bool = False) -> str:
    r"""Return rows as comma-separated values, with a header first and null as an empty field.

    Names of items, guilds and hosts come from the internet, and people open such files with a spreadsheet.

    Args:
        columns: names of the columns, in order.
        rows: with JSON types.
        for_spreadsheets: use the line ends of RFC 4180, and put an apostrophe before text that would run as a formula;
            numbers are unchanged. Otherwise all text is unchanged, and a line ends with a newline alone.

    >>> csv_text(["item", "events"], [{"item": "=1+1", "events": -1}, {"item": None, "events": 3}])
    'item,events\n=1+1,-1\n,3\n'
    >>> csv_text(["item", "events"], [{"item": "=1+1", "events": -1}], for_spreadsheets=True)
    "item,events\r\n'=1+1,-1\r\n"
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n" if for_spreadsheets else "\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row[column] for column in columns]
        if for_spreadsheets:
            cells = [_FORMULA.sub(r"\1'\2", cell) if isinstance(cell, str) else cell for cell in cells]
        writer.writerow(cells)
    return out.getvalue()


def shown(cell: Any, *, exact: bool = False) -> str:
    """Format a cell for people: thousands separators, no meaningless decimals, a dash for a missing value.

    >>> shown(20000), shown(900.0), shown(0.23456), shown(1234.56), shown(4.125)
    ('20,000', '900', '0.2346', '1,235', '4.125')
    >>> shown(2026, exact=True), shown(1234.5, exact=True)
    ('2026', '1234.5')
    """
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if not isinstance(cell, int | float):
        return str(cell)
    if isinstance(cell, int):
        return str(cell) if exact else f"{cell:,}"
    # drop the fraction of thousands, and the trailing zeros of a share such as 0.5
    text = f"{cell:,.0f}" if abs(cell) >= 1000 and not exact else f"{cell:.4f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, format marks (directions, joiners, tags), lone surrogates, line and paragraph separators besides LF."""


def json_escape(letter: str) -> str:
    """Return the JSON escape of a character, by its UTF-16 units."""
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


class _Escapes(dict[int, str]):
    """Table for :meth:`str.translate` that adds each character when it is first looked up."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        is_command = letter not in "\n\t" and unicodedata.category(letter) in _CATEGORIES
        self[code] = json_escape(letter) if is_command else letter
        return self[code]


_ESCAPES = _Escapes()


def escaped(text: str) -> str:
    r"""Escape every character that is not a letter, sign, space, tab or line feed; markup is unchanged.

    >>> escaped("\x1b[2J \u202egnp.exe \U000e0041")
    '\\u001b[2J \\u202egnp.exe \\udb40\\udc41'
    """
    return text if text.isprintable() else text.translate(_ESCAPES)


def in_one_line(text: str) -> str:
    r"""Escape a text for a table cell, including tabs and line feeds, which could draw a row that does not exist.

    >>> in_one_line("knife\nsword")
    'knife\\u000asword'
    """
    return escaped(text).replace("\n", "\\u000a").replace("\t", "\\u0009")


def printable(text: str) -> str:
    """Replace each invisible character by a dot: controls, changes of direction, lone surrogates."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)
