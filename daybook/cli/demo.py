"""``daybook demo``: one generated day through the whole line, shown as it happens."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
from rich.console import Console

from daybook import airflow_client
from daybook.airflow_client import DAG, USER, AirflowApi, seconds_of
from daybook.cli.options import day_option
from daybook.cli.runs import follow
from daybook.cli.stack import start
from daybook.cli.terminal import rich_console
from daybook.days import parse_day
from daybook.errors import BadInput, DaybookError
from daybook.settings import Settings, load_settings
from daybook.sql.answers import answer_files

_FIRST_ROWS = 5


def _start(client: AirflowApi, day: date, events: int, seed: int) -> tuple[str, bool]:
    """Start a run of the DAG for the day; returns the run's id, and whether the daily schedule was switched on for it.

    Switching the schedule on starts yesterday's run, unless the interval has one. Then a demo of yesterday is that run,
    as a backfill of one day: the scheduler counts on from scheduled and backfilled runs alone. After a triggered run it
    would try to create yesterday's again each time that it reads the DAG file.

    Raises:
        DaybookError: Airflow refuses.
    """
    conf: dict[str, Any] = {"events": events, "seed": seed}
    was_paused = bool(client.call("GET", f"/dags/{DAG}")["is_paused"])
    if was_paused and day == datetime.now(UTC).date() - timedelta(days=1):
        moment = f"{day}T00:00:00Z"
        backfill = {
            "dag_id": DAG,
            "from_date": moment,
            "to_date": moment,
            "dag_run_conf": conf,
            # a run of it from an earlier time that the schedule was on
            "reprocess_behavior": "completed",
        }
        client.call("POST", "/backfills", backfill)
        path = f"/dags/{DAG}/dagRuns?logical_date_gte={moment}&logical_date_lte={moment}"
        run_id = str(client.call("GET", path)["dag_runs"][0]["dag_run_id"])
    else:
        run_id = f"demo__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        conf = {"day": day.isoformat(), **conf}
        client.call("POST", f"/dags/{DAG}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})
    client.call("PATCH", f"/dags/{DAG}?update_mask=is_paused", {"is_paused": False})
    return run_id, was_paused


def _log_lines(client: AirflowApi, run_id: str, step: dict[str, Any], count: int = 15) -> list[str]:
    """The last lines that a step wrote."""
    address = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{step['task_id']}/logs/{step['try_number']}"
    lines: list[str] = []
    for entry in client.call("GET", address)["content"]:
        text = entry if isinstance(entry, str) else str(entry.get("event", ""))
        errors = entry.get("error_detail") if isinstance(entry, dict) else None
        lines += text.splitlines()
        lines += [f"{error['exc_type']}: {error['exc_value']}" for error in errors or ()]
    # "::group::" and its like fold the log in Airflow's UI
    return [line for line in lines if line.strip() and not line.startswith("::")][-count:]


def _print_results(loaded: Settings, day: str, console: Console) -> None:
    """Print the day's ledger and the first rows of every answer.

    Raises:
        DaybookError: the day is not published, or does not balance.
    """
    from daybook.cli.output import print_table
    from daybook.lake.answers import answer_rows
    from daybook.lake.ledger import read_ledger

    ledger = read_ledger(loaded)
    page = ledger.newest.get(parse_day(day))
    if page is None or not page.balanced:
        raise DaybookError(f"demo: {day} is {'not published' if page is None else 'published and does not balance'}")
    answers = {name: answer_rows(ledger, name, day) for name in answer_files()}
    for name, rows in answers.items():
        console.print()
        shown = "" if len(rows) <= _FIRST_ROWS else f", the first {_FIRST_ROWS} of {len(rows)} rows"
        print_table(f"{name}, {day}{shown}", rows[:_FIRST_ROWS])
    popular = sum(row["events"] for row in answers["event_popularity"])
    lines = [
        f"sent     {page.sent:>9,} = accepted {page.accepted:,} + refused {page.refused:,}",
        f"landed   {page.landed:>9,} = events {page.events:,} + duplicates {page.duplicates:,}"
        f" + rejected {page.rejected:,}",
        f"events   {page.events:>9,} = sum of event_popularity {popular:,}",
    ]
    console.print(f"\nLedger of {day}, revision {page.revision}: it balances", highlight=False)
    for line in lines:
        console.print(f"  {line}", highlight=False)


@click.command(short_help="Play one generated day through the whole line.")
@day_option("; yesterday unless given")
@click.option("--events", type=click.IntRange(min=1), default=20_000, show_default=True, help="Events to generate.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed: same seed, same events.")
def demo(day: str | None, events: int, seed: int) -> None:
    """Start the embedded stack if it is not up, run one generated day through the DAG, show its ledger and answers."""
    loaded = load_settings()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    asked = parse_day(day) if day else yesterday
    if asked > yesterday:
        raise BadInput(f"{asked} has not ended yet (UTC); the newest day there can be is {yesterday}")
    console = rich_console(soft_wrap=True)
    is_embedded = not loaded.airflow_server_url
    if not (is_embedded and start(loaded, console)):
        console.print("the stack is up", highlight=False)
    client = airflow_client.api(loaded)
    console.print(f"\n{asked}: {events:,} events, seed {seed}", highlight=False)
    began = time.monotonic()
    run_id, switched_on = _start(client, asked, events, seed)
    steps = follow(client, run_id, console)
    failed = [step for step in steps if step["state"] == "failed"]
    if failed:
        for line in _log_lines(client, run_id, failed[0]):
            click.echo(f"  | {line}", err=True)
    if any(step["state"] not in {"success", "skipped"} for step in steps):
        name = failed[0]["task_id"] if failed else "a step"
        raise DaybookError(
            f"demo: {asked} was not published: {name} failed; readers see what they saw before. "
            f"{loaded.airflow_url}/dags/{DAG}/runs/{run_id} shows the run"
        )
    _print_results(loaded, asked.isoformat(), console)
    took = ", ".join(f"{step['task_id']} {seconds_of(step):.0f}" for step in steps)
    console.print(f"\n{asked} took {time.monotonic() - began:.0f} s: {took}", highlight=False, markup=False)
    if switched_on:
        console.print(
            "This also switched on the daily schedule: after midnight UTC it builds the day before. "
            f"`airflow dags pause {DAG}` switches it off",
            highlight=False,
            markup=False,
        )
    login = f"user {USER}, password {airflow_client.password(loaded)}"
    if not is_embedded:  # whoever started the stack knows where it is reached from outside
        console.print(f"Airflow's login: {login}", highlight=False, markup=False)
        return
    for line in (
        f"report   {(loaded.reports_dir / f'{asked}.html').resolve().as_uri()}",
        f"Airflow  {loaded.airflow_url}  {login}",
        f"intake   {loaded.intake_url}",
        "`make down` stops the stack; `make demo` again uses it as it is. What to try next: docs/README.md",
    ):
        console.print(line, highlight=False, markup=False)
