"""Landing from a real broker's log over a year: gaps, losses, new partitions, a recreated topic."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # their documented home
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from pyspark.sql import SparkSession

from daybook.cli import corrections
from daybook.contract import EXAMPLES, client_event, complete, encode
from daybook.errors import BadInput, DaybookError, NonRetryableError
from daybook.kafka.admin import kafka_admin
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.offsets import (
    BrokerUnavailable,
    TopicMissing,
    config_of,
    count_committed,
    topic_offsets,
    topic_state,
)
from daybook.kafka.topic_rules import topic_config
from daybook.lake.catalog import load
from daybook.lake.tables import RAW_EVENTS, spark_name
from daybook.pipeline.balance import LandedRange
from daybook.pipeline.losses import retention_warning
from daybook.pipeline.position import accepted_losses, position
from daybook.settings import Settings
from daybook_spark import landing
from daybook_spark.landing import land
from tests.integration.own_broker import OwnBroker, own_settings, until

pytestmark = pytest.mark.long

DAY = date(2026, 5, 3)


class Log:
    """A topic of a real broker, and its landings."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings = spark, settings
        self.admin = kafka_admin(settings)
        self.sent: list[str] = []
        self.create(partitions=2)

    def create(self, partitions: int) -> None:
        topic = NewTopic(self.settings.kafka_topic, partitions, 1, config=topic_config(self.settings))
        [made] = self.admin.create_topics([topic]).values()
        made.result(20)
        until(lambda: self.partitions() == partitions, "the topic is there")

    def alter(self, **values: str) -> None:
        """Change the topic's configuration; ``cleanup_policy`` is ``cleanup.policy``."""
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in values.items()
        ]
        topic = ConfigResource(ResourceType.TOPIC, self.settings.kafka_topic, incremental_configs=entries)
        [changed] = self.admin.incremental_alter_configs([topic]).values()
        changed.result(20)
        wanted = {one.name: one.value for one in entries}
        until(lambda: config_of(self.admin, self.settings.kafka_topic).items() >= wanted.items(), "it is changed")

    def delete(self) -> None:
        [gone] = self.admin.delete_topics([self.settings.kafka_topic]).values()
        gone.result(20)
        until(lambda: self.partitions() == 0, "the topic is gone")

    def partitions(self) -> int | None:
        """Return the number of partitions; None while the broker is not ready."""
        try:
            return len(topic_offsets(self.admin, self.settings.kafka_topic))
        except TopicMissing:
            return 0
        except BrokerUnavailable:
            return None

    def send(
        self, count: int, *, partition: int = 0, producer: Producer | None = None, taken_at: datetime | None = None
    ) -> list[str]:
        """Append events; return their ids."""
        chosen = producer or Producer(librdkafka_conf(self.settings))
        ids = [str(uuid4()) for _ in range(count)]
        for one in ids:
            event = client_event.validate_python({**EXAMPLES["purchase_item"], "event_id": one})
            record = complete(event, received_at=datetime.now(UTC), request_host="", user_agent="")
            moment = int(taken_at.timestamp() * 1000) if taken_at else 0  # 0: now
            chosen.produce(self.settings.kafka_topic, encode(record), b"key", partition=partition, timestamp=moment)
        assert chosen.flush(30) == 0
        return ids

    def land(self) -> list[LandedRange]:
        """Freeze the end offsets and land."""
        return land(self.spark, self.settings, topic_offsets(self.admin, self.settings.kafka_topic), DAY, str(uuid4()))

    def landed(self) -> list[str]:
        """Return the ids in ``raw_events``, each as often as it is there."""
        return sorted(row.event_id for row in self.spark.table(spark_name(RAW_EVENTS)).collect())

    def is_served(self) -> bool:
        """Whether every partition is available."""
        try:
            return len(topic_state(self.settings).end) == 2
        except DaybookError:  # a broker that has just started does not lead its partitions yet
            return False

    def is_empty(self) -> bool:
        """Whether partition 0 is available and empty."""
        try:
            return topic_state(self.settings).end[0] == 0
        except DaybookError:  # a broker that has just started does not lead its partitions yet
            return False

    def drop_before(self, offset: int, partition: int = 0) -> None:
        """Delete records from the front, as retention does."""
        [done] = self.admin.delete_records([TopicPartition(self.settings.kafka_topic, partition, offset)]).values()
        done.result(20)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with OwnBroker(own_settings(tmp_path_factory.mktemp("landing"))) as running:
        yield running


