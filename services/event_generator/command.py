"""``daybook generate``: send a seeded day of players to the intake."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daybook.cli.terminal import rich_console
from daybook.days import parse_day
from daybook.errors import BadInput
from daybook.pipeline.manifest import manifest_path
from daybook.settings import load_settings
from event_generator.faults import FaultProfile
from event_generator.manifest import Request
from event_generator.play import PATIENCE_SECONDS, Load, Pace, play_day

DEFAULT_EVENTS = 20_000
SECONDS_BETWEEN_LINES = 3.0


def _number(kind: type[int] | type[float]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return a callback that parses a number, with our one-line error instead of click's usage text."""

    def parse(_: click.Context, parameter: click.Parameter, text: str | None) -> int | float | None:
        try:
            return None if text is None else kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise BadInput(f"--{parameter.name} {text!r} is not {what}") from None

    return parse


@click.command()
@click.option("--day", metavar="YYYY-MM-DD", help="UTC day of the events. [default: yesterday]")
@click.option("--events", metavar="N", callback=_number(int), help=f"Number of events. [default: {DEFAULT_EVENTS}]")
@click.option("--seed", metavar="S", callback=_number(int), help="Seed of the day. [default: DAYBOOK_GENERATED_SEED]")
@click.option("--duplicates", metavar="SHARE", default="0", callback=_number(float), help="Events that are sent twice.")
@click.option(
    "--late", metavar="SHARE", default="0", callback=_number(float), help="Events that are 1 to 30 days late."
)
@click.option("--invalid", metavar="SHARE", default="0", callback=_number(float), help="Additional invalid events.")
@click.option("--connections", metavar="N", default="4", callback=_number(int), help="Parallel requests. [default: 4]")
@click.option("--batch", metavar="N", default="200", callback=_number(int), help="Events per request. [default: 200]")
@click.option("--rate", metavar="R", callback=_number(float), help="Events per second. [default: no limit]")
def generate(
    day: str | None,
    events: int | None,
    seed: int | None,
    duplicates: float,
    late: float,
    invalid: float,
    connections: int,
    batch: int,
    rate: float | None,
) -> None:
    """Generate a seeded day of events and send it to the intake; the same seed gives the same events.

    A SHARE is a share of the day's events, 0 to 1. Repeat a killed run to continue where it stopped.
    """
    settings = load_settings()
    request = Request(
        day=parse_day(day) if day is not None else datetime.now(UTC).date() - timedelta(days=1),
        events=DEFAULT_EVENTS if events is None else events,
        seed=settings.generated_seed if seed is None else seed,
        mischief=FaultProfile(duplicates=duplicates, late=late, invalid=invalid),
    )
    load = Load(connections=connections, batch=batch, events_per_second=rate)
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=rich_console()) as bar:
            task = bar.add_task(f"sending {request.day}", total=None)

            def show(done: int, of: int) -> None:
                bar.update(task, completed=done, total=of, description=f"sending {request.day}")

            def wait(reason: str) -> None:
                bar.update(task, description=_waiting(request, reason))

            manifest, pace = play_day(request, settings, load, show, wait)
    else:
        lines = _Lines(str(request.day))
        manifest, pace = play_day(request, settings, load, lines, lambda reason: click.echo(_waiting(request, reason)))
    if pace is None:
        click.echo(
            f"{request.day}: already generated with seed {request.seed} and {request.events} events; nothing was sent"
        )
        return
    click.echo(_pace_line(request, load, pace))
    click.echo(
        f"{request.day}: sent {manifest.sent} = accepted {manifest.accepted} + refused {manifest.refused}; "
        f"manifest {manifest_path(settings, request.day)}"
    )


def _waiting(request: Request, reason: str) -> str:
    return f"{request.day}: the intake has not acknowledged yet ({reason}); retrying for {PATIENCE_SECONDS:.0f} s"


def _pace_line(request: Request, load: Load, pace: Pace) -> str:
    line = (
        f"{request.day}: {pace.events} events in {pace.seconds:.1f} s, {pace.events / pace.seconds:.0f} per second; "
        f"response time {pace.p50_ms:.1f} ms (p50), {pace.p99_ms:.1f} ms (p99)"
    )
    if load.events_per_second is not None and pace.behind_seconds > 1:
        line += f"; up to {pace.behind_seconds:.1f} s behind the rate, which was too high for the intake or this client"
    return line


class _Lines:
    """Prints progress as plain lines every few seconds, for logs and pipes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() >= self._next_at:
            click.echo(f"{self._name}: {done} of {of} events acknowledged")
            self._next_at = time.monotonic() + SECONDS_BETWEEN_LINES
