"""The verbs that look at days: status, receipts, checks, verify, trace, plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from daybook.airflow_client import DAG
from daybook.cli.options import day_option, days_option, json_option, range_options
from daybook.cli.output import print_json, print_table
from daybook.cli.terminal import rich_console
from daybook.days import parse_day
from daybook.formatting import json_rows
from daybook.lake.catalog import load
from daybook.lake.ledger import Ledger, ledger_rows, read_ledger
from daybook.lake.receipts import receipts_of, row_text
from daybook.lake.tables import CHECK_FAILURES
from daybook.operations.plan import days_between, plan_of, runs_text
from daybook.operations.trace import SHOWN_ROWS, trace_rows
from daybook.operations.verify import DIFFERENT, EQUAL, NOT_COMPARED, verify_day
from daybook.pipeline.dismissals import dismissals, split_dismissed
from daybook.pipeline.due import waiting_days, waiting_text
from daybook.pipeline.position import accepted_losses
from daybook.settings import load_settings
from daybook.stack.status import stack_lines

SHOWN_DAYS, SHOWN_NOTICES = 28, 10
"""How many days, and how many rows of each list below them, ``daybook status`` prints without ``--all``."""


SPARE_COLUMNS = ("published_at", "late", "other_days", "refused", "sent", "accepted", "rejected", "duplicates")
"""Columns that ``daybook status`` leaves out on a narrow terminal, the first one first."""


@click.command(short_help="Show the stack's parts and the published days.")
@json_option("Only the days, as a JSON list.")
@click.option("--all", "show_all", is_flag=True, help="List every day, even if there are many.")
def status(as_json: bool, show_all: bool) -> None:
    """Show which parts of the stack are up, and the newest revision of every day with its counts.

    If a part is not healthy or the stack is not up, everything is printed and the exit status is 1. With --json the
    stack is not checked.
    """
    ledger = read_ledger(load_settings())
    rows = ledger_rows(ledger)
    if as_json:
        print_json(rows)
        return

    parts = [{"part": name, "state": state, "": detail} for name, state, detail in stack_lines(load_settings())]
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
        click.echo("No day is published yet; `make demo` generates and publishes one.")
    _print_waiting(ledger, show_all)
    for title, notices in _notices(ledger):
        click.echo()
        _print_newest(title, notices, None if show_all else SHOWN_NOTICES)
    if not parts or any(part["state"] != "healthy" for part in parts):
        raise SystemExit(1)


def _print_newest(title: str, rows: list[dict[str, Any]], most: int | None, spare: Sequence[str] = ()) -> None:
    """Print the last rows; the title states how many are left out."""
    left_out = 0 if most is None else max(0, len(rows) - most)
    newest = f", the newest {most} of {len(rows):,} (`daybook status --all` lists every one)" if left_out else ""
    print_table(f"{title}{newest}", rows[left_out:], spare=spare)


def _print_waiting(ledger: Ledger, show_all: bool) -> None:
    """Print the days with unpublished records: a table of a few, or one line about many."""
    decided = dismissals(ledger.settings)
    waiting, hidden = split_dismissed(waiting_days(ledger), decided)
    if waiting:
        click.echo()
        if show_all or len(waiting) <= SHOWN_NOTICES:
            print_table("Records that are not published yet", waiting)
        else:
            click.echo(f"Records that are not published yet: {waiting_text(waiting)}.")
            click.echo(
                "`daybook status --all` lists them. `daybook dismiss` hides days that need not be published: --from "
                f"{waiting[0]['day']} --to {waiting[-1]['day']}"
            )
    if hidden and show_all:
        click.echo()
        why = ({**row, "why": "dismissed by {dismissed_by}: {note}".format(**decided[row["day"]])} for row in hidden)
        print_table("Dismissed days (`daybook dismiss --undo` lists them again)", list(why))
    elif hidden:
        click.echo(f"\nDismissed: {waiting_text(hidden)}; `daybook status --all` lists them.")


def _notices(ledger: Ledger) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return further tables about the ledger with their titles; empty tables are left out."""
    newest = ledger.newest.values()
    restated = [{"receipt": one.receipt} for one in newest if one.revision > 1]
    warned = [
        {"day": one.day, "check": found["check"], "rows": found["rows"]}
        for one in newest
        for found in json.loads(one.checks)
    ]
    lost = [
        {
            "accepted_at": f"{row['accepted_at']:%Y-%m-%d %H:%M}Z",
            "by": row["accepted_by"],
            "lost": row["lost"],
            "note": row["note"],
        }
        for row in accepted_losses(ledger.settings)
    ]
    tables = [
        ("Restated days (`daybook receipts --day D`)", restated),
        ("Checks that passed with a warning (`daybook checks --day D`)", warned),
        ("Accepted losses", lost),
    ]
    return [(title, rows) for title, rows in tables if rows]


