"""Days that ``daybook status`` no longer lists as waiting, because they will not get a page.

A client whose clock is wrong sends events of days on which nobody played. Their records are kept and counted; nothing
but the list in ``status`` changes. The decision holds for the records that the day had: when more arrive, the day is
listed again. The decisions are a file beside the reports: backups have it, and on a cluster the folder is shared.
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
        waiting: rows of :func:`daybook.pipeline.due.waiting_days`.
        dismissed: from :func:`dismissals`.
    """
    hidden = [row for row in waiting if row["records"] <= dismissed.get(row["day"], {"records": -1})["records"]]
    hidden_days = {row["day"] for row in hidden}
    return [row for row in waiting if row["day"] not in hidden_days], hidden


def write_dismissals(settings: Settings, decided: Mapping[str, Any]) -> None:
    """Replace the decisions by these; form as :func:`dismissals`."""
    write_private(
        dismissals_file(settings), json.dumps(dict(sorted(decided.items())), ensure_ascii=False, indent=1) + "\n"
    )
