"""``daybook generate``: play a seeded day of players against the intake."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daybook.days import parse_day
from daybook.errors import BadInput
from daybook.settings import settings as settings_of_this_process
from event_generator.manifest import manifest_path, played_before
from event_generator.play import check_request, play_day

DEFAULT_EVENTS = 20_000
SECONDS_BETWEEN_LINES = 3.0


def _whole_number(_: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """A number, or our one-line error instead of click's usage text."""
    try:
        return None if text is None else int(text)
    except ValueError:
        raise BadInput(f"--{parameter.name} {text!r} is not a whole number") from None


@click.command()
@click.option("--day", metavar="YYYY-MM-DD", help="UTC day the events happen in. [default: yesterday]")
@click.option("--events", metavar="N", callback=_whole_number, help=f"How many. [default: {DEFAULT_EVENTS}]")
@click.option("--seed", metavar="S", callback=_whole_number, help="Decides the day's events. [DAYBOOK_GENERATED_SEED]")
def generate(day: str | None, events: int | None, seed: int | None) -> None:
    """Play a seeded day of players against the intake; the same seed sends the same events."""
    settings = settings_of_this_process()
    wanted = parse_day(day) if day is not None else datetime.now(UTC).date() - timedelta(days=1)
    events = DEFAULT_EVENTS if events is None else events
    seed = settings.generated_seed if seed is None else seed
    check_request(wanted, events, seed)
    if played_before(settings, wanted, events=events, seed=seed) is not None:
        click.echo(f"{wanted}: already played with seed {seed} and {events} events; nothing was sent")
        return
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console()) as bar:
            task = bar.add_task(f"playing {wanted}", total=events)
            manifest = play_day(wanted, events, seed, settings, lambda done, _: bar.update(task, completed=done))
    else:
        manifest = play_day(wanted, events, seed, settings, _Lines(str(wanted)))
    click.echo(
        f"{wanted}: sent {manifest['sent']} = accepted {manifest['accepted']} + refused {manifest['refused']}; "
        f"manifest {manifest_path(settings, wanted)}"
    )


class _Lines:
    """Progress as plain lines, every few seconds, for logs and pipes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() >= self._next_at:
            click.echo(f"{self._name}: {done} of {of} events acknowledged")
            self._next_at = time.monotonic() + SECONDS_BETWEEN_LINES