@pytest.fixture
def log(spark: SparkSession, lake: Settings, broker: OwnBroker) -> Log:
    names = {"lake_catalog_uri": lake.catalog_uri, "lake_warehouse": lake.warehouse, "kafka_topic": f"t{uuid4().hex}"}
    return Log(spark, broker.settings.model_copy(update=names))


@pytest.fixture
def accept_loss(log: Log, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run ``daybook accept-loss`` in this process."""
    monkeypatch.setattr(corrections, "load_settings", lambda: log.settings)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(corrections.accept_loss, arguments, catch_exceptions=False).output

    return run


def test_every_landing_continues_where_the_last_one_ended(log: Log) -> None:
    first = log.send(3) + log.send(2, partition=1)
    assert log.land() == [LandedRange(0, 0, 3, 3, landing=1), LandedRange(1, 0, 2, 2, landing=1)]
    second = log.send(4)
    assert log.land() == [LandedRange(0, 3, 7, 4, landing=2)]
    assert log.land() == []
    assert log.landed() == sorted(first + second)


def test_partitions_added_later_are_landed_from_their_start(log: Log) -> None:
    ids = log.send(2)
    log.land()
    [more] = log.admin.create_partitions([NewPartitions(log.settings.kafka_topic, 4)]).values()
    more.result(20)
    until(lambda: log.partitions() == 4, "four partitions")
    ids += log.send(3, partition=3)
    assert log.land() == [LandedRange(3, 0, 3, 3, landing=2)]
    assert log.landed() == sorted(ids)


def test_transaction_markers_and_aborted_records_are_gaps_that_are_counted(log: Log) -> None:
    producer = Producer({**librdkafka_conf(log.settings), "transactional.id": str(uuid4())})
    producer.init_transactions(20)
    producer.begin_transaction()
    kept = log.send(5, producer=producer)
    producer.commit_transaction(20)
    producer.begin_transaction()
    log.send(4, producer=producer)
    producer.abort_transaction(20)
    kept += log.send(2)
    # 5 records and a marker, 4 aborted records and a marker, 2 records
    assert log.land() == [LandedRange(0, 0, 13, 7, gaps=6, landing=1)]
    assert log.landed() == sorted(kept)


def test_a_large_range_is_read_by_several_tasks_some_of_which_find_nothing(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "RECORDS_OF_A_TASK", 2)
    producer = Producer({**librdkafka_conf(log.settings), "transactional.id": str(uuid4())})
    producer.init_transactions(20)
    kept = log.send(3)
    producer.begin_transaction()
    log.send(9, producer=producer)
    producer.abort_transaction(20)
    kept += log.send(2)
    assert landing.kafka_range(log.spark, log.settings, {0: 0}, {0: 15}).rdd.getNumPartitions() == 8
    assert log.land() == [LandedRange(0, 0, 15, 5, gaps=10, landing=1)]
    assert log.landed() == sorted(kept)


def test_records_that_retention_took_are_refused_with_their_offsets_until_the_loss_is_accepted(
    log: Log, accept_loss: Callable[..., str]
) -> None:
    ids = log.send(3)
    log.land()
    log.send(4)
    kept = log.send(2)
    log.drop_before(7)
    for _ in range(2):  # a retry does not help
        with pytest.raises(DaybookError, match=r"4 records lost, offsets 3\.\.6 of partition 0") as error:
            log.land()
    assert "daybook accept-loss" in str(error.value)
    assert "4 records lost" in accept_loss()
    with pytest.raises(DaybookError):  # looking at the loss does not accept it
        log.land()

    assert "Accepted" in accept_loss("--note", "the broker's disk was full")

    assert log.land() == [LandedRange(0, 7, 9, 2, landing=2)]
    assert log.landed() == sorted(ids + kept)
    [row] = accepted_losses(log.settings)
    assert (row["records"], row["note"], row["accepted_by"]) == (4, "the broker's disk was full", getpass.getuser())
    with pytest.raises(BadInput, match="nothing is lost"):
        accept_loss("--note", "again")


def test_an_accepted_loss_holds_for_that_loss_alone(log: Log, accept_loss: Callable[..., str]) -> None:
    log.send(1)
    log.land()
    log.send(2)
    log.drop_before(2)
    accept_loss("--note", "first")
    log.drop_before(3)
    with pytest.raises(DaybookError, match=r"1 records lost, offsets 2\.\.2 of partition 0"):
        log.land()


def test_a_recreated_topic_is_refused_although_its_offsets_look_right(
    log: Log, accept_loss: Callable[..., str]
) -> None:
    before = log.send(3)
    log.land()
    log.delete()
    log.create(partitions=2)
    after = log.send(5)
    with pytest.raises(DaybookError, match="deleted and created again"):
        log.land()
    accept_loss("--note", "moved to a new cluster")
    assert log.land() == [LandedRange(0, 0, 5, 5, landing=2)]
    assert log.landed() == sorted(before + after)
    assert log.land() == []


def test_a_truncated_log_is_refused(log: Log, broker: OwnBroker, accept_loss: Callable[..., str]) -> None:
    """The disk of the only replica lost the partition: the same topic, but it ends before the position."""
    before = log.send(5)
    log.land()
    log.send(2)
    broker.kill()
    [folder] = broker.settings.home.rglob(f"{log.settings.kafka_topic}-0")
    shutil.rmtree(folder)
    broker.start()
    until(log.is_empty, "the partition is served again")
    with pytest.raises(DaybookError, match=r"partition 0 ends at 0, before offset 5, .* truncated"):
        log.land()
    accept_loss("--note", "disk replaced")
    after = log.send(3)
    assert log.land() == [LandedRange(0, 0, 3, 3, landing=2)]
    assert log.landed() == sorted(before + after)


def test_a_log_that_went_back_and_grew_again_is_refused(
    log: Log, broker: OwnBroker, accept_loss: Callable[..., str], tmp_path: Path
) -> None:
    """Kafka is restored from an older copy of its disk; new records then get offsets that were already landed."""
    old = log.send(3)
    log.land()
    copy_of = copied(log, broker, tmp_path)
    lost = log.send(2)
    log.land()
    put_back(log, broker, copy_of)
    after = log.send(4)  # offsets 3 to 6: the lake's position is 5
    with pytest.raises(
        DaybookError, match=r"offset 4 of partition 0, the last one landed, now holds a different record"
    ):
        log.land()
    accept_loss("--note", "disk restored")
    assert log.land() == [LandedRange(0, 0, 7, 7, landing=3)]
    assert set(log.landed()) == {*old, *lost, *after}
    assert log.landed().count(old[0]) == 2  # the id repeats, so it counts as a duplicate
    assert log.land() == []


def test_after_a_truncation_nothing_that_was_sent_since_is_passed_over(
    log: Log, broker: OwnBroker, accept_loss: Callable[..., str], tmp_path: Path
) -> None:
    """The restored log is older; it has grown again, but not up to the lake's position."""
    log.send(3)
    log.land()
    copy_of = copied(log, broker, tmp_path)
    log.send(4)
    log.land()
    put_back(log, broker, copy_of)
    after = log.send(2)
    with pytest.raises(DaybookError, match=r"partition 0 ends at 5, before offset 7, .* truncated"):
        log.land()
    accept_loss("--note", "disk restored")
    log.land()
    assert set(after) <= set(log.landed())


def copied(log: Log, broker: OwnBroker, folder: Path) -> Path:
    """Copy the topic's partition 0 while the broker is down."""
    broker.kill()
    [partition] = broker.settings.home.rglob(f"{log.settings.kafka_topic}-0")
    shutil.copytree(partition, folder / "copy")
    broker.start()
    until(log.is_served, "the partition is served again")
    return folder / "copy"


def put_back(log: Log, broker: OwnBroker, copy_of: Path) -> None:
    broker.kill()
    [partition] = broker.settings.home.rglob(f"{log.settings.kafka_topic}-0")
    shutil.rmtree(partition)
    shutil.copytree(copy_of, partition)
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint"):
        (partition.parent / name).unlink(missing_ok=True)  # they belong to the newer log
    broker.start()
    until(log.is_served, "the partition is served again")


def test_a_range_that_was_truncated_after_it_was_frozen_is_refused(log: Log) -> None:
    log.send(2)
    with pytest.raises(DaybookError, match=r"partition 0 ends at 2, before the frozen end 5"):
        land(log.spark, log.settings, {0: 5, 1: 0}, DAY, "frozen")
    assert log.landed() == []


def test_an_unavailable_broker_is_reported_and_nothing_moves(log: Log) -> None:
    away = log.settings.model_copy(update={"kafka_port": own_settings(log.settings.home).kafka_port})
    with pytest.raises(DaybookError, match=r"does not answer.*nothing was changed"):
        land(log.spark, away, {0: 1}, DAY, "away")
    table = load(log.settings, RAW_EVENTS)
    assert table is not None
    assert table.current_snapshot() is None


def test_a_landing_staged_by_a_killed_run_is_published_by_the_next_even_if_kafka_lost_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = log.send(4)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("daybook_spark.landing.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            log.land()
    assert log.landed() == []
    log.drop_before(4)
    assert log.land() == [LandedRange(0, 0, 4, 4, landing=1)]
    assert log.landed() == sorted(ids)


def test_a_range_that_another_run_lands_before_ours_is_staged_is_landed_once(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our staged snapshot is then based on the other run's records: it has each offset twice."""
    ids = log.send(4)
    stage = landing._stage
    behind: list[list[LandedRange]] = []

    def stage_late(*arguments: Any) -> Any:
        monkeypatch.setattr(landing, "_stage", stage)
        behind.append(log.land())
        return stage(*arguments)

    monkeypatch.setattr(landing, "_stage", stage_late)
    assert log.land() == []
    assert behind == [[LandedRange(0, 0, 4, 4, landing=1)]]
    assert log.landed() == sorted(ids)


def test_it_warns_when_the_oldest_record_has_used_half_of_the_retention(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.alter(retention_ms=str(4 * 24 * 3_600_000))
    log.send(1, partition=1)

    def warning(after: timedelta) -> str | None:
        now = datetime.now(UTC) + after
        return retention_warning(
            log.settings, position(log.settings, load(log.settings, RAW_EVENTS)), topic_state(log.settings), now
        )

    assert warning(timedelta(days=1.9)) is None
    assert "offset 0 of partition 1 has waited 2.1 days of the 4.0 days" in (warning(timedelta(days=2.1)) or "")
    log.land()
    assert warning(timedelta(days=2.1)) is None
    warned = capsys.readouterr().out.splitlines()
    assert [line for line in warned if "WARNING" in line] == [
        f"WARNING {DAY}: topic {log.settings.kafka_topic}: retention.ms is 345600000, the settings specify 2592000000: "
        "Kafka deletes records sooner, landed or not. `daybook create-topic --set` sets it"
    ]
    log.alter(message_timestamp_type="CreateTime")  # with LogAppendTime a record cannot be two days old yet
    log.send(1, taken_at=datetime.now(UTC) - timedelta(days=2.2))
    log.land()
    printed = capsys.readouterr().out
    assert f"WARNING {DAY}: offset 0 of partition 0 has waited 2.2 days of the 4.0 days" in printed
    assert "message.timestamp.type is CreateTime, the settings specify LogAppendTime" in printed


def test_a_sender_cannot_set_the_time_of_receipt(log: Log) -> None:
    log.send(1, taken_at=datetime.now(UTC) - timedelta(days=20))
    log.land()
    [row] = log.spark.table(spark_name(RAW_EVENTS)).collect()
    assert abs(datetime.now(UTC) - row.kafka_timestamp.astimezone(UTC)) < timedelta(minutes=5)


def test_records_lost_by_compaction_stop_the_day_until_the_loss_is_accepted(
    log: Log, accept_loss: Callable[..., str]
) -> None:
    """All records have one key: Kafka's cleaner leaves only the newest of those that it may delete."""
    log.send(30)
    fast = {"segment_ms": "1000", "min_cleanable_dirty_ratio": "0.01", "max_compaction_lag_ms": "1000"}
    log.alter(cleanup_policy="compact", **fast)
    with pytest.raises(NonRetryableError, match=r"has cleanup\.policy=compact: .*Nothing was landed or published"):
        log.land()
    assert log.landed() == []

    def is_cleaned() -> bool:
        log.send(1)  # rolls the segment: the cleaner skips the active one
        return count_committed(log.settings, 0, 0, 30) < 30

    until(is_cleaned, "the cleaner has run", 90, 1.1)
    log.alter(cleanup_policy="delete")
    with pytest.raises(
        NonRetryableError, match=r"records lost inside the log, offsets 0\.\.\d+ of partition 0"
    ) as refused:
        log.land()
    assert "No transaction's marker is there" in str(refused.value)
    assert log.landed() == []
    assert "records lost inside the log, offsets 0.." in accept_loss()
    accept_loss("--note", "somebody compacted the topic")
    [landed] = log.land()
    assert landed.gaps > 0
    assert len(log.landed()) == landed.records
    with pytest.raises(BadInput, match="nothing is lost"):
        accept_loss()
