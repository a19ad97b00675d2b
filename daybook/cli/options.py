"""Options that several verbs have, with one name, one form and one help text each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
DAY = "The day, YYYY-MM-DD, UTC"


def day_option(note: str = "", **kind: Any) -> Decorator:
    """Return ``--day``: text that the verb parses (:func:`daybook.days.parse_day`).

    Args:
        note: added to the help text.
        kind: passed on to :func:`click.option`, for example ``required=True``.
    """
    return click.option("--day", help=f"{DAY}{note}.", **kind)


def days_option() -> Decorator:
    """Return ``--day`` for verbs that take it several times: the parameter ``days``."""
    return click.option("--day", "days", required=True, multiple=True, help=f"{DAY}; may be given again.")


def range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--from`` and ``--to``: the parameters ``first`` and ``last``, text that the verb parses."""
    to = click.option("--to", "last", required=True, help="Last day, included.")
    return click.option("--from", "first", required=True, help="First day, YYYY-MM-DD, UTC.")(to(command))


def json_option(form: str) -> Decorator:
    """Return ``--json``: the parameter ``as_json``, for :func:`daybook.cli.output.print_json`.

    Args:
        form: what is printed, for the help text.
    """
    return click.option("--json", "as_json", is_flag=True, help=form)
