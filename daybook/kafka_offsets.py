"""Kafka offsets as Daybook speaks of them: a mapping partition -> offset, JSON with text keys when written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from daybook.errors import DaybookError
from daybook.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

Offsets = dict[int, int]
"""Partition -> offset. An end offset is the one after the last record."""

REQUEST_TIMEOUT_SECONDS = 10.0


def offsets_text(offsets: Offsets) -> str:
    """The offsets as JSON, partitions in order: equal offsets are equal texts.

    >>> offsets_text({1: 7, 0: 3})
    '{"0": 3, "1": 7}'
    """
    return json.dumps({str(partition): offsets[partition] for partition in sorted(offsets)})


def parse_offsets(text: str) -> Offsets:
    """The offsets of a JSON text.

    >>> parse_offsets('{"0": 3, "1": 7}')
    {0: 3, 1: 7}
    """
    return {int(partition): int(offset) for partition, offset in json.loads(text).items()}


class TopicMissing(Exception):
    """The broker answers and knows no such topic."""


class BrokerAway(Exception):
    """The broker does not answer, or cannot answer now; asking again later may help."""


def topic_offsets(client: AdminClient, topic: str, *, earliest: bool = False) -> Offsets:
    """The end offset of every partition of a topic, or the first offset that the broker still has. Blocks.

    Joins no consumer group and commits nothing.

    Raises:
        TopicMissing: there is no such topic.
        BrokerAway: no answer within :data:`REQUEST_TIMEOUT_SECONDS`.
    """
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its documented home

    spec = OffsetSpec.earliest() if earliest else OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent's
    try:
        # describing, unlike asking for metadata, never creates the topic, whatever the broker's auto-creation says
        described = client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_SECONDS)
        partitions = [partition.id for partition in described[topic].result().partitions]
        answers = client.list_offsets(
            dict.fromkeys((TopicPartition(topic, partition) for partition in partitions), spec),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=REQUEST_TIMEOUT_SECONDS,
        )
        return {at.partition: answer.result().offset for at, answer in answers.items()}
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicMissing(topic) from None
        raise BrokerAway(reason.str()) from None


def broker_offsets(settings: Settings) -> tuple[Offsets, Offsets]:
    """The first offset that the broker still has and the end offset, of every partition of the topic.

    Raises:
        DaybookError: the broker does not answer, or the topic is missing.
    """
    from confluent_kafka.admin import AdminClient

    # librdkafka's own words (one line a second while the broker is away) would drown the one line that matters
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    topic = settings.kafka_topic
    try:
        return topic_offsets(client, topic, earliest=True), topic_offsets(client, topic)
    except TopicMissing:
        problem = f"has no topic {topic!r}"
    except BrokerAway as error:
        problem = f"does not answer ({error})"
    raise DaybookError(
        f"Kafka at {settings.bootstrap_servers} {problem}; nothing was changed. See that the broker is up "
        "(`daybook status`), then clear the task"
    )
