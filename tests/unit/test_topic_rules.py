"""The rules for the topic, the topic that a state folder knows, and the messages about a different one."""

from __future__ import annotations

import pytest

from daybook.errors import DaybookError
from daybook.kafka.known_topics import note_topic, noted_topic
from daybook.kafka.topic_rules import differences, doubts, topic_config, unfit
from daybook.settings import Settings

CLUSTER = Settings(kafka_bootstrap_servers="kafka-1:9092", kafka_replication=3)


@pytest.mark.parametrize("policy", ["compact", "delete,compact", "compact,delete"])
def test_a_compacted_topic_is_unfit_and_the_cure_is_named(policy: str) -> None:
    message = unfit("events", {"cleanup.policy": policy}, 1)
    assert message is not None
    assert f"cleanup.policy={policy}" in message
    assert (
        "kafka-configs.sh --alter --entity-type topics --entity-name events --add-config cleanup.policy=delete"
        in message
    )


def test_a_topic_that_can_acknowledge_nothing_is_unfit() -> None:
    assert "no event can be acknowledged" in (unfit("events", {"min.insync.replicas": "2"}, 1) or "")
    assert unfit("events", {"min.insync.replicas": "2"}, 2) is None


@pytest.mark.parametrize(
    ("replicas", "setting", "flushes"),
    [(1, None, True), (3, None, False), (1, False, False), (3, True, True)],
)
def test_one_replica_is_written_to_the_disk_before_it_is_acknowledged(
    replicas: int, setting: bool | None, flushes: bool
) -> None:
    chosen = Settings(kafka_bootstrap_servers="kafka-1:9092", kafka_replication=replicas, kafka_flush=setting)
    assert (topic_config(chosen).get("flush.messages") == "1") is flushes
    by_default = topic_config(chosen) | {"flush.messages": str(2**63 - 1)}
    assert len(doubts(chosen, by_default)) == flushes


def test_a_topic_as_it_is_made_is_fit_and_beyond_doubt() -> None:
    made = topic_config(CLUSTER)
    assert unfit("events", made, 3) is None
    assert differences(CLUSTER, made) == []
    assert doubts(CLUSTER, made) == []


@pytest.mark.parametrize(
    ("name", "value", "is_weaker"),
    [
        ("retention.ms", "3600000", True),
        ("retention.ms", str(90 * 86_400_000), False),
        ("retention.ms", "-1", False),
        ("retention.bytes", "1000000", True),
        ("message.timestamp.type", "CreateTime", True),
        ("min.insync.replicas", "1", True),
        ("min.insync.replicas", "3", False),
    ],
)
def test_a_topic_weaker_than_the_settings_is_reported(name: str, value: str, is_weaker: bool) -> None:
    config = topic_config(CLUSTER) | {name: value}
    assert [
        str(one).startswith(f"{name} is {value}, the settings specify ") for one in differences(CLUSTER, config)
    ] == [True]
    messages = doubts(CLUSTER, config)
    assert len(messages) == is_weaker
    assert all(
        f"topic events: {name} is {value}" in line and "`daybook create-topic --set`" in line for line in messages
    )


def test_a_state_folder_remembers_the_topic_of_each_cluster(own_settings: Settings) -> None:
    elsewhere = own_settings.model_copy(update={"kafka_bootstrap_servers": "kafka-1:9092"})
    assert noted_topic(own_settings) is None
    note_topic(own_settings, "first")
    assert noted_topic(own_settings) == "first"
    assert noted_topic(elsewhere) is None, "another cluster's topic is another one"
    note_topic(elsewhere, "theirs")
    moved = own_settings.model_copy(update={"kafka_port": 1})
    assert (noted_topic(moved), noted_topic(elsewhere)) == ("first", "theirs")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_an_unreadable_note_is_reported_and_not_treated_as_missing(own_settings: Settings, text: str) -> None:
    note_topic(own_settings, "first")
    (own_settings.home / "topics.json").write_text(text, encoding="utf-8")
    with pytest.raises(DaybookError, match=r"topics\.json.* cannot be read .*Nothing was changed"):
        noted_topic(own_settings)
