"""The wait for Kafka's end offsets, against the real broker, on separate topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from confluent_kafka import Producer

from daybook.kafka.config import librdkafka_conf
from daybook_airflow.offsets_sensor import KafkaOffsetsSensor
from daybook_airflow.offsets_trigger import KafkaOffsetsTrigger
from tests.integration.own_topic import Topic

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = "2026-05-03"


def wait_on(topic: Topic | str, **kwargs: Any) -> KafkaOffsetsSensor:
    """Make the sensor for a topic, as the DAG does. A missing topic is passed by name."""
    name = topic if isinstance(topic, str) else topic.name
    return KafkaOffsetsSensor(
        **{"task_id": "wait_for_offsets", "topic": name, "day": DAY, "poke_interval": 0.2, **kwargs}
    )


@pytest.fixture
def topic(stack: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", stack.env["AIRFLOW_CONN_KAFKA_DEFAULT"])
    topic = Topic(stack.settings)
    yield topic
    topic.delete()


def deferred(sensor: KafkaOffsetsSensor) -> KafkaOffsetsTrigger:
    """Return the trigger to which the sensor defers, created from its serialised form as by the triggerer."""
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute({})
    _, kwargs = caught.value.trigger.serialize()
    assert caught.value.timeout > timedelta(0)
    return KafkaOffsetsTrigger(**kwargs)


async def payload(trigger: KafkaOffsetsTrigger) -> dict[str, Any]:
    event = await anext(aiter(trigger.run()))
    result: dict[str, Any] = event.payload
    return result


def test_existing_offsets_are_frozen_at_once(topic: Topic) -> None:
    topic.produce(0, 3)
    # three records: the highest acknowledged offset is 2. Partition 1 has no records, but is frozen too
    assert wait_on(topic, targets='{"0": 2}').execute({}) == {"0": 3, "1": 0}


def test_live_traffic_of_a_closed_day_is_frozen_at_once(topic: Topic) -> None:
    topic.produce(1)
    assert wait_on(topic, targets="null", not_before="2026-05-04T00:15:00Z").execute({}) == {"0": 0, "1": 1}


def test_missing_offsets_of_every_partition_are_waited_for(topic: Topic) -> None:
    topic.produce(0, 3)
    trigger = deferred(wait_on(topic, targets={"0": 2, "1": 1}))

    async def fill_while_waiting() -> tuple[bool, dict[str, Any]]:
        waiting = asyncio.create_task(payload(trigger))
        await asyncio.to_thread(topic.produce, 1)  # offset 0: one short of the target
        done, _ = await asyncio.wait([waiting], timeout=1)
        await asyncio.to_thread(topic.produce, 1)
        return bool(done), await asyncio.wait_for(waiting, 30)

    too_early, event = asyncio.run(fill_while_waiting())
    assert not too_early, "it ended before the acknowledged offset was visible"
    assert event == {"offsets": {"0": 3, "1": 2}}
    assert wait_on(topic).resume({}, event) == {"0": 3, "1": 2}


def test_an_open_day_is_frozen_with_what_came_until_it_closed(topic: Topic) -> None:
    closes_at = datetime.now(UTC) + timedelta(seconds=2)
    trigger = deferred(wait_on(topic, not_before=closes_at.isoformat(), timeout=0))

    async def fill_while_waiting() -> dict[str, Any]:
        waiting = asyncio.create_task(payload(trigger))
        await asyncio.to_thread(topic.produce, 0, 5)
        return await asyncio.wait_for(waiting, 30)

    assert asyncio.run(fill_while_waiting()) == {"offsets": {"0": 5, "1": 0}}
    assert datetime.now(UTC) >= closes_at


def test_a_wait_that_times_out_names_what_is_missing(topic: Topic) -> None:
    event = asyncio.run(payload(deferred(wait_on(topic, targets={"1": 7}, timeout=0.5))))
    assert event == {
        "timeout": f"{DAY}: waited too long for topic '{topic.name}': partition 1 ends at 0, offset 7 was acknowledged"
        "; nothing was frozen and the lake is unchanged. See `daybook status`, then clear wait_for_offsets"
    }


def test_an_open_transaction_is_waited_for_and_named(topic: Topic, stack: Any) -> None:
    holder = Producer({**librdkafka_conf(stack.settings), "transactional.id": topic.name})
    holder.init_transactions(20)
    holder.begin_transaction()
    for _ in range(2):
        holder.produce(topic.name, b"held open", partition=0)
    assert holder.flush(20) == 0
    topic.produce(0, 30)  # acknowledged, but hidden behind the two
    late = asyncio.run(payload(deferred(wait_on(topic, timeout=0.5))))
    assert "an open transaction hides 32 offsets from 0 of partition 0; nothing was frozen" in late["timeout"]
    trigger = deferred(wait_on(topic))

    async def end_while_waiting() -> tuple[bool, dict[str, Any]]:
        waiting = asyncio.create_task(payload(trigger))
        done, _ = await asyncio.wait([waiting], timeout=1)
        await asyncio.to_thread(holder.abort_transaction, 20)
        return bool(done), await asyncio.wait_for(waiting, 30)

    too_early, event = asyncio.run(end_while_waiting())
    assert not too_early, "it froze an end before what was acknowledged"
    assert event == {"offsets": {"0": 33, "1": 0}}


def test_a_missing_topic_fails_at_once_and_is_not_made_by_looking(topic: Topic) -> None:
    missing = f"{topic.name}-missing"
    for _ in range(2):
        with pytest.raises(AirflowFailException) as caught:
            wait_on(missing).execute({})
        assert str(caught.value) == (
            f"{DAY}: Kafka has no topic '{missing}', so there is nothing to land; the lake is unchanged. "
            "Create the topic (`daybook create-topic`), then clear wait_for_offsets"
        )
    assert missing not in topic.admin.list_topics(timeout=30).topics


def test_a_recreated_topic_with_fewer_partitions_fails_at_once(topic: Topic) -> None:
    with pytest.raises(
        AirflowFailException, match=r"acknowledged in partition 2 .* has 2 partitions now: it was recreated"
    ):
        wait_on(topic, targets={"0": 0, "2": 9}).execute({})


def test_waiting_leaves_no_consumer_group_behind(topic: Topic) -> None:
    topic.produce(0)
    before = {group.group_id for group in topic.admin.list_consumer_groups().result(30).valid}
    wait_on(topic, targets={"0": 0}).execute({})
    assert {group.group_id for group in topic.admin.list_consumer_groups().result(30).valid} == before
