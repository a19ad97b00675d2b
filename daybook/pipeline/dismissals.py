"""Days that ``daybook status`` no longer lists as waiting, because they will not be published.

A client with a wrong clock sends events for days on which nobody played. Their records are retained and counted; only
the list in ``status`` changes. A dismissal covers the records that the day had: when more arrive, the day is listed
again. The dismissals are a file next to the reports: backups include it, and on a cluster the folder is shared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daybook.days import parse_day
from daybook.errors import BadInput, DaybookError
from daybook.files import write_private
from daybook.settings import Settings


def dismissals_file(settings: Settings) -> Path:
    """Return the path of the file with the dismissals."""
    return settings.reports_dir / "dismissed_days.json"


def dismissals(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return day -> ``records`` that it had, ``dismissed_at``, ``dismissed_by`` and ``note``.

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
    """Split waiting days into those to list and those dismissed without a new record since.

    Args:
        waiting: rows of :func:`daybook.pipeline.due.waiting_days`.
        dismissed: from :func:`dismissals`.
    """
    hidden = [row for row in waiting if row["records"] <= dismissed.get(row["day"], {"records": -1})["records"]]
    hidden_days = {row["day"] for row in hidden}
    return [row for row in waiting if row["day"] not in hidden_days], hidden


def write_dismissals(settings: Settings, decided: Mapping[str, Any]) -> None:
    """Replace the dismissals; same form as :func:`dismissals`."""
    write_private(
        dismissals_file(settings), json.dumps(dict(sorted(decided.items())), ensure_ascii=False, indent=1) + "\n"
    )
