"""A broker and an intake of two workers to each module, to be hurt; and a place at the end of the run for figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from daybook.settings import Settings
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, until

_FIGURES = pytest.StashKey[dict[str, str]]()

Figures = Callable[[Mapping[str, object]], None]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return own_settings(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[OwnBroker]:
    with OwnBroker(settings) as running:
        yield running


@pytest.fixture(scope="module")
def intake(settings: Settings, broker: OwnBroker) -> Iterator[OwnIntake]:
    with OwnIntake(settings, DAYBOOK_API_WORKERS="2") as running:
        until(lambda: running.status("/health/ready") == 200, "intake ready")
        yield running


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
