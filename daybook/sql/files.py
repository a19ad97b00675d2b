"""Parses Daybook's ``.sql`` files: a header of ``-- Name: value`` lines, then one statement.

A value can continue on lines that are indented after the two dashes.
"""

from __future__ import annotations

import re
from pathlib import Path

from daybook.errors import DaybookError
from daybook.settings import REPOSITORY

_HEADER_LINE = re.compile(r"-- (?P<name>[A-Z][a-z]+):(?P<value>.*)")
_NEXT_LINE = re.compile(r"--  (?P<value> .+)")
_PARAMETER = re.compile(r"(?<![:\w]):(?P<name>[a-z_]+)\b")
_COMMENT = re.compile(r"--.*")


def read_sql(path: Path, required: tuple[str, ...], example: str) -> tuple[dict[str, str], str]:
    """Return the header's lines by name, and the statement with its header.

    Args:
        path: the file.
        required: names of the header's lines that must be present.
        example: name of an example file, for the error message.

    Raises:
        DaybookError: the header lacks a line; the text names file and line.
    """
    text = path.read_text(encoding="utf-8")
    header = header_of(text)
    missing = [name for name in required if not header.get(name)]
    if missing:
        raise DaybookError(
            f"{path.name} lacks the header line{'s' if len(missing) > 1 else ''} "
            f"{', '.join(f'-- {name}:' for name in missing)}; see {example} for an example"
        )
    return header, text


def header_of(text: str) -> dict[str, str]:
    r"""Return the header's lines by name, each with its continuation lines.

    >>> header_of("-- Grain: one row\n--   per day\n-- Order: day\nSELECT 1 -- Not: this")
    {'Grain': 'one row\n per day', 'Order': 'day'}
    """
    header: dict[str, str] = {}
    name = None
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if begins := _HEADER_LINE.fullmatch(line):
            name = begins["name"]
            header[name] = begins["value"].strip()
        elif name and (goes_on := _NEXT_LINE.fullmatch(line)):
            header[name] = f"{header[name]}\n{goes_on['value'].rstrip()}".lstrip("\n")
    return header


def statement_of(text: str) -> str:
    r"""Return the statement without its header.

    >>> statement_of("-- Grain: one row\nSELECT 1\n")
    'SELECT 1'
    """
    lines = text.splitlines()
    begins = next((at for at, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "\n".join(lines[begins:]).strip()


def parameters(statement: str) -> set[str]:
    r"""Return the names of the parameters that a statement binds.

    >>> sorted(parameters("SELECT 1 -- not :this\nWHERE a BETWEEN :first_day AND :last_day AND b::int = 1"))
    ['first_day', 'last_day']
    """
    return {match["name"] for match in _PARAMETER.finditer(_COMMENT.sub("", statement))}


SQL_DIR = REPOSITORY / "spark" / "sql"
