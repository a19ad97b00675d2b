"""Figures that tests report at the end of a run.

They are properties of the test report, so that they also arrive from other processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

FIGURES = "figures"

Figures = Callable[[Mapping[str, object]], None]


def reported(terminalreporter: pytest.TerminalReporter, name: str) -> Iterator[tuple[pytest.TestReport, Any]]:
    """The figures that the executed tests reported under a name."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for key, value in report.user_properties:
                if key == name and report.when == "call":
                    yield report, value
