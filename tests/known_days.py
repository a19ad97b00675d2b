"""Days whose answers were counted by hand: what clients sent, and what every engine has to answer.

They lie in ``tests/fixtures/known_days``, whose README says how each was counted. Nothing here knows an engine.
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
"""When the intake got all of it: noon of the empty day, so that it is known to be empty."""

Row = dict[str, Any]

_FRACTION = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class KnownDay:
    """A day that a page can be built of."""

    name: str
    """Folder of the fixture, followed by the day where its events are of several days."""
    fixture: str
    """Folder of the fixture."""
    day: date
    events: tuple[dict[str, Any], ...]
    """All that the fixture's clients sent, in order of arrival, as the contract takes it; also what is of the days
    around, and what is no event: a repetition, or another body under the same id."""
    counts: dict[str, int]
    """What the ledger has to count: ``landed``, ``events``, ``duplicates``, ``rejected``, ``late``."""
    expected: dict[str, list[Row]]
    """Answer -> its rows of the day, in the answer's order of columns and rows."""


def known_days() -> dict[str, KnownDay]:
    """The known days by name. No two fixtures have a day in common, so all can lie in one lake."""
    found: dict[str, KnownDay] = {}
    for folder in sorted(one for one in FOLDER.iterdir() if one.is_dir()):
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        pages = sorted((folder / "expected").glob("*.json"))
        for page in pages:
            told = json.loads(page.read_text(encoding="utf-8"))
            known = KnownDay(
                name=folder.name if len(pages) == 1 else f"{folder.name}-{page.stem}",
                fixture=folder.name,
                day=date.fromisoformat(page.stem),
                events=tuple(json.loads(line) for line in lines),
                counts=told.pop("counts"),
                expected={answer: _rows(table) for answer, table in told.items()},
            )
            found[known.name] = known
    return found


def sent(days: Iterable[KnownDay]) -> list[dict[str, Any]]:
    """What all clients of these days sent, in order of arrival; the events of a fixture of several days once."""
    return [event for events in {known.fixture: known.events for known in days}.values() for event in events]


def _rows(table: list[list[Any]]) -> list[Row]:
    """The rows of a table whose first line names the columns."""
    return [dict(zip(table[0], map(_cell, row), strict=True)) for row in table[1:]]


def _cell(written: Any) -> Any:
    """A cell; what is written as a fraction is divided as the answers do: both numbers are exact, one is rounded."""
    if isinstance(written, str) and (fraction := _FRACTION.fullmatch(written)):
        return int(fraction[1]) / int(fraction[2])
    return written
