"""Days whose answers were counted by hand: the events sent, and the answers that every engine must return.

They are in ``tests/fixtures/known_days``. Its README describes how each was counted. This module knows no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "fixtures" / "known_days"

RECEIVED_AT = datetime(2024, 3, 5, 12, tzinfo=UTC)
"""The time when the intake had accepted all events: noon of the empty day, so that the day is known to be empty."""

Row = dict[str, Any]

_FRACTION = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class KnownDay:
    """A day that can be published."""

    name: str
    """Folder of the fixture, with the day appended if the fixture's events are of several days."""
    fixture: str
    """Folder of the fixture."""
    day: date
    events: tuple[dict[str, Any], ...]
    """All events that the fixture's clients sent, in order of arrival and as the contract accepts them.

    The neighbouring days' events are included, and also records that are no events:
    duplicates, and another body under the same id.
    """
    counts: dict[str, int]
    """The counts that the ledger must have: ``landed``, ``events``, ``duplicates``, ``rejected``, ``late``."""
    expected: dict[str, list[Row]]
    """Answer -> its rows for the day, in the answer's order of columns and rows."""


def known_days() -> dict[str, KnownDay]:
    """The known days by name. No two fixtures share a day, so one lake can hold all of them."""
    found: dict[str, KnownDay] = {}
    for folder in sorted(one for one in FOLDER.iterdir() if one.is_dir()):
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        files = sorted((folder / "expected").glob("*.json"))
        for file in files:
            content = json.loads(file.read_text(encoding="utf-8"))
            known = KnownDay(
                name=folder.name if len(files) == 1 else f"{folder.name}-{file.stem}",
                fixture=folder.name,
                day=date.fromisoformat(file.stem),
                events=tuple(json.loads(line) for line in lines),
                counts=content.pop("counts"),
                expected={answer: _rows(table) for answer, table in content.items()},
            )
            found[known.name] = known
    return found


def sent(days: Iterable[KnownDay]) -> list[dict[str, Any]]:
    """All events from the clients of these days, in order of arrival; those of a fixture of several days once."""
    return [event for events in {known.fixture: known.events for known in days}.values() for event in events]


def _rows(table: list[list[Any]]) -> list[Row]:
    """The rows of a table whose first line names the columns."""
    return [dict(zip(table[0], map(_cell, row), strict=True)) for row in table[1:]]


def _cell(written: Any) -> Any:
    """A cell; a fraction is divided as the answers do it: two exact numbers, one rounding."""
    if isinstance(written, str) and (fraction := _FRACTION.fullmatch(written)):
        return int(fraction[1]) / int(fraction[2])
    return written
