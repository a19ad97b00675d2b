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
from daybook.pipeline.due import waiting_days, waiting_text
from daybook.settings import load_settings

SHOWN_DAYS, SHOWN_NOTICES = 28, 10
"""How many days, and how many rows of each list below them, ``daybook status`` prints without ``--all``."""


SPARE_COLUMNS = ("published_at", "late", "other_days", "refused", "sent", "accepted", "rejected", "duplicates")
"""Columns that ``daybook status`` leaves out on a narrow terminal, the first one first."""


@click.command(short_help="Show the stack's parts and the published days.")
@json_option("The days alone, as a JSON list.")
@click.option("--all", "show_all", is_flag=True, help="List every day, also where there are many.")
def status(as_json: bool, show_all: bool) -> None:
    """Show which parts of the stack are up, and the newest page of every day with its counts.

    The exit status is 1 if a part is not healthy or the stack is not up, also when all else is printed; with --json the
    stack is not looked at.
    """
    ledger = read_ledger(load_settings())
    rows = ledger_rows(ledger)
    if as_json:
        print_json(rows)
        return
    from daybook.stack.status import stack_lines

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
        click.echo("No day is published yet; `make demo` plays one.")
    _print_waiting(ledger, show_all)
    for title, told in _notices(ledger):
        click.echo()
        _print_newest(title, told, None if show_all else SHOWN_NOTICES)
    if not parts or any(part["state"] != "healthy" for part in parts):
        raise SystemExit(1)


def _print_newest(title: str, rows: list[dict[str, Any]], most: int | None, spare: Sequence[str] = ()) -> None:
    """Print the last rows; says how many are left out."""
    left_out = 0 if most is None else max(0, len(rows) - most)
    newest = f", the newest {most} of {len(rows):,} (`daybook status --all` lists every one)" if left_out else ""
    print_table(f"{title}{newest}", rows[left_out:], spare=spare)


def _print_waiting(ledger: Ledger, show_all: bool) -> None:
    """The days with records that no page shows: each of a few, one line on many."""
    from daybook.pipeline.dismissals import dismissals, split_dismissed

    decided = dismissals(ledger.settings)
    waiting, hidden = split_dismissed(waiting_days(ledger), decided)
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


def _notices(ledger: Ledger) -> list[tuple[str, list[dict[str, Any]]]]:
    """What the reader of the ledger has to know besides, as titled tables; nothing where there is nothing to say."""
    from daybook.pipeline.position import accepted_losses

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
        ("Checks that let the page pass with a warning (`daybook checks --day D`)", warned),
        ("Losses that were accepted", lost),
    ]
    return [(title, rows) for title, rows in tables if rows]


@click.command(short_help="What each revision of a day changed.")
@day_option(required=True)
@json_option("A JSON list, one object for each revision.")
def receipts(day: str, as_json: bool) -> None:
    """Print each revision of a day: which answers it changed and by how much, and the warnings of its checks."""
    told = receipts_of(read_ledger(load_settings()), day)
    if as_json:
        print_json(told)
        return
    for one in told:
        click.echo(f"{one['receipt']}\n  published {one['published_at'][:19]}Z by {one['run_id']}")
        for check in one["checks"]:
            click.echo(f"  warning: {check['check']}, {check['rows']} rows")
        for name, change in one["changes"].items():
            counts = [f"{change[kind]} {kind}" for kind in ("added", "removed", "changed") if change[kind]]
            click.echo(f"  {name}: {', '.join(counts)}")
            for row in change["rows"]:
                click.echo(f"    {row_text(row)}")


@click.command(short_help="The rows that a day's checks found wrong.")
@day_option(required=True)
@json_option("A JSON list of row objects.")
def checks(day: str, as_json: bool) -> None:
    """Print the rows that checks found wrong, of pages that were published and of pages that were stopped."""
    table, wanted = load(load_settings(), CHECK_FAILURES), parse_day(day)
    found = table.scan(row_filter=f"event_date = '{wanted}'").to_arrow().to_pylist() if table is not None else []
    rows = json_rows(sorted(found, key=lambda row: (row["checked_at"], row["check"], row["failing_row"])))
    if not rows:
        read_ledger(load_settings()).of(day)  # a day that was never built has no results of checks
    if as_json:
        print_json(rows)
    elif rows:
        print_table(f"Checks that did not hold, {day}", rows)
    else:
        click.echo(f"No check of {day} has found anything wrong.")


