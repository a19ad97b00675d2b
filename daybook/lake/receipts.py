"""The commands that show a day's history: ``daybook receipts`` and ``daybook checks``."""

from __future__ import annotations

import json
from typing import Any

from daybook.days import parse_day
from daybook.formatting import json_value
from daybook.settings import Settings


def receipts_of(settings: Settings, day: str) -> list[dict[str, Any]]:
    """Return every revision of a day, oldest first.

    Returns:
        Objects with ``revision``, ``published_at``, ``run_id``, ``receipt``, ``changes`` (answer -> rows added, removed
        and changed, and those that changed most) and ``checks`` (those that failed without blocking the publication).

    Raises:
        BadInput: the day is not published.
    """
    from daybook.lake.ledger import ledger, page_of

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


def row_text(row: dict[str, Any]) -> str:
    """Return one changed row in words: its key, then each value that differs."""
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
