"""Print the table of faults at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.figures import reported

_FAULT = "fault"
FaultTable = Callable[[Mapping[str, Any]], None]


@pytest.fixture
def fault_table(record_property: Callable[[str, object], None]) -> FaultTable:
    """Adds a row to the table of faults, which the run prints at its end with a total."""
    return lambda row: record_property(_FAULT, dict(row))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a row's counts next to its name as soon as it is finished: the whole table takes long."""
    row = dict(getattr(report, "user_properties", ())).get(_FAULT)
    if row is None or report.when != "call":
        return None
    counts = ", ".join(f"{name} {value}" for name, value in row.items() if name != "row")
    return report.outcome, "." if report.passed else "F", f"{report.outcome.upper()} ({counts})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if rows := [row for _, row in reported(terminalreporter, _FAULT)]:
        _write_table(terminalreporter, rows)


def _write_table(terminalreporter: pytest.TerminalReporter, rows: list[dict[str, Any]]) -> None:
    """A row's accepted and landed ids are its lab's total so far; faults, lost and doubled are the row's own."""
    summed = ("faults", "given up", "lost", "doubled", "unbalanced", "seconds")
    total = {name: sum(row[name] for row in rows) if name in summed else "" for name in rows[0]} | {"row": "all"}
    terminalreporter.section("faults")
    for row in [dict(zip(total, total, strict=True)), *rows, total]:
        cells = [f"{row['row']:<50}", *(f"{row[name]!s:>10}" for name in total if name != "row")]
        terminalreporter.write_line(" ".join(cells))