@click.command(short_help="Recount a published day by a second engine.")
@days_option()
@json_option("A JSON list, one object for each line.")
def verify(days: tuple[str, ...], as_json: bool) -> None:
    """Recount a day's page by DuckDB, and hold it against the generator's plays and Kafka where they have it.

    Prints each line; stops after the first day with a difference and exits with 1. Nothing is changed.
    """
    loaded = load_settings()
    told = []
    for day in days:
        counts = {EQUAL: 0, DIFFERENT: 0, NOT_COMPARED: 0}
        for found in verify_day(loaded, day):
            counts[found.verdict] += 1
            told.append({"day": day, **asdict(found)})
            if not as_json:
                click.echo(f"{day}  {found.verdict:<12}  {found.line}")
        if counts[DIFFERENT]:
            break
        if not as_json:
            click.echo(f"{day}  {counts[EQUAL]} lines equal, {counts[NOT_COMPARED]} not compared")
    if as_json:
        print_json(told)
    if counts[DIFFERENT]:
        lines = [one["line"] for one in told if one["verdict"] == DIFFERENT]
        cure = (
            "Raw records are missing or changed: `daybook restore` brings a backup back"
            if any(line.startswith(("landed in the ledger", "Kafka")) for line in lines)
            else f"`daybook rebuild --from {day} --to {day} --dry-run` says what building it anew would change"
        )
        click.echo(
            f"daybook: {day} differs from what is published: {lines[0]} ({len(lines)} lines differ). "
            f"The published day was not changed. {cure}",
            err=True,
        )
        sys.exit(1)


@click.command(short_help="The events behind a number, and where Kafka has them.")
@click.argument("name", metavar="ANSWER")
@day_option(required=True)
@click.option("--where", help="""Which rows, as a condition: 'provider = "cox" and item = "knife"'.""")
@json_option("All of it as one JSON object.")
def trace(name: str, day: str, where: str | None, as_json: bool) -> None:
    """List the events behind rows of an answer: Kafka partition and offset, event id, and what happened.

    Exits with 1 if the rows count something else than what was found.
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
            f"`daybook verify --day {day}` looks at the whole page",
            err=True,
        )
        sys.exit(1)


@click.command(short_help="Say what a backfill of some days would do.")
@range_options
@json_option("One JSON object.")
def plan(first: str, last: str, as_json: bool) -> None:
    """Say, day by day, what `airflow backfill create --from-date A --to-date B` would do. Changes nothing.

    Reads the lake, and in Kafka every record that was not landed yet. If Kafka or Airflow does not answer, the plan
    says so, is made without, and the exit status is 1.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    days = days_between(first, last)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # on standard error, and nothing at all in a pipe: standard output is the plan's
    with Progress(*columns, console=rich_console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading what is not landed", total=None)
        told = plan_of(
            load_settings(),
            days,
            datetime.now(UTC),
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    if as_json:
        print_json(told)
    else:
        print_table(f"Backfill of {first} to {last}", told["days"])
        if told["also_restated"]:
            print_table("The first run also restates", told["also_restated"])
        for line in _lines(told):
            click.echo(line)
    if told["kafka"] or told["airflow"]:
        raise SystemExit(1)


def _lines(told: Mapping[str, Any]) -> list[str]:
    """What is said under the tables."""
    seconds, runs, builds = told["estimate_seconds"], told["runs"], told["builds"]
    return [
        *([f"Lost: {told['lost']}. Runs are refused until `daybook accept-loss`."] if told["lost"] else []),
        *([f"Runs are refused: {told['unfit']}."] if told["unfit"] else []),
        told["kafka"] or _waiting(told["not_landed"], told["hidden"]),
        f"{runs_text(runs)}, {builds} of them with something to build.",
        f"About {timedelta(seconds=round(seconds))} ({told['basis']})." if seconds is not None else told["basis"],
        f"Next: {told['command']}" if told["command"] else "Nothing to do: no run would change a page.",
        *([f"The DAG is paused, and its backfill waits until `airflow dags unpause {DAG}`."] if _waits(told) else []),
    ]


def _waiting(records: int, hidden: int) -> str:
    if hidden:
        return (
            f"{records} records in Kafka are not landed yet, and an open transaction hides up to {hidden} more: runs "
            "wait for its end."
        )
    if not records:
        return "All that Kafka holds is landed."
    waits = "1 record in Kafka is" if records == 1 else f"{records} records in Kafka are"
    return f"{waits} not landed yet; the first run lands {'it' if records == 1 else 'them all'}."


def _waits(told: Mapping[str, Any]) -> bool:
    return bool(told["paused"] and told["command"])
