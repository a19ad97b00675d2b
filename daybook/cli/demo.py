"""``daybook demo``: runs one generated day through the whole pipeline and shows its progress."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
from rich.console import Console

from daybook import airflow_client
from daybook.airflow_client import DAG, USER, AirflowApi, seconds_of
from daybook.cli.options import day_option
from daybook.cli.output import print_table
from daybook.cli.runs import follow
from daybook.cli.stack import start
from daybook.cli.terminal import rich_console
from daybook.days import parse_day
from daybook.errors import BadInput, DaybookError
from daybook.lake.answers import answer_rows
from daybook.lake.ledger import read_ledger
from daybook.settings import Settings, load_settings
from daybook.sql.answers import answer_files

_FIRST_ROWS = 5


def _start(client: AirflowApi, day: date, events: int, seed: int) -> tuple[str, bool]:
    """Start a run of the DAG for the day; returns the run's id, and whether the daily schedule was switched on for it.

    Switching the schedule on starts yesterday's run, unless that interval already has one. A demo of yesterday then is
    that run, as a backfill of one day: the scheduler only counts scheduled and backfilled runs. After a triggered run
    it would try to create yesterday's run again each time it reads the DAG file.

    Raises:
        DaybookError: Airflow rejects the request.
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
            # yesterday may have a run from an earlier time when the schedule was on
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
    """Return the last lines of a step's log."""
    address = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{step['task_id']}/logs/{step['try_number']}"
    lines: list[str] = []
    for entry in client.call("GET", address)["content"]:
        text = entry if isinstance(entry, str) else str(entry.get("event", ""))
        errors = entry.get("error_detail") if isinstance(entry, dict) else None
        lines += text.splitlines()
        lines += [f"{error['exc_type']}: {error['exc_value']}" for error in errors or ()]
    # "::group::" and similar lines fold the log in Airflow's UI
    return [line for line in lines if line.strip() and not line.startswith("::")][-count:]


def _print_results(loaded: Settings, day: str, console: Console) -> None:
    """Print the day's ledger and the first rows of every answer.

    Raises:
        DaybookError: the day is not published, or does not balance.
    """
    ledger = read_ledger(loaded)
    newest = ledger.newest.get(parse_day(day))
    if newest is None or not newest.balanced:
        raise DaybookError(f"demo: {day} is {'not published' if newest is None else 'published but does not balance'}")
    answers = {name: answer_rows(ledger, name, day) for name in answer_files()}
    for name, rows in answers.items():
        console.print()
        shown = "" if len(rows) <= _FIRST_ROWS else f", the first {_FIRST_ROWS} of {len(rows)} rows"
        print_table(f"{name}, {day}{shown}", rows[:_FIRST_ROWS])
    popular = sum(row["events"] for row in answers["event_popularity"])
    lines = [
        f"sent     {newest.sent:>9,} = accepted {newest.accepted:,} + refused {newest.refused:,}",
        f"landed   {newest.landed:>9,} = events {newest.events:,} + duplicates {newest.duplicates:,}"
        f" + rejected {newest.rejected:,}",
        f"events   {newest.events:>9,} = sum of event_popularity {popular:,}",
    ]
    console.print(f"\nLedger of {day}, revision {newest.revision}: it balances", highlight=False)
    for line in lines:
        console.print(f"  {line}", highlight=False)


@click.command(short_help="Generate one day and run it through the whole pipeline.")
@day_option("; yesterday unless given")
@click.option("--events", type=click.IntRange(min=1), default=20_000, show_default=True, help="Events to generate.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed: same seed, same events.")
def demo(day: str | None, events: int, seed: int) -> None:
    """Start the embedded stack if needed, run one generated day through the DAG, and show its ledger and answers."""
    loaded = load_settings()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    asked = parse_day(day) if day else yesterday
    if asked > yesterday:
        raise BadInput(f"{asked} has not ended yet (UTC); the newest possible day is {yesterday}")
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
            f"demo: {asked} was not published: {name} failed; readers see the same as before. "
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
    if not is_embedded:  # the operator of the stack knows its address from outside
        console.print(f"Airflow's login: {login}", highlight=False, markup=False)
        return
    for line in (
        f"report   {(loaded.reports_dir / f'{asked}.html').resolve().as_uri()}",
        f"Airflow  {loaded.airflow_url}  {login}",
        f"intake   {loaded.intake_url}",
        "`make down` stops the stack; another `make demo` uses the running one. What to try next: docs/README.md",
    ):
        console.print(line, highlight=False, markup=False)
