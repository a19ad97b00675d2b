"""Answers of a test's own: the project's files and a user-defined one, or only some of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from daybook.sql.files import SQL_DIR

NAME = "busy_minutes"
TEXT = """-- Question: Which minutes are busy?
-- Grain: one row per minute of a day that has an event
-- Columns:
--   minute: minute of the hour, 0 to 59
--   events: purchases (count); minutes that nobody
--     bought anything in have 0
-- Key: minute
-- Order: events desc, minute
-- Balance: events WHERE item IS NOT NULL
-- Events: MINUTE(events.occurred_at) = answer.minute AND events.item IS NOT NULL
-- Run: by hand
SELECT
    event_date,
    MINUTE(occurred_at) AS minute,
    COUNT(item) AS events
FROM events
WHERE event_date BETWEEN :first_day AND :last_day
GROUP BY event_date, MINUTE(occurred_at)
"""


SLOWEST = (
    "host_providers/provider_switchers",
    "user_behaviour/daily_activity",
    "user_behaviour/hourly_activity",
    "user_behaviour/item_affinity",
    "user_behaviour/purchase_funnel",
)
"""The answers that take longest; no check reads them."""


def copy_of_answers(folder: Path, *without: str) -> Path:
    """Copy the project's ``.sql`` files, without some answers; return the copy's folder."""
    copy = folder / "sql"
    shutil.copytree(SQL_DIR, copy)
    for name in without:
        (copy / f"{name}.sql").unlink()
    return copy


def own_answers(folder: Path, monkeypatch: pytest.MonkeyPatch, *without: str) -> Path:
    """Make the project read its ``.sql`` files from a copy that a test may change; return its folder."""
    copy = copy_of_answers(folder, *without)
    monkeypatch.setattr("daybook.sql.answers.SQL_DIR", copy)
    return copy


def drop_in(sql: Path) -> None:
    """Add the answer to the copied files."""
    (sql / "user_behaviour" / f"{NAME}.sql").write_text(TEXT, encoding="utf-8")
