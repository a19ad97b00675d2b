"""Writes the results of verbs: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from daybook.cli.terminal import rich_console
from daybook.formatting import in_one_line, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_STATE_STYLES = {"healthy": "green", "starting": "yellow", "late": "red", "backoff": "red", "fatal": "red"}
"""How a terminal shows the state of a part of the stack."""


def print_json(value: Any) -> None:
    """Print a value of JSON types, indented; other types as their text."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    numbers: Collection[str] = (),
    spare: Sequence[str] = (),
    *,
    exact: bool = False,
) -> None:
    """Print rows as a table: on a terminal at most as wide as it is, elsewhere at its own width.

    No cell is cut off. On a terminal that is too narrow, spare columns are left out and listed in the title. If that is
    not enough, long cells are wrapped inside their columns. A table with too many columns for that is printed as
    blocks, with a line for each cell.

    Args:
        title: printed above.
        rows: all with the same names.
        numbers: columns of text that are right-aligned, like numbers.
        spare: columns to leave out on a narrow terminal, the first one first.
        exact: numbers have no separators, for rows with years, ids or offsets among them.
    """
    from rich.text import Text

    console = rich_console()
    names = list(rows[0]) if rows else ["no rows"]
    to_right = {name for name in names if name in numbers or _is_number(row[name] for row in rows)}
    cells = [{name: in_one_line(shown(row[name], exact=exact)) for name in names} for row in rows]
    table = _table(names, cells, to_right, wrap=False)
    left_out: list[str] = []
    if console.is_terminal:
        while _width(console, table) > console.width and (spare := [name for name in spare if name in names]):
            left_out.append(spare[0])
            names.remove(spare[0])
            table = _table(names, cells, to_right, wrap=False)
    missing = f" (not shown, the terminal is too narrow: {', '.join(left_out)})" if left_out else ""
    # a table's own title would be broken at the table's width
    console.print(Text(in_one_line(title + missing), style="italic"), soft_wrap=True)
    wide = _width(console, table)
    if not console.is_terminal:
        console.width = max(console.width, wide)
    elif wide > console.width and rows:
        if _least_width(names, cells, to_right) > console.width:
            _print_blocks(console, names, cells)
            return
        table = _table(names, cells, to_right, wrap=True)
    console.print(table)


def _table(names: Sequence[str], rows: Sequence[Mapping[str, str]], to_right: Collection[str], *, wrap: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in names:
        is_right = name in to_right
        # Text, not str: a player's "[red]" is no markup, nor as a column of a pivot
        table.add_column(
            Text(in_one_line(name)),
            justify="right" if is_right else "left",
            no_wrap=not wrap or is_right,
            overflow="fold",
            # a short name is not broken to make room for a long text next to it
            min_width=max((min(20, len(word)) for row in rows for word in row[name].split()), default=1),
        )
    for row in rows:
        styles = {"state": _STATE_STYLES.get(row.get("state", ""), "")}
        table.add_row(*(Text(row[name], style=styles.get(name, "")) for name in names))
    return table


def _width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _least_width(names: Sequence[str], rows: Sequence[Mapping[str, str]], to_right: Collection[str]) -> int:
    """How wide a table has to be for its words and numbers to stay whole; a word of more than 20 letters may break."""

    def longest(name: str) -> int:
        texts = [name, *(row[name] for row in rows)]
        words = [min(20, len(word)) for text in texts for word in text.split()]
        return max((len(text) for text in texts) if name in to_right else words, default=0)

    return sum(3 + longest(name) for name in names)


def _print_blocks(console: Console, names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    from rich.text import Text

    width = max(len(in_one_line(name)) for name in names)
    for row in rows:
        console.print()
        for name in names:
            console.print(Text(f"{in_one_line(name):<{width}}  {row[name]}"))
    console.print()


def _is_number(cells: Iterable[Any]) -> bool:
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in present)
