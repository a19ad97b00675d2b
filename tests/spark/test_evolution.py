"""The event gets a field and a type; intake and landing are upgraded in either order, then downgraded.

No accepted event is lost. A landing that does not know a type rejects the record and retains its bytes. A landing that
does not know a field lands the event without it. `daybook rebuild` with a newer landing adds both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daybook.settings import REPOSITORY

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long]

DAY, NEXT = "2026-05-03", "2026-05-04"


def events(number: int, day: str = DAY, **fields: Any) -> list[dict[str, Any]]:
    """Enough purchases for the checks of a day, so that one rejected record does not stop it."""
    return [
        {
            "event_id": f"00000000-0000-4000-8000-{number:04}{count:08}",
            "event_type": "purchase_item",
            "item": "sword",
            "user_id": f"user{count}",
            "host": f"user{count}.att.com",
            "occurred_at": f"{day}T12:00:00Z",
            **fields,
        }
        for count in range(40)
    ]


def sale(number: int, day: str = DAY) -> dict[str, Any]:
    return {**events(number, day)[0], "event_type": "sell_item"}


def leveled(number: int, day: str = DAY) -> dict[str, Any]:
    return {**events(number, day)[0], "level": 7}


def play(folder: Path, *script: list[Any]) -> list[Any]:
    """Run a list of steps of ``tests.spark.versions`` in a separate process; return the result of each."""
    steps, results = folder / "script.json", folder / "results.json"
    steps.write_text(json.dumps(script), encoding="utf-8")
    names = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.spark.versions", str(folder / "home"), str(steps), str(results)],
        cwd=REPOSITORY,
        env={**names, "DAYBOOK_FUTURE_TOLERANCE_MINUTES": "1440"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found: list[Any] = json.loads(results.read_text(encoding="utf-8"))
    return found


def expected(
    revision: int, *, purchases: int, sales: int = 0, rejected: int = 0, levels: int | None = None
) -> dict[str, Any]:
    types = {"purchase_item": purchases, **({"sell_item": sales} if sales else {})}
    counts = {"revision": revision, "landed": purchases + sales + rejected, "events": purchases + sales}
    return {**counts, "rejected": rejected, "types": types, "levels": levels, "wrong": []}


def test_the_intake_is_raised_first_then_the_landing_and_both_are_taken_back(tmp_path: Path) -> None:
    results = play(
        tmp_path,
        ["intake", "old", *events(1), sale(2), leveled(3)],
        ["run", "old", DAY],
        ["intake", "new", *events(4), sale(5), leveled(6)],
        ["run", "old", DAY],
        ["run", "new", DAY],
        ["rebuild", "new", DAY],
        ["run", "old", DAY],
        ["intake", "new", sale(7), *events(8, NEXT), leveled(9, NEXT)],
        ["run", "old", NEXT],
        ["rebuild", "new", DAY],
        ["rebuild", "new", NEXT],
    )
    assert results == [
        ["union_tag_invalid", "purchase_item.level"],  # the old intake names what it does not accept
        expected(1, purchases=40),
        [],
        expected(2, purchases=81, rejected=1),  # the new type is rejected, the event lacks its new field
        expected(2, purchases=81, rejected=1),  # no new record: the revision stays until the day is rebuilt
        expected(3, purchases=81, sales=1, levels=7),
        expected(3, purchases=81, sales=1, levels=7),
        [],
        expected(1, purchases=41),  # the old landing again: as before, and the new column is null
        expected(5, purchases=81, sales=2, levels=7),
        expected(2, purchases=41, levels=7),  # a new field alone gives a new revision, although no count has changed
    ]


def test_the_landing_is_raised_first_then_the_intake_and_both_are_taken_back(tmp_path: Path) -> None:
    results = play(
        tmp_path,
        ["intake", "old", *events(1)],
        ["run", "old", DAY],
        ["intake", "old", *events(2)],
        ["run", "new", DAY],
        ["intake", "new", sale(3), leveled(4)],
        ["run", "new", DAY],
        ["intake", "old", *events(5, NEXT)],
        ["run", "new", NEXT],
        ["intake", "old", *events(6, NEXT)],
        ["run", "old", NEXT],
        ["rebuild", "new", DAY],
    )
    assert results == [
        [],
        expected(1, purchases=40),
        [],
        expected(2, purchases=80),  # a newer landing reads older records
        [],
        expected(3, purchases=81, sales=1, levels=7),
        [],
        expected(1, purchases=40),
        [],
        expected(2, purchases=80),
        expected(3, purchases=81, sales=1, levels=7),  # nothing new for the day: its revision is unchanged
    ]
