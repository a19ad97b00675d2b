"""The embedded broker's life: other shells, a lost log, a topic that somebody reconfigures or blocks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # their documented home
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from daybook.errors import NonRetryableError
from daybook.kafka.admin import kafka_admin
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.known_topics import noted_topic
from daybook.kafka.log_gaps import unexplained
from daybook.kafka.offsets import config_of, topic_state
from daybook.kafka.topic import ensure_topic
from daybook.settings import Settings
from daybook.stack import kafka
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, records, until

pytestmark = [pytest.mark.integration, pytest.mark.long]


def send(settings: Settings, count: int, partition: int = 0, key: bytes = b"key") -> None:
    """Send records; return when they are acknowledged."""
    producer = Producer({**librdkafka_conf(settings), "acks": "all"})
    for number in range(count):
        producer.produce(settings.kafka_topic, str(number).encode(), key, partition=partition)
    assert producer.flush(30) == 0


def alter(settings: Settings, **values: str) -> None:
    """Change the topic's configuration, as an administrator would; ``cleanup_policy`` is ``cleanup.policy``."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in values.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, settings.kafka_topic, incremental_configs=entries)
    admin = kafka_admin(settings)
    [done] = admin.incremental_alter_configs([resource]).values()
    done.result(20)
    wanted = {one.name: one.value for one in entries}
    until(lambda: config_of(admin, settings.kafka_topic).items() >= wanted.items(), "it is changed")


@pytest.fixture
def own(settings: Settings, broker: OwnBroker, request: pytest.FixtureRequest) -> Settings:
    """The broker with a topic for one test."""
    chosen = settings.model_copy(
        update={"kafka_topic": f"topic-of-{request.node.name}"[:200].replace("[", "-").strip("]")}
    )
    ensure_topic(chosen)
    return chosen


def test_a_log_outlives_a_shell_of_another_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = own_settings(tmp_path / "home")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=ar -Duser.country=EG")
    monkeypatch.setenv("_JAVA_OPTIONS", "-Duser.language=fa -Duser.country=IR")
    with OwnBroker(settings) as broker:
        send(settings, 5)
        broker.kill()
        monkeypatch.delenv("JAVA_TOOL_OPTIONS")
        monkeypatch.delenv("_JAVA_OPTIONS")
        names = [path.name for path in (settings.home / "kafka").rglob("*")]
        assert any(name.endswith(".log") for name in names)
        assert [name for name in names if not name.isascii()] == []
        broker.start()
        assert len(records(settings)) == 5


def test_a_topic_that_the_broker_has_lost_is_not_made_again(tmp_path: Path) -> None:
    settings = own_settings(tmp_path / "home")
    with OwnBroker(settings) as broker:
        send(settings, 3)
        known = topic_state(settings).topic_id
        assert noted_topic(settings) == known
        broker.kill()
    shutil.rmtree(settings.home / "kafka")
    with (
        pytest.raises(NonRetryableError, match=rf"has lost topic events \({re.escape(known)}\).*Nothing was created"),
        OwnBroker(settings),
    ):
        pass
    with running(settings):
        assert settings.kafka_topic not in kafka_admin(settings).list_topics(timeout=10).topics
        with pytest.raises(NonRetryableError, match="`daybook create-topic --recreate` creates an empty topic"):
            ensure_topic(settings)
        made, message = ensure_topic(settings, recreate=True)
        assert made.startswith("created topic events: 3 partitions")
        assert f"not {known}" in message
        assert kafka.trouble(settings) is None
        assert noted_topic(settings) == topic_state(settings).topic_id != known


@contextmanager
def running(settings: Settings) -> Iterator[OwnBroker]:
    """Run the broker from the moment that it answers; the topic may still be missing."""
    broker = OwnBroker(settings)
    try:
        broker.begin()
        until(lambda: not kafka.port_is_free(settings.kafka_port), "the broker answers")
        yield broker
    finally:
        broker.kill()


def test_a_record_carries_the_brokers_time(own: Settings) -> None:
    producer = Producer(librdkafka_conf(own))
    producer.produce(own.kafka_topic, b"{}", b"key", partition=0, timestamp=86_400_000)  # a timestamp in 1970
    assert producer.flush(30) == 0
    [record] = records(own).values()
    at = record.timestamp()[1] / 1000
    assert at == pytest.approx(Path(own.home / "kafka" / f"{own.kafka_topic}-0").stat().st_mtime, abs=600)


