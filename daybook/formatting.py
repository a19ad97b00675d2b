"""Values as text: JSON, CSV, tables for people, and the text of players on its way to a terminal."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def json_value(value: Any) -> Any:
    """A cell as a JSON type: missing values as None, NumPy numbers as Python's, moments in ISO 8601, UTC with ``Z``.

    >>> json_value(float("nan")) is None, json_value(date(2026, 5, 3))
    (True, '2026-05-03')
    """
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def json_tree(value: Any) -> Any:
    """Dataclasses, dictionaries and lists, however deep, as JSON types.

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


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON objects."""
    return [{str(name): json_value(cell) for name, cell in row.items()} for row in frame.to_dict("records")]


_FORMULA = re.compile(r"(^|;)([=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""What makes a spreadsheet take a text for a formula, at the beginning of a cell.

Where a comma stands before decimals a spreadsheet begins a new cell at each semicolon.
"""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, for_spreadsheets: bool = False) -> str:
    r"""Rows as comma-separated values, a header first, null as an empty field.

    Names of items, guilds and hosts come from the internet, and a file is opened with a spreadsheet.

    Args:
        columns: in their order.
        rows: with JSON types.
        for_spreadsheets: lines end as RFC 4180 says, and a text that would be run as a formula gets an apostrophe
            before it; numbers are left alone. Otherwise every text is as it is, and a line ends with a newline alone.

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
    """A cell for people: thousands apart, no decimals that say nothing, a dash for nothing.

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
    # of thousands nobody reads the fractions, of a share of 0.5 not the noughts
    text = f"{cell:,.0f}" if abs(cell) >= 1000 and not exact else f"{cell:.4f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, format marks (directions, joiners, tags), halves of a pair, ends of lines and paragraphs beside LF."""


def json_escape(letter: str) -> str:
    """A character as JSON escapes it, by its UTF-16 units."""
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


class _Escapes(dict[int, str]):
    """For :meth:`str.translate`: fills itself with each character that is met."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        is_command = letter not in "\n\t" and unicodedata.category(letter) in _CATEGORIES
        self[code] = json_escape(letter) if is_command else letter
        return self[code]


_ESCAPES = _Escapes()


def escaped(text: str) -> str:
    r"""The text with an escape for whatever is no letter, sign, space, tab or end of a line; markup stays markup.

    >>> escaped("\x1b[2J \u202egnp.exe \U000e0041")
    '\\u001b[2J \\u202egnp.exe \\udb40\\udc41'
    """
    return text if text.isprintable() else text.translate(_ESCAPES)


def in_one_line(text: str) -> str:
    r"""The same for a cell of a table, in which a tab or an end of a line could draw a row that is not there.

    >>> in_one_line("knife\nsword")
    'knife\\u000asword'
    """
    return escaped(text).replace("\n", "\\u000a").replace("\t", "\\u0009")


def printable(text: str) -> str:
    """The text with a dot for each sign that cannot be seen: controls, changes of direction, halves of a pair."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)
