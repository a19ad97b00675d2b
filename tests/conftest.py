"""Shared fixtures: a broker and an intake for each module, one Spark session, one embedded stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from secrets import token_urlsafe
from typing import TYPE_CHECKING

import pytest

from daybook.jobs.java import java_home
from daybook.settings import Settings
from tests.figures import FIGURES, Figures, reported
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, until
from tests.lake_copy import LakeCopy

if TYPE_CHECKING:  # loaded only by the tests that need it: unit tests start at once
    from pyspark.sql import SparkSession

    from tests.integration.running_stack import Stack


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """Records a figure that a test measured; the end of the run prints one line for it."""

    def show(measured: Mapping[str, object]) -> None:
        record_property(FIGURES, ", ".join(f"{name} {value}" for name, value in measured.items()))

    return show


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report, line in reported(terminalreporter, FIGURES):
        terminalreporter.write_line(f"{report.location[2]}: {line}")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return own_settings(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[OwnBroker]:
    with OwnBroker(settings) as running:
        yield running


@pytest.fixture(scope="module")
def intake(settings: Settings, broker: OwnBroker) -> Iterator[OwnIntake]:
    """The intake with two workers, its default."""
    with OwnIntake(settings, DAYBOOK_API_WORKERS="2") as running:
        until(lambda: running.status("/health/ready") == 200, "intake ready")
        yield running
        assert running.stop() == 0
        assert not (settings.home / "user").exists(), "gunicorn wrote into the user's home folder"


@pytest.fixture(scope="session")
def lake_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("lake")
    (home / "lake").mkdir()
    return Settings(home=home, spark_driver_memory="1g")


@pytest.fixture(scope="session")
def spark(lake_settings: Settings) -> Iterator[SparkSession]:
    """One Spark session for all tests, with its own lake."""
    from daybook_spark.session import spark_session

    os.environ["JAVA_HOME"] = str(java_home())  # the stack sets it for the jobs, too
    session = spark_session("tests", lake_settings)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def empty_lake(spark: SparkSession, lake_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> LakeCopy:
    """A lake with its tables and without rows."""
    from daybook_spark.building import create_tables

    create_tables(spark, lake_settings)
    return LakeCopy(lake_settings, tmp_path_factory.mktemp("lakes") / "empty")


@pytest.fixture
def lake(lake_settings: Settings, empty_lake: LakeCopy) -> Settings:
    """An empty lake with its tables, and the settings that point to it."""
    empty_lake.restore()
    return lake_settings


@pytest.fixture(scope="module")
def module_lake(lake_settings: Settings, empty_lake: LakeCopy) -> Settings:
    """An empty lake for a module that fills it once.

    It is the same place as ``lake``, so tests of such a module must not use ``lake``.
    """
    empty_lake.restore()
    return lake_settings


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded stack, up for the whole session with its own ports and state folder.

    It is the real one: ``daybook up`` starts it and ``daybook down`` stops it. It may run alongside others.
    """
    from daybook.jobs.environment import stack_environment
    from tests.integration.running_stack import Stack
    from tests.webhook import Webhook

    home = tmp_path_factory.mktemp("stack")
    # zero hours: every scheduled day is late, and its alert fires at once
    settings = own_settings(home).model_copy(update={"kafka_partitions": 3, "publish_within_hours": 0})
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DAYBOOK_", "AIRFLOW"))}
    with Webhook() as webhook:
        variables = {"DAYBOOK_NOTIFY_URLS": webhook.url, "DAYBOOK_API_KEY": token_urlsafe()}
        up = Stack(settings, {**inherited, **stack_environment(settings), **variables}, webhook)
        try:
            up.daybook("up")
            yield up
        finally:
            up.daybook("down")