def test_the_only_replica_is_written_to_the_disk_before_it_is_acknowledged(own: Settings) -> None:
    assert config_of(kafka_admin(own), own.kafka_topic)["flush.messages"] == "1"


def test_up_brings_an_older_topic_forward_and_shortens_no_retention(own: Settings) -> None:
    alter(own, message_timestamp_type="CreateTime", retention_ms=str(90 * 86_400_000), flush_messages="5")
    assert topic_state(own).doubts
    kept, *lines = ensure_topic(own)
    assert kept.startswith("kept topic")
    assert [line.partition(";")[0] for line in lines] == [
        f"its retention.ms is {90 * 86_400_000}, the settings specify {30 * 86_400_000}",
        "its message.timestamp.type is CreateTime, the settings specify LogAppendTime",
        "its flush.messages is 5, the settings specify 1",
    ]
    _, brought, left = ensure_topic(own, set_config=True)
    assert brought == "set message.timestamp.type to LogAppendTime (it was CreateTime), flush.messages to 1 (it was 5)"
    assert left.startswith("its retention.ms is")
    config = config_of(kafka_admin(own), own.kafka_topic)
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["retention.ms"] == str(90 * 86_400_000)
    until(lambda: not topic_state(own).doubts, "no doubt is left")


def test_an_intake_is_not_ready_on_a_topic_that_loses_events(
    settings: Settings, broker: OwnBroker, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"home": tmp_path, "kafka_topic": "watched-by-the-intake"})
    ensure_topic(own)
    with OwnIntake(own) as intake:
        until(lambda: intake.status("/health/ready") == 200, "ready")
        alter(own, cleanup_policy="compact")
        until(lambda: intake.status("/health/ready") == 503, "not ready", 30, 0.5)
        assert "cleanup.policy=compact: Kafka would remove all but the newest event of a user" in intake.log.read_text()
        alter(own, cleanup_policy="delete")
        until(lambda: intake.status("/health/ready") == 200, "ready again", 30, 0.5)


@contextmanager
def open_transaction(settings: Settings, count: int) -> Iterator[Producer]:
    """Run another producer that has sent this many records to partition 0, and neither commits nor aborts them."""
    conf = {"transactional.id": f"of-{settings.kafka_topic}", "transaction.timeout.ms": 600_000}
    producer = Producer({**librdkafka_conf(settings), **conf})
    producer.init_transactions(20)
    producer.begin_transaction()
    for _ in range(count):
        producer.produce(settings.kafka_topic, b"held open", partition=0)
    assert producer.flush(20) == 0
    try:
        yield producer
    finally:
        producer.abort_transaction(20)


def test_an_open_transaction_parts_the_two_ends(own: Settings) -> None:
    send(own, 3)
    with open_transaction(own, 2):
        send(own, 30)  # acknowledged, but hidden behind the two
        state = topic_state(own)
        assert (state.end[0], state.log_end[0], state.hidden) == (3, 35, {0: 32})
    until(lambda: topic_state(own).hidden == {}, "the transaction has ended")
    assert topic_state(own).end[0] == 36  # with its transaction marker


def test_a_marker_explains_a_gap_and_compaction_does_not(own: Settings) -> None:
    send(own, 3, key=b"a")
    with open_transaction(own, 2):
        pass
    send(own, 30, key=b"player")  # offsets 6 to 35
    assert unexplained(own, 0, 0, 36) == []
    # the cleaner runs every 15 seconds, on segments that are no longer written to
    fast = {"segment_ms": "1000", "min_cleanable_dirty_ratio": "0.01", "max_compaction_lag_ms": "1000"}
    alter(own, cleanup_policy="compact", **fast)

    def is_compacted() -> bool:
        send(own, 1, key=uuid4().bytes)
        return unexplained(own, 0, 0, 36) != []

    until(is_compacted, "the cleaner has run", 90, 1.1)
    # the newest record of each key remains, and the marker at offset 5
    assert unexplained(own, 0, 0, 36) == [(0, 1), (3, 4), (6, 34)]
    assert "cleanup.policy=compact" in (topic_state(own).unfit or "")
    alter(own, cleanup_policy="delete")
    assert topic_state(own).unfit is None
    assert unexplained(own, 0, 0, 36) != [], "what is gone stays gone, whatever the policy is now"
