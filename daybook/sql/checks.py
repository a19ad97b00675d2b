"""The checks that a day must pass before it is published: ``spark/sql/checks``, one ``.sql`` file each.

A file's statement returns the wrong rows; the check holds if it returns no row. ``fail`` stops the publication,
``warn`` is stored with it. Thresholds are bound by name from ``thresholds.toml`` next to the files.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from daybook.errors import DaybookError
from daybook.sql.files import SQL_DIR, parameters, read_sql

CHECKS_DIR = SQL_DIR / "checks"
FAIL, WARN = "fail", "warn"
DAYS = {"first_day", "last_day"}
"""Parameters that every check may bind in addition to its thresholds."""


KEPT_ROWS = 1000
"""Number of failing rows that are stored for one check and day."""


@dataclass(frozen=True)
class Check:
    """One check and the query for its failing rows."""

    name: str
    meaning: str
    """The condition that must hold, one sentence."""
    severity: str
    """``fail`` or ``warn``."""
    statement: str


@dataclass(frozen=True)
class Finding:
    """A check that does not hold for a day."""

    check: str
    severity: str
    day: date
    rows: int
    """Number of wrong rows."""


def checks(root: Path = CHECKS_DIR) -> dict[str, Check]:
    """Return the checks by name, in alphabetical order.

    Raises:
        DaybookError: a file's header is incomplete, or the file binds an unknown threshold.
    """
    known = {}
    bound = thresholds(root).keys() | DAYS
    for path in sorted(root.glob("*.sql")):
        header, text = read_sql(path, ("Check", "Severity", "Run"), "unique_event_ids.sql")
        if header["Severity"] not in (FAIL, WARN):
            raise DaybookError(f"{path.name}: -- Severity: is {header['Severity']!r}; write {FAIL} or {WARN}")
        if unknown := sorted(parameters(text) - bound):
            raise DaybookError(f"{path.name} binds :{unknown[0]}, which is not in {path.parent.name}/thresholds.toml")
        known[path.stem] = Check(path.stem, header["Check"], header["Severity"], text)
    return known


def thresholds(root: Path = CHECKS_DIR) -> dict[str, float]:
    """Return the thresholds by name."""
    return dict(tomllib.loads((root / "thresholds.toml").read_text(encoding="utf-8")))


def findings_json(findings: list[Finding]) -> str:
    """Return a revision's findings as the ledger stores them: a JSON list of objects with check, severity, rows."""
    return json.dumps([{name: value for name, value in asdict(one).items() if name != "day"} for one in findings])


def failed_text(findings: list[Finding]) -> str:
    """List the checks that stop the publication; empty if all hold or only warn."""
    failed = [one for one in findings if one.severity == FAIL]
    known = checks() if failed else {}
    return "; ".join(
        f"{one.day}: the check {one.check} ({known[one.check].meaning}) fails with {one.rows} rows" for one in failed
    )
