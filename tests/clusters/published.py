"""Compare what readers see of two lakes."""

from __future__ import annotations

from typing import Any

from daybook.lake.answers import answer_rows
from daybook.lake.ledger import ledger_rows, read_ledger
from daybook.settings import Settings
from daybook.sql.answers import answers

_COUNTS = ("landed", "events", "duplicates", "rejected", "late", "balanced")


def days(settings: Settings) -> dict[str, Any]:
    """Return every published day as readers see it: its counts and its answers."""
    return {
        row["day"]: {
            **{name: row[name] for name in _COUNTS},
            "answers": {name: answer_rows(read_ledger(settings), name, row["day"]) for name in answers()},
        }
        for row in ledger_rows(read_ledger(settings))
    }


def compare_days(one: Settings, other: Settings) -> int:
    """Return the number of published days of two lakes, which must be equal, row by row, and balance."""
    found = days(one)
    assert days(other) == found
    assert all(day["balanced"] for day in found.values())
    return len(found)
