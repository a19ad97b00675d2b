"""Kafka offsets as Daybook speaks of them: a mapping partition -> offset, JSON with text keys when written down."""

from __future__ import annotations

import json
from typing import Any

from daybook.errors import DaybookError
from daybook.settings import Settings

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


def broker_offsets(settings: Settings) -> tuple[Offsets, Offsets]:
    """The first offset that the broker still has and the end offset, of every partition of the topic.

    Raises:
        DaybookError: the broker does not answer, or the topic is missing.
    """
    from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec

    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "logger": _silent()})
    topic = settings.kafka_topic
    try:
        described = client.list_topics(topic, timeout=REQUEST_TIMEOUT_SECONDS).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        found = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
            asked = {TopicPartition(topic, partition): spec for partition in described.partitions}
            answers = client.list_offsets(
                asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=REQUEST_TIMEOUT_SECONDS
            )
            found.append({at.partition: future.result().offset for at, future in answers.items()})
    except KafkaException as error:
        raise DaybookError(
            f"Kafka at {settings.bootstrap_servers} does not tell the offsets of topic {topic} ({error.args[0]}); "
            "nothing was changed. See that the broker is up (`daybook status`), then clear the task"
        ) from None
    return found[0], found[1]


def _silent() -> Any:
    """A logger for librdkafka: its connection errors reach the caller as exceptions, once."""
    import logging

    logger = logging.getLogger("daybook.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
