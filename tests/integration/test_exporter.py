"""The exporter against a real broker and a lake: its metrics are correct, and it never hangs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from daybook.jobs.environment import job_environment, venv_bin
from daybook.lake.lake_table import LakeTable
from daybook.operations import exporter
from daybook.operations.exporter import LedgerCollector
from daybook.settings import REPOSITORY, Settings
from game_api import metrics as intake_metrics
from tests.integration.own_broker import OwnBroker, free_ports, until
from tests.integration.own_topic import Topic
from tests.unit.small_lake import SmallLake
from tests.unit.test_monitoring import metrics as monitored

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = date(2026, 5, 3)
Samples = dict[tuple[str, ...], float]
"""Name and label values of a sample -> its value."""


@pytest.fixture
def topic(settings: Settings, broker: OwnBroker) -> Iterator[Topic]:
    made = Topic(settings)
    yield made
    if broker.process is not None:
        made.delete()


@pytest.fixture
def watched(settings: Settings, topic: Topic, tmp_path: Path) -> Settings:
    """The broker with a topic and an empty lake for one test."""
    (port,) = free_ports(1)
    return settings.model_copy(update={"home": tmp_path, "kafka_topic": topic.name, "exporter_port": port})


def scraped(collector: LedgerCollector) -> Samples:
    """Return the samples of a scrape."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def test_the_figures_are_the_truth(watched: Settings, topic: Topic) -> None:
    lake = SmallLake(watched)
    topic.produce(0, 5)
    topic.produce(1, 2)
    lake.land({}, end={0: 3, 1: 2})
    for number in range(9):
        counts = {"landed": 20, "events": 10 + number, "rejected": 5} if number == 8 else {}
        lake.publish(DAY + timedelta(days=number), {}, **counts)
    lake.publish(DAY, {}, revision=2)
    lake.accept_loss("gone", "disk")
    collector = LedgerCollector(watched)
    collector.read()
    shown = scraped(collector)
    newest = DAY + timedelta(days=8)
    assert shown[("daybook_exporter_up", "lake")] == shown[("daybook_exporter_up", "kafka")] == 1
    assert shown[("daybook_days_published",)] == 9
    assert shown[("daybook_newest_day_timestamp_seconds",)] == datetime(2026, 5, 11, tzinfo=UTC).timestamp()
    assert (
        shown[("daybook_last_publish_timestamp_seconds",)]
        == datetime(2026, 5, 4, 0, 16, 1, 250000, tzinfo=UTC).timestamp()
    )
    assert shown[("daybook_day_records", str(newest), "events")] == 18
    assert shown[("daybook_rejected_share",)] == 0.25
    assert sum(name == "daybook_day_revision" for name, *_ in shown) == exporter.DAYS_SHOWN
    assert shown[("daybook_publish_within_seconds",)] == 6 * 3600


def test_the_lag_is_what_the_topic_has_and_the_lake_has_not(watched: Settings, topic: Topic) -> None:
    lake = SmallLake(watched)
    before = datetime.now(UTC)
    topic.produce(0, 5)
    topic.produce(1, 2)
    lake.land({}, end={0: 3, 1: 2})
    collector = LedgerCollector(watched)
    collector.read()
    shown = scraped(collector)
    assert [shown[("daybook_kafka_end_offset", one)] for one in "01"] == [5, 2]
    assert [shown[("daybook_landed_offset", one)] for one in "01"] == [3, 2]
    assert [shown[("daybook_lag_records", one)] for one in "01"] == [2, 0]
    waited = shown[("daybook_oldest_unlanded_seconds", "0")]
    # the broker's timestamps are in milliseconds
    assert 0 <= waited <= (datetime.now(UTC) - before).total_seconds() + 0.001
    kept = shown[("daybook_kafka_retention_seconds",)]
    assert shown[("daybook_retention_left_seconds", "0")] == pytest.approx(kept - waited, abs=5)
    assert ("daybook_oldest_unlanded_seconds", "1") not in shown, "nothing waits there"


