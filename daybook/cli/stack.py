"""The verbs of the embedded stack: up, down, env."""

from __future__ import annotations

import shlex
import time

import click
from rich.console import Console

from daybook.cli.terminal import for_programs, rich_console
from daybook.jobs.environment import dropped_variables, stack_environment
from daybook.lake.state import check_state
from daybook.settings import Settings, load_settings
from daybook.stack import airflow
from daybook.stack.lifecycle import bring_up, take_down, where


def start(settings: Settings, console: Console) -> bool:
    """Start the embedded stack with its progress shown; returns whether anything had to be started.

    Raises:
        DaybookError: as :func:`daybook.stack.lifecycle.bring_up`.
    """

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    if not console.is_terminal:
        return bring_up(settings, say)
    with console.status("") as spinner:
        return bring_up(settings, say, spinner.update)


@click.command()
def up() -> None:
    """Start the embedded stack; returns when every part is healthy."""
    loaded = load_settings()
    console = rich_console(soft_wrap=True)
    began = time.monotonic()
    if start(loaded, console):
        console.print(f"up in {time.monotonic() - began:.0f} s", highlight=False)
    else:
        console.print("already up", highlight=False)
    for line in where(loaded):
        console.print(line, highlight=False, markup=False)


@click.command()
def down() -> None:
    """Stop the embedded stack with all its processes."""
    began = time.monotonic()
    count = take_down(load_settings())
    click.echo(f"stopped {count} processes in {time.monotonic() - began:.0f} s" if count else "nothing was up")


@click.command()
def env() -> None:
    """Print the environment for Airflow's command line and for readers of the lake: eval "$(daybook env)"."""
    loaded = load_settings()
    check_state(loaded)
    # without its configuration file Airflow would create another one, with SQLite
    airflow.write_config(loaded)
    exported = stack_environment(loaded)
    for name in dropped_variables(loaded):
        if name not in exported:
            click.echo(f"unset {name}", file=for_programs())
    for name, value in sorted(exported.items()):
        click.echo(f"export {name}={shlex.quote(value)}", file=for_programs())
