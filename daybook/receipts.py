"""The verbs that tell a page's story: ``daybook receipts`` and ``daybook checks``."""

from __future__ import annotations

import json
from typing import Any

import click

from daybook.days import parse_day
from daybook.lake_names import CHECK_FAILURES
from daybook.reading import json_rows, json_value, print_table
from daybook.settings import Settings, settings


def receipts_of(settings: Settings, day: str) -> list[dict[str, Any]]:
    """Every revision of a day, oldest first.

    Returns:
        Objects with ``revision``, ``published_at``, ``run_id``, ``receipt``, ``changes`` (answer -> rows added, removed
        and changed, and those that changed most) and ``checks`` (those that did not hold and let the page pass).

    Raises:
        BadInput: the day is not published.
    """
    from daybook.lake import ledger, page_of

    page_of(settings, day)
    rows = ledger(settings)
    told = []
    for row in rows[rows["event_date"] == parse_day(day)].to_dict("records"):
        told.append(
            {
                **{name: json_value(row[name]) for name in ("revision", "published_at", "run_id", "receipt")},
                **{name: json.loads(row[name]) for name in ("changes", "checks")},
            }
        )
    return told


@click.command(short_help="What each revision of a day changed.")
@click.option("--day", required=True, help="The day, YYYY-MM-DD, UTC.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object for each revision.")
def receipts(day: str, as_json: bool) -> None:
    """Print each revision of a day: which answers it changed and by how much, and the warnings of its checks."""
    told = receipts_of(settings(), day)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
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


def row_text(row: dict[str, Any]) -> str:
    """One changed row in words: its key, then each value that differs."""
    key = " ".join(str(value) for value in row["key"].values() if value is not None) or "the day"
    before, after = row["before"], row["after"]
    if before is None or after is None:
        values = ", ".join(f"{name} {_short(value)}" for name, value in (after or before).items())
        return f"{key}: {'new' if before is None else 'gone'}, {values}"
    changed = [
        f"{name} {_short(before.get(name))} -> {_short(after[name])}"
        for name in after
        if before.get(name) != after[name]
    ]
    return f"{key}: {', '.join(changed)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@click.command(short_help="The rows that a day's checks found wrong.")
@click.option("--day", required=True, help="The day, YYYY-MM-DD, UTC.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of row objects.")
def checks(day: str, as_json: bool) -> None:
    """Print the rows that checks found wrong, of pages that were published and of pages that were stopped."""
    from daybook.lake import load, page_of

    table = load(settings(), CHECK_FAILURES)
    found = table.scan(row_filter=f"event_date = '{parse_day(day)}'").to_pandas() if table is not None else None
    rows = [] if found is None else json_rows(found.sort_values(["checked_at", "check", "failing_row"]))
    if not rows:
        page_of(settings(), day)  # of a day that was never built no check has said anything
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif rows:
        print_table(f"Checks that did not hold, {day}", rows)
    else:
        click.echo(f"No check of {day} has found anything wrong.")
