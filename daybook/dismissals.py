"""``daybook dismiss``: days that ``daybook status`` no longer lists as waiting, because they will not get a page.

A client whose clock is wrong sends events of days on which nobody played. Their records are kept and counted; nothing
but the list in ``status`` changes. The decision holds for the records that the day had: when more arrive, the day is
listed again. The decisions are a file beside the reports: backups have it, and on a cluster the folder is shared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from daybook.days import parse_day
from daybook.errors import BadInput, DaybookError
from daybook.files import write_private
from daybook.settings import Settings
from daybook.settings import settings as settings_of_this_process
from daybook.state import who


def dismissals_file(settings: Settings) -> Path:
    """Where the decisions are."""
    return settings.reports_dir / "dismissed_days.json"


def dismissals(settings: Settings) -> dict[str, dict[str, Any]]:
    """Day -> ``records`` that it had, ``dismissed_at``, ``dismissed_by`` and ``note``.

    Raises:
        DaybookError: the file cannot be read.
    """
    file = dismissals_file(settings)
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {str(parse_day(day)): {"records": int(row["records"]), **row} for day, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BadInput) as error:
        raise DaybookError(
            f"{file} cannot be read ({type(error).__name__}: {error}); no record is affected. Remove the file: the "
            "days that were dismissed are listed again"
        ) from None


def split_dismissed(
    waiting: list[dict[str, Any]], dismissed: Mapping[str, Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Waiting days that are still to be listed, and those that were dismissed and got no record since.

    Args:
        waiting: rows of :func:`daybook.reading.waiting_days`.
        dismissed: from :func:`dismissals`.
    """
    hidden = [row for row in waiting if row["records"] <= dismissed.get(row["day"], {"records": -1})["records"]]
    hidden_days = {row["day"] for row in hidden}
    return [row for row in waiting if row["day"] not in hidden_days], hidden


@click.command("dismiss", short_help="Hide days that will not get a page from `daybook status`.")
@click.option("--day", help="The day, YYYY-MM-DD, UTC; instead of --from and --to.")
@click.option("--from", "first", help="The first day of a range, YYYY-MM-DD, UTC.")
@click.option("--to", "last", help="The last day of a range.")
@click.option("--note", help="Why these days need no page; without it the days are only shown.")
@click.option("--undo", is_flag=True, help="List the days again.")
def dismiss(day: str | None, first: str | None, last: str | None, note: str | None, undo: bool) -> None:
    """Stop listing days in `daybook status` whose records no page shows.

    The records stay, are counted and can still be published: trigger the day. A day is listed again when another
    record of it lands, or with --undo. Without --note nothing is changed.
    """
    if (day and (first or last)) or (not day and not (first and last)):
        raise BadInput("name a day with --day, or a range with --from and --to; nothing was changed")
    begin, end = (str(parse_day(one)) for one in (day or first or "", day or last or ""))
    if begin > end:
        raise BadInput(f"{begin} is after {end}: no day lies between them; nothing was changed")
    settings = settings_of_this_process()
    if undo:
        _undo(settings, begin, end)
    else:
        _dismiss(settings, begin, end, note)


def _undo(settings: Settings, begin: str, end: str) -> None:
    decided = dismissals(settings)
    back = [one for one in decided if begin <= one <= end]
    if not back:
        raise BadInput(f"no day from {begin} to {end} is dismissed; nothing was changed")
    _write(settings, {one: row for one, row in decided.items() if one not in back})
    click.echo(f"{_days(len(back))} will be listed again.")


def _dismiss(settings: Settings, begin: str, end: str, note: str | None) -> None:
    from daybook.reading import waiting_days

    decided = dismissals(settings)
    listed, _ = split_dismissed(waiting_days(settings), decided)
    chosen = [row for row in listed if begin <= row["day"] <= end]
    if not chosen:
        raise BadInput(
            f"no day from {begin} to {end} waits for a page; `daybook status --all` lists those that do. "
            "Nothing was changed"
        )
    records = sum(row["records"] - row["on_page"] for row in chosen)
    said = f"{_days(len(chosen))} with {records:,} {'record' if records == 1 else 'records'} that no page shows"
    if note is None:
        click.echo(f'{said}.\nNothing was changed. To dismiss them: add --note "why"')
        return
    now, user = datetime.now(UTC).isoformat(timespec="seconds"), who()
    new = {
        row["day"]: {"records": row["records"], "dismissed_at": now, "dismissed_by": user, "note": note}
        for row in chosen
    }
    _write(settings, decided | new)
    click.echo(f"Dismissed: {said}. The records are kept. `daybook status --all` still lists the days.")


def _write(settings: Settings, decided: Mapping[str, Any]) -> None:
    write_private(
        dismissals_file(settings), json.dumps(dict(sorted(decided.items())), ensure_ascii=False, indent=1) + "\n"
    )


def _days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"
