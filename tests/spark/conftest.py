"""Fixtures for records without a broker."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from daybook.settings import Settings
from daybook.sql.answers import answers_version
from tests.dropped_in import SLOWEST, own_answers
from tests.lake_copy import LakeCopy
from tests.spark.lake_run import DAY, Begin, MakeRun, Run, Steps
from tests.spark.topic_records import Topic


@pytest.fixture
def topic(spark: SparkSession) -> Topic:
    return Topic(spark)


@pytest.fixture
def six_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute six of the eleven answers, for tests of publishing, not of the answers' rows."""
    own_answers(tmp_path, monkeypatch, *SLOWEST)


@pytest.fixture
def run(spark: SparkSession, lake: Settings) -> MakeRun:
    return lambda run_id, day=DAY: Run(spark, lake, run_id, day)


Beginning = tuple[LakeCopy, list[tuple[Any, ...]], Run]


@pytest.fixture(scope="session")
def beginnings() -> dict[str, Beginning]:
    return {}


@pytest.fixture
def begin(
    lake: Settings,
    topic: Topic,
    run: MakeRun,
    beginnings: dict[str, Beginning],
    tmp_path_factory: pytest.TempPathFactory,
) -> Begin:
    """Takes the steps that several tests begin with: once in a process, then their lake is copied."""

    def begun(steps: Steps) -> Run:
        name = f"{steps.__module__}.{steps.__name__} {answers_version()}"
        if name not in beginnings:
            last = steps(topic, run)
            beginnings[name] = LakeCopy(lake, tmp_path_factory.mktemp("begun") / "lake"), list(topic.rows), copy(last)
            return last
        saved, topic.rows[:], last = beginnings[name]
        saved.restore()
        return copy(last)

    return begun
