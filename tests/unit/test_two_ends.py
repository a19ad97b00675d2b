"""Messages about a topic that does not match the lake's offsets, about open transactions, and about gaps in a log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daybook.errors import NonRetryableError
from daybook.kafka import offsets
from daybook.kafka.offsets import TopicState
from daybook.operations import backup, exporter
from daybook.operations.exporter import LedgerCollector
from daybook.pipeline import losses
from daybook.pipeline.balance import LandedRange
from daybook.pipeline.position import Position
from daybook.settings import Settings
from daybook_spark import landing
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)
WEEK_MS = 7 * 86_400_000


@pytest.fixture
def scrape(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[tuple[str, ...], float]]:
    """The exporter's metrics for a topic whose records are all an hour old; partition 0 is landed up to 50."""

    def of(topic: TopicState, start: Position) -> dict[tuple[str, ...], float]:
        monkeypatch.setattr(exporter, "topic_state", lambda _settings: topic)
        monkeypatch.setattr(exporter, "position", lambda *_: start)
        monkeypatch.setattr(exporter, "record_time", lambda *_: datetime.now(UTC) - timedelta(hours=1))
        collector = LedgerCollector(own_settings)
        collector.read()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in collector.collect()
            for sample in family.samples
        }

    return of


def test_nothing_of_a_new_topic_is_landed(scrape: Callable[..., Any]) -> None:
    landed = Position({0: 50}, 3, "former")
    shown = scrape(TopicState("new", first={0: 0}, end={0: 50}, retention_ms=WEEK_MS), landed)
    assert shown[("daybook_lag_records", "0")] == 50
    assert shown[("daybook_oldest_unlanded_seconds", "0")] == pytest.approx(3600, abs=60)
    assert shown[("daybook_retention_left_seconds", "0")] == pytest.approx(WEEK_MS / 1000 - 3600, abs=60)


def test_after_a_truncation_every_record_may_be_new(scrape: Callable[..., Any]) -> None:
    landed = Position({0: 50}, 3, "same")
    shown = scrape(TopicState("same", first={0: 10}, end={0: 40}, retention_ms=WEEK_MS), landed)
    assert shown[("daybook_lag_records", "0")] == 30
    assert ("daybook_oldest_unlanded_seconds", "0") in shown


def test_the_lag_counts_what_a_transaction_hides(scrape: Callable[..., Any]) -> None:
    topic = TopicState("same", first={0: 0}, end={0: 50}, retention_ms=WEEK_MS, hidden={0: 32})
    shown = scrape(topic, Position({0: 50}, 3, "same"))
    assert shown[("daybook_lag_records", "0")] == 32
    assert shown[("daybook_kafka_end_offset", "0")] == 82
    assert shown[("daybook_hidden_records", "0")] == 32
    assert ("daybook_oldest_unlanded_seconds", "0") in shown
    assert shown[("daybook_topic_unfit",)] == 0


def test_a_topic_that_loses_events_is_shown(scrape: Callable[..., Any]) -> None:
    topic = TopicState("same", first={0: 0}, end={0: 50}, retention_ms=WEEK_MS, unfit="topic events is compacted")
    assert scrape(topic, Position({0: 50}, 3, "same"))[("daybook_topic_unfit",)] == 1


def test_a_loss_of_unknown_number_counts(own_settings: Settings, scrape: Callable[..., Any]) -> None:
    SmallLake(own_settings).accept_loss("the topic was deleted and created again", "moved")
    shown = scrape(TopicState("same", first={0: 0}, end={0: 50}, retention_ms=WEEK_MS), Position({0: 50}, 3, "same"))
    assert shown[("daybook_accepted_losses",)] == 1
    assert shown[("daybook_accepted_loss_records",)] == 0


def test_a_landing_refuses_an_unfit_topic() -> None:
    topic = TopicState("one", first={0: 0}, end={0: 50}, retention_ms=WEEK_MS, unfit="topic events is compacted")
    with pytest.raises(
        NonRetryableError, match=r"^2026-05-03: topic events is compacted\. Nothing was landed or published$"
    ):
        landing._refuse_unfit(topic, DAY)


def test_a_landing_refuses_gaps_that_nothing_explains_and_names_them(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daybook.kafka.log_gaps.unexplained", lambda *_: [(3, 6), (9, 9)])
    with_gaps = [LandedRange(0, 0, 20, 15, gaps=5), LandedRange(1, 0, 20, 20)]
    with pytest.raises(NonRetryableError) as refused:
        landing._refuse_gaps(own_settings, Position({}), with_gaps, DAY)
    assert (
        "4 records lost inside the log, offsets 3..6 of partition 0; "
        "1 records lost inside the log, offsets 9..9 of partition 0. No transaction's marker" in str(refused.value)
    )
    assert "partition 1" not in str(refused.value), "a partition without gaps is not read again"
    accepted = "; ".join(losses.gaps_of(own_settings, {0: (0, 20)}))
    monkeypatch.setattr(landing, "accepted_gaps", lambda *_: set(accepted.split("; ")))
    landing._refuse_gaps(own_settings, Position({}), with_gaps, DAY)
    monkeypatch.setattr("daybook.kafka.log_gaps.unexplained", lambda *_: [(3, 6), (9, 10)])
    with pytest.raises(NonRetryableError, match=r"offsets 9\.\.10 of partition 0\. No transaction"):
        landing._refuse_gaps(own_settings, Position({}), with_gaps, DAY)


def test_many_gaps_are_counted_and_some_are_named() -> None:
    assert losses.shown([f"gap {number}" for number in range(9)]) == (
        "gap 0; gap 1; gap 2; gap 3; gap 4; and 4 more such gaps"
    )


def test_hidden_is_what_lies_between_the_two_ends() -> None:
    assert offsets.hidden({0: 3, 1: 7, 2: 9}, {0: 5, 1: 7, 2: 8}) == {0: 2}


def test_a_backup_reports_records_hidden_by_a_transaction(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    topic = TopicState("one", first={0: 0}, end={0: 3}, retention_ms=-1, hidden={0: 30})
    monkeypatch.setattr(backup, "topic_state", lambda _: topic)
    monkeypatch.setattr("daybook.stack.kafka.port_is_free", lambda _: False)
    left_out: list[str] = []
    taken = SimpleNamespace(take=lambda *_: None)
    assert backup._take_records(own_settings, Position({0: 3}, 1), taken, tmp_path, left_out) == 0  # type: ignore[arg-type]  # its one method
    assert left_out == [
        "up to 30 records that are not landed yet: an open transaction hides them. Back up again when it has ended"
    ]
