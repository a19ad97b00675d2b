"""How a ``.sql`` file of Daybook looks: a header of ``-- Name: value`` lines, then one statement."""

from __future__ import annotations

import re
from pathlib import Path

from daybook.errors import DaybookError

_HEADER_LINE = re.compile(r"--\s*(?P<name>[A-Z][a-z]+):\s*(?P<value>.+)")
_PARAMETER = re.compile(r"(?<![:\w]):(?P<name>[a-z_]+)\b")
_COMMENT = re.compile(r"--.*")


def read_sql(path: Path, required: tuple[str, ...], example: str) -> tuple[dict[str, str], str]:
    """The header's lines by name, and the statement with its header.

    Args:
        path: the file.
        required: names of the header's lines that must be there.
        example: name of a file that shows how one looks, for the error.

    Raises:
        DaybookError: the header lacks a line; the text names file and line.
    """
    text = path.read_text(encoding="utf-8")
    header = {match["name"]: match["value"].strip() for match in _HEADER_LINE.finditer(text)}
    missing = [name for name in required if name not in header]
    if missing:
        raise DaybookError(
            f"{path.name} lacks the header line{'s' if len(missing) > 1 else ''} "
            f"{', '.join(f'-- {name}:' for name in missing)}; see {example} for how one looks"
        )
    return header, text


def parameters(statement: str) -> set[str]:
    r"""Names of the parameters that a statement binds.

    >>> sorted(parameters("SELECT 1 -- not :this\nWHERE a BETWEEN :first_day AND :last_day AND b::int = 1"))
    ['first_day', 'last_day']
    """
    return {match["name"] for match in _PARAMETER.finditer(_COMMENT.sub("", statement))}