@click.command(short_help="Show what each revision of a day changed.")
@day_option(required=True)
@json_option("A JSON list, one object for each revision.")
def receipts(day: str, as_json: bool) -> None:
    """Print each revision of a day: which answers it changed and by how much, and the warnings of its checks."""
    revisions = receipts_of(read_ledger(load_settings()), day)
    if as_json:
        print_json(revisions)
        return
    for one in revisions:
        click.echo(f"{one['receipt']}\n  published {one['published_at'][:19]}Z by {one['run_id']}")
        for check in one["checks"]:
            click.echo(f"  warning: {check['check']}, {check['rows']} rows")
        for name, change in one["changes"].items():
            counts = [f"{change[kind]} {kind}" for kind in ("added", "removed", "changed") if change[kind]]
            click.echo(f"  {name}: {', '.join(counts)}")
            for row in change["rows"]:
                click.echo(f"    {row_text(row)}")


@click.command(short_help="Show the rows that failed a day's checks.")
@day_option(required=True)
@json_option("A JSON list of row objects.")
def checks(day: str, as_json: bool) -> None:
    """Print the rows that failed checks, of published revisions and of revisions that a check stopped."""
    table, wanted = load(load_settings(), CHECK_FAILURES), parse_day(day)
    found = table.scan(row_filter=f"event_date = '{wanted}'").to_arrow().to_pylist() if table is not None else []
    rows = json_rows(sorted(found, key=lambda row: (row["checked_at"], row["check"], row["failing_row"])))
    if not rows:
        read_ledger(load_settings()).of(day)  # a day that was never built has no results of checks
    if as_json:
        print_json(rows)
    elif rows:
        print_table(f"Failed checks, {day}", rows)
    else:
        click.echo(f"No check of {day} has failed.")


@click.command(short_help="Recount a published day with a second engine.")
@days_option()
@json_option("A JSON list, one object for each line.")
def verify(days: tuple[str, ...], as_json: bool) -> None:
    """Recount a published day with DuckDB, and compare it with the generator's events and Kafka if they have the day.

    Prints each line; stops after the first day with a difference and exits with 1. Nothing is changed.
    """
    loaded = load_settings()
    lines = []
    for day in days:
        counts = {EQUAL: 0, DIFFERENT: 0, NOT_COMPARED: 0}
        for found in verify_day(loaded, day):
            counts[found.verdict] += 1
            lines.append({"day": day, **asdict(found)})
            if not as_json:
                click.echo(f"{day}  {found.verdict:<12}  {found.line}")
        if counts[DIFFERENT]:
            break
        if not as_json:
            click.echo(f"{day}  {counts[EQUAL]} lines equal, {counts[NOT_COMPARED]} not compared")
    if as_json:
        print_json(lines)
    if counts[DIFFERENT]:
        different = [one["line"] for one in lines if one["verdict"] == DIFFERENT]
        cure = (
            "Raw records are missing or changed: restore a backup with `daybook restore`"
            if any(line.startswith(("landed in the ledger", "Kafka")) for line in different)
            else f"`daybook rebuild --from {day} --to {day} --dry-run` shows what a rebuild would change"
        )
        click.echo(
            f"daybook: {day} differs from what is published: {different[0]} ({len(different)} lines differ). "
            f"The published day was not changed. {cure}",
            err=True,
        )
        sys.exit(1)


