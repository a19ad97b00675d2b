"""A place at the end of the run for a test's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

_FIGURES = pytest.StashKey[dict[str, str]]()

Figures = Callable[[Mapping[str, object]], None]


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Takes a test's figures, which are shown when the run ends, whether the test passed or not."""

    def show(named: Mapping[str, object]) -> None:
        shown = request.config.stash.setdefault(_FIGURES, {})
        shown[request.node.name] = ", ".join(f"{name} {value}" for name, value in named.items())

    return show


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, line in config.stash.get(_FIGURES, {}).items():
        terminalreporter.write_line(f"{name}: {line}")
