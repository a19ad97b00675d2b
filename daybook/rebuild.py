"""``daybook rebuild``: pages derived anew from the raw records, with receipts."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from daybook.days import parse_day
from daybook.errors import BadInput
from daybook.runs import TRIGGER
from daybook.settings import settings


@click.command(short_help="Derive past days anew from the raw records.")
@click.option("--from", "first", required=True, help="First day, YYYY-MM-DD, UTC.")
@click.option("--to", "last", required=True, help="Last day, included.")
@click.option("--dry-run", is_flag=True, help="Say per day what would change; publish nothing.")
def rebuild(first: str, last: str, dry_run: bool) -> None:
    """Derive events and answers of published days anew from raw_events, without Kafka.

    For a new provider map, a new or mended answer, a mended rule. A day that comes out as it was keeps its revision.
    """
    from daybook.lake import latest_pages
    from daybook.report import write_report
    from daybook.spark_job import run_job

    start, end = parse_day(first), parse_day(last)
    if start > end:
        raise BadInput(f"{first} is after {last}; nothing was changed")
    loaded = settings()
    if not any(start <= day <= end for day in latest_pages(loaded)["event_date"]):
        raise BadInput(
            f"no day from {first} to {last} has a page; a day without one is built by a run of it: {TRIGGER}"
        )
    run_id = f"rebuild__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    arguments = ["--run-id", run_id, "--from", first, "--to", last, *(["--dry-run"] if dry_run else [])]
    days = run_job(loaded, "rebuild_days", arguments)["days"]
    changed = [one for one in days if one["changed"]]
    for one in days:
        click.echo(one["receipt"])
    if changed and not dry_run:
        write_report(loaded, changed[0]["day"], [one["day"] for one in changed])
    outcome = "would change; nothing was published" if dry_run else "published anew"
    click.echo(f"{len(changed)} of {len(days)} days {outcome}")
