"""The reading verbs: ``daybook answer`` and ``daybook status``."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from daybook.settings import Settings, settings
from daybook.terminal import in_one_line, rich_console

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

LEDGER_COUNTS: tuple[str, ...] = (
    "sent",
    "refused",
    "accepted",
    "other_days",
    "landed",
    "duplicates",
    "rejected",
    "events",
    "late",
)
"""The counts of a day, in the order in which a record travels. They add up: sent - refused = accepted,
accepted - other_days = landed, landed - duplicates - rejected = events; late is a part of the events."""
_STATE_STYLES = {"healthy": "green", "starting": "yellow", "late": "red", "backoff": "red", "fatal": "red"}
"""How a terminal shows the state of a part of the stack."""
SHOWN_DAYS, SHOWN_NOTICES = 28, 10
"""How many days, and how many rows of each list below them, ``daybook status`` prints without ``--all``."""
SPARE_COLUMNS = ("published_at", "late", "other_days", "refused", "sent", "accepted", "rejected", "duplicates")
"""Columns that ``daybook status`` leaves out on a narrow terminal, the first one first."""


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


def answer_rows(settings: Settings, name: str, day: str) -> list[dict[str, Any]]:
    """A day's rows of an answer, as published, in the answer's order; of an answer across days those up to the day.

    Raises:
        BadInput: no such answer, or the day is not published; names what there is.
    """
    from daybook.across import across_rows
    from daybook.answers import answers
    from daybook.lake import read_answer
    from daybook.lake_names import ACROSS_DAYS

    if across := answers(ACROSS_DAYS).get(name):
        return [{key: json_value(cell) for key, cell in row.items()} for row in across_rows(settings, across, day)]
    return json_rows(read_answer(settings, name, day))


def ledger_rows(settings: Settings) -> list[dict[str, Any]]:
    """Each day's newest revision, by day: ``day``, ``revision``, ``published_at``, the counts, ``balanced``.

    ``sent``, ``refused``, ``accepted`` and ``other_days`` are None for a day of live traffic alone.
    """
    from daybook.lake import latest_pages

    columns = ["day", "revision", "published_at", *LEDGER_COUNTS, "balanced"]
    pages = latest_pages(settings).rename(columns={"event_date": "day"})
    rows = json_rows(pages.reindex(columns=columns))
    return [{**row, "other_days": other_days(row)} for row in rows]


def other_days(row: Mapping[str, Any]) -> int | None:
    """How many of a generated day's accepted records count on other days: the late ones, on the days they happened.

    It is what lies between accepted and landed, so records of other senders, or of other days' runs, that count on this
    day are taken off; below 0 they are more.

    >>> other_days({"accepted": 550, "landed": 530}), other_days({"accepted": None, "landed": 12})
    (20, None)
    """
    return None if row["accepted"] is None else row["accepted"] - row["landed"]


def coverage_of_days(settings: Settings) -> dict[str, float]:
    """Day -> share of its events whose provider is known, as the answer ``provider_usage`` has it; 0 to 1.

    One scan of two columns, as the table is now: a millisecond for each day there is (0.4 s for a year, 3 s for ten),
    where a read of each day at the snapshot its page pins would load the ledger as often. While a restatement is
    published by half it is ahead of the page; the run that completes it writes the overview again. Days without events
    have none.
    """
    from daybook.lake import load

    table = load(settings, "provider_usage")
    if table is None:
        return {}
    rows = table.scan(selected_fields=("event_date", "coverage")).to_arrow()
    days, shares = rows["event_date"].to_pylist(), rows["coverage"].to_pylist()
    # every row of a day holds the same
    return {day.isoformat(): share for day, share in zip(days, shares, strict=True)}


@click.command(short_help="Print a day's answer.")
@click.argument("name")
@click.option("--day", required=True, help="The day, YYYY-MM-DD, UTC.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of row objects.")
def answer(name: str, day: str, as_json: bool) -> None:
    """Print the rows of answer NAME for a day, as published. The lake is read directly: nothing needs to be up."""
    rows = answer_rows(settings(), name, day)
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        print_table(f"{name}, {day}", rows)


@click.command(short_help="Show the stack's parts and the published days.")
@click.option("--json", "as_json", is_flag=True, help="The days alone, as a JSON list.")
@click.option("--all", "show_all", is_flag=True, help="List every day, also where there are many.")
def status(as_json: bool, show_all: bool) -> None:
    """Show which parts of the stack are up, and the newest page of every day with its counts.

    The exit status is 1 if a part is not healthy or the stack is not up, also when all else is printed; with --json the
    stack is not looked at.
    """
    rows = ledger_rows(settings())
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from daybook.stack.parts import stack_lines

    parts = [{"part": name, "state": state, "": detail} for name, state, detail in stack_lines(settings())]
    if parts:
        print_table("Stack", parts)
    else:
        click.echo("The stack is not up; `daybook up` starts it.")
    click.echo()
    if rows:
        # a reader wants the second, scripts have the microseconds in --json
        days = [{**row, "published_at": row["published_at"][:19] + "Z"} for row in rows]
        _print_newest("Published days", days, None if show_all else SHOWN_DAYS, spare=SPARE_COLUMNS)
    else:
        click.echo("No day is published yet; `make demo` plays one.")
    _print_waiting(settings(), show_all)
    for title, told in _notices(settings()):
        click.echo()
        _print_newest(title, told, None if show_all else SHOWN_NOTICES)
    if not parts or any(part["state"] != "healthy" for part in parts):
        raise SystemExit(1)


def _print_newest(title: str, rows: list[dict[str, Any]], most: int | None, spare: Sequence[str] = ()) -> None:
    """Print the last rows; says how many are left out."""
    left_out = 0 if most is None else max(0, len(rows) - most)
    newest = f", the newest {most} of {len(rows):,} (`daybook status --all` lists every one)" if left_out else ""
    print_table(f"{title}{newest}", rows[left_out:], spare=spare)


def _print_waiting(settings: Settings, show_all: bool) -> None:
    """The days with records that no page shows: each of a few, one line on many."""
    from daybook.dismissals import dismissals, split_dismissed

    decided = dismissals(settings)
    waiting, hidden = split_dismissed(waiting_days(settings), decided)
    if waiting:
        click.echo()
        if show_all or len(waiting) <= SHOWN_NOTICES:
            print_table("Records that no page shows yet", waiting)
        else:
            click.echo(f"Records that no page shows yet: {waiting_text(waiting)}.")
            click.echo(
                "`daybook status --all` lists them. `daybook dismiss` hides days that need no page: --from "
                f"{waiting[0]['day']} --to {waiting[-1]['day']}"
            )
    if hidden and show_all:
        click.echo()
        why = ({**row, "why": "dismissed by {dismissed_by}: {note}".format(**decided[row["day"]])} for row in hidden)
        print_table("Days that were dismissed (`daybook dismiss --undo` lists them again)", list(why))
    elif hidden:
        click.echo(f"\nDismissed: {waiting_text(hidden)}; `daybook status --all` lists them.")


def waiting_text(waiting: Sequence[Mapping[str, Any]]) -> str:
    """Waiting days in a few words: how many, from when to when, with how many records that no page shows.

    >>> day = {"records": 3, "on_page": 1}
    >>> waiting_text([{"day": "2014-01-01", **day}, {"day": "2014-01-05", **day}])
    '2 days from 2014-01-01 to 2014-01-05 with 4 records'
    """
    records = sum(row["records"] - row["on_page"] for row in waiting)
    days = waiting[0]["day"] if len(waiting) == 1 else f"from {waiting[0]['day']} to {waiting[-1]['day']}"
    return (
        f"{len(waiting):,} day{'' if len(waiting) == 1 else 's'} {days} "
        f"with {records:,} record{'' if records == 1 else 's'}"
    )


def waiting_days(settings: Settings) -> list[dict[str, Any]]:
    """Days with landed records that their page does not show: ``day``, ``records``, ``on_page``, ``why``.

    A run takes up the first two kinds by itself; a day behind the lateness window is built when it is asked for.
    """
    from daybook.lake import latest_pages, load
    from daybook.lake_names import RAW_EVENTS
    from daybook.runs import TRIGGER
    from daybook.snapshots import partition_counts

    pages = {row["event_date"]: row["landed"] for row in latest_pages(settings).to_dict("records")}
    oldest = datetime.now(UTC).date() - timedelta(days=settings.lateness_days + 1)

    def why(day: date) -> str:
        if day not in pages:
            if day >= datetime.now(UTC).date():
                return "has no page; it is not over"
            return f"""has no page; if no run of it is under way, build it: {TRIGGER} -c '{{"day": "{day}"}}'"""
        return "the next run restates it" if day >= oldest else "behind the lateness window; trigger the day"

    landed = {day: count for day, count in partition_counts(load(settings, RAW_EVENTS)).items() if day}
    return [
        {"day": day.isoformat(), "records": count, "on_page": pages.get(day, 0), "why": why(day)}
        for day, count in sorted(landed.items())
        if count > pages.get(day, 0)
    ]


def _notices(settings: Settings) -> list[tuple[str, list[dict[str, Any]]]]:
    """What the reader of the ledger has to know besides, as titled tables; nothing where there is nothing to say."""
    from daybook.lake import latest_pages
    from daybook.position import accepted_losses

    pages = latest_pages(settings)
    restated = pages[pages["revision"] > 1] if len(pages) else pages
    warned = [
        {"day": row["event_date"].isoformat(), "check": found["check"], "rows": found["rows"]}
        for row in pages.to_dict("records")
        for found in json.loads(row["checks"])
    ]
    lost = [
        {
            "accepted_at": f"{row['accepted_at']:%Y-%m-%d %H:%M}Z",
            "by": row["accepted_by"],
            "lost": row["lost"],
            "note": row["note"],
        }
        for row in accepted_losses(settings)
    ]
    tables = [
        ("Restated days (`daybook receipts --day D`)", [{"receipt": text} for text in restated.get("receipt", [])]),
        ("Checks that let the page pass with a warning (`daybook checks --day D`)", warned),
        ("Losses that were accepted", lost),
    ]
    return [(title, rows) for title, rows in tables if rows]


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    numbers: Collection[str] = (),
    spare: Sequence[str] = (),
    *,
    exact: bool = False,
) -> None:
    """Print rows as a table: on a terminal at most as wide as it is, elsewhere at its own width.

    No cell is cut off. On a terminal that is too narrow the columns to spare are left out, which is said; then long
    cells are wrapped inside their columns; a table with too many columns for that is printed as blocks, a line for each
    cell.

    Args:
        title: printed above.
        rows: all with the same names.
        numbers: columns of text that stand to the right, as numbers do.
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
    missing = f" (for a wider terminal: {', '.join(left_out)})" if left_out else ""
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
            # a short name is not broken to make room for a long text beside it
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
