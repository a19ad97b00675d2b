"""What each revision of a day changed, for ``daybook receipts`` and the report."""

from __future__ import annotations

import json
from typing import Any

from daybook.formatting import json_value
from daybook.lake.ledger import Ledger


def receipts_of(ledger: Ledger, day: str) -> list[dict[str, Any]]:
    """Return every revision of a day, oldest first.

    Returns:
        Objects with ``revision``, ``published_at``, ``run_id``, ``receipt``, ``changes`` (answer -> rows added, removed
        and changed, and those that changed most) and ``checks`` (those that failed without blocking the publication).

    Raises:
        BadInput: the day is not published.
    """
    newest = ledger.of(day)
    return [
        {
            **{name: json_value(getattr(one, name)) for name in ("revision", "published_at", "run_id", "receipt")},
            **{name: json.loads(getattr(one, name)) for name in ("changes", "checks")},
        }
        for one in ledger.revisions
        if one.event_date == newest.event_date
    ]


def row_text(row: dict[str, Any]) -> str:
    """Return one changed row in words: its key, then each value that differs."""
    key = " ".join(str(value) for value in row["key"].values() if value is not None) or "the day"
    before, after = row["before"], row["after"]
    if before is None or after is None:
        values = ", ".join(f"{name} {_short(value)}" for name, value in (after or before).items())
        return f"{key}: {'new' if before is None else 'removed'}, {values}"
    changed = [
        f"{name} {_short(before.get(name))} -> {_short(after[name])}"
        for name in after
        if before.get(name) != after[name]
    ]
    return f"{key}: {', '.join(changed)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