def test_without_a_lake_nothing_is_landed_and_no_day_is_published(watched: Settings, topic: Topic) -> None:
    topic.produce(0, 4)
    collector = LedgerCollector(watched)
    collector.read()
    shown = scraped(collector)
    assert shown[("daybook_days_published",)] == 0
    assert shown[("daybook_lag_records", "0")] == 4
    assert ("daybook_newest_day_timestamp_seconds",) not in shown


def test_a_lake_that_cannot_be_read_is_reported_and_kafka_is_shown_all_the_same(
    watched: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    away = watched.model_copy(update={"lake_catalog_uri": "jdbc:postgresql://127.0.0.1:1/lake"})
    collector = LedgerCollector(away)
    collector.read()
    collector.read()
    shown = scraped(collector)
    assert shown[("daybook_exporter_up", "lake")] == 0
    assert shown[("daybook_exporter_up", "kafka")] == 1
    assert ("daybook_lag_records", "0") not in shown, "what is landed is not known"
    assert capsys.readouterr().err.count("lake cannot be read") == 1, "once, not at every reading"


def test_history_costs_a_reading_nothing(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = SmallLake(watched)
    lake.publish(DAY, {})
    collector = LedgerCollector(watched)
    collector.read()
    scans: list[LakeTable] = []
    scan = LakeTable.scan

    def counted(self: LakeTable, *args: Any, **kwargs: Any) -> Any:
        scans.append(self)
        return scan(self, *args, **kwargs)

    monkeypatch.setattr(LakeTable, "scan", counted)
    collector.read()
    assert scans == [], "the ledger has not changed, so its rows are not read again"
    lake.publish(DAY + timedelta(days=1), {})
    collector.read()
    assert len(scans) == 1
    assert scraped(collector)[("daybook_days_published",)] == 2


def test_the_command_answers_prometheus_also_while_the_broker_is_frozen(
    watched: Settings, broker: OwnBroker, topic: Topic
) -> None:
    topic.produce(0, 1)
    with served(watched) as url:
        until(lambda: samples(url).get(("daybook_exporter_up", "kafka")) == 1, "a good reading", 60)
        assert samples(url)[("daybook_lag_records", "0")] == 1
        assert broker.process is not None
        os.kill(broker.process.pid, signal.SIGSTOP)
        try:
            until(lambda: samples(url)[("daybook_exporter_up", "kafka")] == 0, "a failed reading", 120, 0.5)
            assert ("daybook_lag_records", "0") not in samples(url), "an old lag looks like a good one"
        finally:
            os.kill(broker.process.pid, signal.SIGCONT)
        until(lambda: samples(url)[("daybook_exporter_up", "kafka")] == 1, "a good reading again", 120, 0.5)


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Run the command; yield the URL of its metrics."""
    extra = {
        f"DAYBOOK_{name.upper()}": str(getattr(settings, name)) for name in ("home", "kafka_topic", "exporter_port")
    }
    with subprocess.Popen([venv_bin() / "daybook", "exporter"], env={**job_environment(settings), **extra}) as process:
        url = f"http://127.0.0.1:{settings.exporter_port}/metrics"
        try:
            until(lambda: bool(samples(url)), "the exporter", 60)
            yield url
        finally:
            process.terminate()


def samples(url: str) -> Samples:
    """Return the served samples; empty without an answer. A scrape that waits for a reading fails."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except ConnectionRefusedError:
        return {}
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return {}
        raise
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_named_by_alerts_dashboard_and_docs_are_exported(watched: Settings, topic: Topic) -> None:
    lake = SmallLake(watched)
    topic.produce(0, 1)
    lake.land({}, end={0: 0, 1: 0})
    lake.publish(DAY, {})
    lake.accept_loss("gone", "disk")
    collector = LedgerCollector(watched)
    collector.read()
    own = {family.name for family in collector.collect()}
    of_intake = {
        sample if not sample.endswith("_created") else ""
        for metric in vars(intake_metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
        for sample in (family.name, *(f"{family.name}_{part}" for part in ("total", "bucket", "sum", "count")))
    }
    assert monitored() <= own | of_intake
    page = (REPOSITORY / "docs" / "observability.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(daybook_\w+)[`{]", page, re.MULTILINE)) == own
