"""The sensor's data reaches the triggerer intact, and the triggerer times out with a message.

No test uses a broker.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout
from airflow.triggers.base import TriggerEvent

from daybook.kafka import offsets
from daybook_airflow.offsets_goal import OffsetsGoal
from daybook_airflow.offsets_sensor import KafkaOffsetsSensor
from daybook_airflow.offsets_trigger import KafkaOffsetsTrigger

KWARGS: dict[str, Any] = {
    "topic": "events",
    "day": "2026-05-03",
    "targets": {"0": 12, "2": 0},
    "not_before": "2026-05-04T00:15:00.000000Z",
    "kafka_config_id": "kafka_default",
    "deadline": "2026-05-04T02:15:00+00:00",
    "poll_seconds": 5,
    "log_ends": {"0": 20, "2": 1},
}


@pytest.mark.parametrize("changes", [{}, {"targets": None, "not_before": None, "log_ends": None}])
def test_a_trigger_survives_the_way_to_the_triggerer(changes: dict[str, Any]) -> None:
    path, kwargs = KafkaOffsetsTrigger(**(KWARGS | changes)).serialize()
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))
    assert type(again) is KafkaOffsetsTrigger
    assert again.serialize() == (path, KWARGS | changes)


@pytest.mark.parametrize(
    ("targets", "not_before", "goal_targets", "goal_not_before"),
    [
        ('{"0": 12}', "", {"0": 12}, None),
        ("null", "2026-05-04T00:15:00Z", None, "2026-05-04T00:15:00Z"),
        ("", None, None, None),
        ("{}", None, {}, None),
        ({"0": 12}, None, {"0": 12}, None),
        (None, None, None, None),
    ],
)
def test_rendered_arguments_are_read(
    targets: Any, not_before: str | None, goal_targets: dict[str, int] | None, goal_not_before: str | None
) -> None:
    goal = KafkaOffsetsSensor(
        task_id="wait", topic="events", day="2026-05-03", targets=targets, not_before=not_before
    ).goal()
    assert (goal.targets, goal.not_before) == (goal_targets, goal_not_before)


def test_a_trigger_event_ends_the_wait_with_its_result() -> None:
    sensor = KafkaOffsetsSensor(task_id="wait", topic="events", day="2026-05-03")
    assert sensor.resume({}, {"offsets": {"0": 13}}) == {"0": 13}
    with pytest.raises(AirflowFailException, match=r"^no topic$"):
        sensor.resume({}, {"error": "no topic"})
    with pytest.raises(AirflowSensorTimeout, match=r"^too long$"):
        sensor.resume({}, {"timeout": "too long"})


def test_an_unavailable_broker_is_waited_for_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", _connection("127.0.0.1:1"))
    monkeypatch.setattr(offsets, "REQUEST_TIMEOUT_SECONDS", 0.3)
    began = datetime.now(UTC)
    deadline = began + timedelta(seconds=1)
    trigger = KafkaOffsetsTrigger(
        **(KWARGS | {"not_before": None, "deadline": deadline.isoformat(), "poll_seconds": 0.1})
    )
    payload = asyncio.run(_first_event(trigger)).payload
    assert datetime.now(UTC) >= deadline, "it gave up before the deadline"
    assert payload.keys() == {"timeout"}
    assert payload["timeout"].startswith("2026-05-03: waited too long for topic 'events': Kafka does not answer (")
    assert "then clear wait_for_offsets" in payload["timeout"]


async def _first_event(trigger: KafkaOffsetsTrigger) -> TriggerEvent:
    return await anext(aiter(trigger.run()))


def _connection(bootstrap_servers: str) -> str:
    return json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": bootstrap_servers}})


class FakeHook:
    """A hook that replaces the broker: each look returns the next of the given offsets."""

    def __init__(self, *ends: tuple[dict[int, int], dict[int, int]]) -> None:
        self._ends = iter(ends)

    def end_offsets(self, _topic: str) -> tuple[dict[int, int], dict[int, int]]:
        return next(self._ends)


GOAL = OffsetsGoal(topic="events", day="2026-05-03", targets=None, not_before=None, kafka_config_id="kafka_default")


def test_records_hidden_by_an_open_transaction_are_waited_for() -> None:
    hook = FakeHook(({0: 3, 1: 7}, {0: 33, 1: 7}), ({0: 3, 1: 9}, {0: 40, 1: 9}), ({0: 34, 1: 9}, {0: 41, 1: 9}))
    first = GOAL.look(hook)  # type: ignore[arg-type]  # a hook's one method
    assert first.lacks == "an open transaction hides 30 offsets from 3 of partition 0"
    goal = replace(GOAL, log_ends=first.log_ends)
    assert goal.look(hook).lacks == first.lacks  # type: ignore[arg-type]  # as above
    # later records need not be readable: with a producer whose transactions never end, the wait would not end either
    assert goal.look(hook).offsets == {"0": 34, "1": 9}  # type: ignore[arg-type]  # as above
    assert "hides 30 offsets" in GOAL.timed_out(first.lacks or "")


def test_two_equal_ends_are_frozen_at_once() -> None:
    assert GOAL.look(FakeHook(({0: 3}, {0: 3}))).offsets == {"0": 3}  # type: ignore[arg-type]  # as above


def test_an_end_offset_that_grew_between_two_requests_is_not_a_transaction() -> None:
    """The log's end is read first."""
    assert GOAL.look(FakeHook(({0: 5}, {0: 3}))).offsets == {"0": 5}  # type: ignore[arg-type]  # as above
