"""``daybook forget-user``: one player's rows leave every table and every old snapshot, and a record of it stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import click

from daybook.errors import BadInput
from daybook.lake_names import ERASURES
from daybook.settings import Settings, settings

ERASURES_SCHEMA = """
    erased_at TIMESTAMP COMMENT 'UTC', erased_by STRING COMMENT 'user name of the operator', note STRING,
    user_digest STRING COMMENT 'SHA-256 of the user_id, hex: proves that a given player was erased, names none',
    records BIGINT COMMENT 'raw records that were removed',
    days STRING COMMENT 'JSON list of objects: day (null for records that name none), records',
    landing BIGINT COMMENT 'number of the last landing whose records were removed',
    event_ids ARRAY<STRING> COMMENT 'what the ledger of a generated day has to account for; names no player'
"""
"""Columns of ``erasures``: one row for each time that a player was erased."""


def user_digest(user_id: str) -> str:
    """How a player is named in ``erasures``."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def erasures(settings: Settings) -> list[dict[str, Any]]:
    """Every erasure, oldest first; columns as :data:`ERASURES_SCHEMA`, ``days`` as a list."""
    from daybook.lake import load

    table = load(settings, ERASURES)
    rows: list[dict[str, Any]] = table.scan().to_arrow().to_pylist() if table is not None else []
    return [{**row, "days": json.loads(row["days"])} for row in sorted(rows, key=lambda row: row["erased_at"])]


def erased_since(done: Sequence[Mapping[str, Any]], day: date, moment: datetime) -> int:
    """How many raw records of a day were erased after a moment; ``done`` is of :func:`erasures`."""
    return sum(
        one["records"]
        for row in done
        if row["erased_at"] > moment
        for one in row["days"]
        if one["day"] == day.isoformat()
    )


@click.command("forget-user", short_help="Remove one player's rows for good.")
@click.argument("user_id")
@click.option("--note", default="", help="Kept with the record of it: who asked, and when.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget_user(user_id: str, note: str, yes: bool) -> None:
    """Remove every row of player USER_ID from every table, build the days anew, and expire all older snapshots.

    It cannot be undone, and ends with an error if a row of the player is left. Records that Kafka still holds and that
    were not landed yet land with the next run, and leave Kafka with its retention: repeat it then. Steps that were
    staged meanwhile are staged again.
    """
    from daybook.report import write_report
    from daybook.spark_job import run_job

    try:
        user_digest(user_id)
    except UnicodeEncodeError:
        raise BadInput("USER_ID is not text in UTF-8; nothing was removed") from None
    loaded = settings()
    if not yes:
        click.confirm(f"Remove every row of {user_id!r}, for good?", abort=True)
    run_id = f"forget__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    player = {"user_id": user_id, "note": note}
    told = run_job(loaded, "forget_user", ["--run-id", run_id], {"--player": player})
    if told["user_digest"] is None:
        click.echo("No table has a row of this player. Nothing was changed, and nothing is recorded in erasures.")
        return
    if told["days"]:
        write_report(loaded, told["days"][0], told["days"])
    click.echo(
        f"{told['records']} records removed; {len(told['days'])} days built anew: {', '.join(told['days']) or 'none'}. "
        f"Recorded in erasures as {told['user_digest'][:12]}..."
    )
