"""The intake's readiness checks the topic's configuration: cheaply, and also without permission to read it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from daybook.settings import Settings
from game_api import producer
from game_api.producer import CONFIG_CACHE_SECONDS, _TopicWatch


@pytest.fixture
def broker_state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The broker's replies; ``now`` is the clock, ``looks`` counts the requests."""
    state: dict[str, Any] = {"config": {"cleanup.policy": "delete"}, "now": 1000.0, "looks": 0}

    def config_of(*_: object) -> dict[str, str]:
        state["looks"] += 1
        if isinstance(state["config"], KafkaException):
            raise state["config"]
        config: dict[str, str] = state["config"]
        return config

    described = SimpleNamespace(partitions=[SimpleNamespace(replicas=[1])])
    admin = SimpleNamespace(describe_topics=lambda *_, **__: {"events": None}, answer=lambda _: described)
    monkeypatch.setattr(producer, "kafka_admin", lambda _: admin)
    monkeypatch.setattr(producer, "config_of", config_of)
    monkeypatch.setattr(producer, "time", SimpleNamespace(monotonic=lambda: state["now"]))
    return state


def test_the_broker_is_asked_once_in_a_while(own_settings: Settings, broker_state: dict[str, Any]) -> None:
    watch = _TopicWatch(own_settings)
    for _ in range(9):
        assert watch.is_fit()
        broker_state["now"] += 1
    assert broker_state["looks"] == 1
    broker_state["config"] = {"cleanup.policy": "compact"}
    assert watch.is_fit(), "what it was is relied on for a while"
    broker_state["now"] += CONFIG_CACHE_SECONDS
    with capture_logs() as logs:
        assert not watch.is_fit()
        broker_state["now"] += CONFIG_CACHE_SECONDS + 1
        assert not watch.is_fit()
    assert [one["event"].startswith("not ready: topic events has cleanup.policy=compact") for one in logs] == [True]
    broker_state["config"] = {"cleanup.policy": "delete"}
    broker_state["now"] += CONFIG_CACHE_SECONDS + 1
    assert watch.is_fit()


def test_without_the_right_to_describe_it_is_ready_and_warns_once(
    own_settings: Settings, broker_state: dict[str, Any]
) -> None:
    broker_state["config"] = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    watch = _TopicWatch(own_settings)
    with capture_logs() as logs:
        for _ in range(3):
            assert watch.is_fit()
            broker_state["now"] += CONFIG_CACHE_SECONDS + 1
    assert broker_state["looks"] == 3
    [line] = [one["event"] for one in logs]
    assert "docs/kafka.md" in line
    assert "Only landing detects a compacted topic" in line


def test_a_broker_that_does_not_answer_leaves_it_as_it_was(
    own_settings: Settings, broker_state: dict[str, Any]
) -> None:
    watch = _TopicWatch(own_settings)
    broker_state["config"] = {"cleanup.policy": "compact"}
    assert not watch.is_fit()
    broker_state["config"] = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    broker_state["now"] += CONFIG_CACHE_SECONDS + 1
    assert not watch.is_fit()


def test_a_topic_weaker_than_the_settings_causes_one_warning(
    own_settings: Settings, broker_state: dict[str, Any]
) -> None:
    broker_state["config"] = {"message.timestamp.type": "CreateTime"}
    watch = _TopicWatch(own_settings)
    with capture_logs() as logs:
        for _ in range(3):
            assert watch.is_fit()
            broker_state["now"] += CONFIG_CACHE_SECONDS + 1
    assert len(logs) == 1
    assert "message.timestamp.type is CreateTime" in logs[0]["event"]