@click.command(short_help="List the events behind a number, and their offsets in Kafka.")
@click.argument("name", metavar="ANSWER")
@day_option(required=True)
@click.option("--where", help="""Condition that selects rows: 'provider = "cox" and item = "knife"'.""")
@json_option("The rows and their events as one JSON object.")
def trace(name: str, day: str, where: str | None, as_json: bool) -> None:
    """List the events behind rows of an answer: Kafka partition and offset, event id, and what happened.

    Exits with 1 if the counts in the rows differ from the events found.
    """
    found = trace_rows(load_settings(), name, day, where)
    same = found.counted is None or found.counted == found.found
    if as_json:
        shown = {
            "answer": name,
            "day": day,
            "rows": json_rows(found.rows),
            "events": json_rows(found.events),
        }
        print_json(shown)
    else:
        print_table(f"{name}, {day}", found.rows[:SHOWN_ROWS])
        count = len(found.events)
        rest = "" if count <= SHOWN_ROWS else f", the first {SHOWN_ROWS}; all with --json"
        print_table(
            f"{count:,} events behind {'it' if len(found.rows) == 1 else 'them'}{rest}",
            json_rows(found.events[:SHOWN_ROWS]),
            exact=True,
        )
        if found.counted is not None:
            click.echo(
                f"{found.found:,} {found.of} found, {name} counts {found.counted:,}: "
                f"{'the same' if same else 'NOT the same'}"
            )
    if not same:
        click.echo(
            f"daybook: {day}: {name} counts {found.counted:,} {found.of} where the lake has {found.found:,}; "
            f"`daybook verify --day {day}` checks the whole day",
            err=True,
        )
        sys.exit(1)


@click.command(short_help="Show what a backfill of some days would do.")
@range_options
@json_option("One JSON object.")
def plan(first: str, last: str, as_json: bool) -> None:
    """Show, day by day, what `airflow backfill create --from-date A --to-date B` would do. Nothing is changed.

    Reads the lake, and every record in Kafka that is not landed yet. If Kafka or Airflow does not answer, the plan is
    made without it and states this, and the exit status is 1.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    days = days_between(first, last)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # on standard error, and only on a terminal: standard output is for the plan
    with Progress(*columns, console=rich_console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading records that are not landed", total=None)
        found = plan_of(
            load_settings(),
            days,
            datetime.now(UTC),
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    if as_json:
        print_json(found)
    else:
        print_table(f"Backfill of {first} to {last}", found["days"])
        if found["also_restated"]:
            print_table("The first run also restates", found["also_restated"])
        for line in _lines(found):
            click.echo(line)
    if found["kafka"] or found["airflow"]:
        raise SystemExit(1)


def _lines(found: Mapping[str, Any]) -> list[str]:
    """Return the lines to print below the tables."""
    seconds, runs, builds = found["estimate_seconds"], found["runs"], found["builds"]
    return [
        *([f"Lost: {found['lost']}. Runs are refused until `daybook accept-loss`."] if found["lost"] else []),
        *([f"Runs are refused: {found['unfit']}."] if found["unfit"] else []),
        found["kafka"] or _waiting(found["not_landed"], found["hidden"]),
        f"{runs_text(runs)}, {builds} of them with something to build.",
        f"About {timedelta(seconds=round(seconds))} ({found['basis']})." if seconds is not None else found["basis"],
        f"Next: {found['command']}" if found["command"] else "Nothing to do: no run would change a published day.",
        *([f"The DAG is paused, and its backfill waits until `airflow dags unpause {DAG}`."] if _waits(found) else []),
    ]


def _waiting(records: int, hidden: int) -> str:
    if hidden:
        return (
            f"{records} records in Kafka are not landed yet, and an open transaction hides up to {hidden} more: runs "
            "wait for its end."
        )
    if not records:
        return "Every record in Kafka is landed."
    waits = "1 record in Kafka is" if records == 1 else f"{records} records in Kafka are"
    return f"{waits} not landed yet; the first run lands {'it' if records == 1 else 'them all'}."


def _waits(found: Mapping[str, Any]) -> bool:
    return bool(found["paused"] and found["command"])
