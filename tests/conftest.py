"""A broker and an intake of its own to each module that asks for them; the shared stack is in ``integration``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daybook.settings import Settings
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, until


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return own_settings(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[OwnBroker]:
    with OwnBroker(settings) as running:
        yield running


@pytest.fixture(scope="module")
def intake(settings: Settings, broker: OwnBroker) -> Iterator[OwnIntake]:
    """The intake with two workers, as it is by default."""
    with OwnIntake(settings, DAYBOOK_API_WORKERS="2") as running:
        until(lambda: running.status("/health/ready") == 200, "intake ready")
        yield running
        assert running.stop() == 0
        assert not (settings.home / "user").exists(), "gunicorn wrote into the user's home folder"
