"""The topic for peers without Spark, read with Confluent's client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.peers.land_rules import provider
from daybook.kafka.admin import kafka_admin
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.offsets import topic_offsets
from daybook.settings import Settings

READ_AT_ONCE = 10_000
TIMEOUT_SECONDS = 30.0


def batches(settings: Settings) -> Iterator[list[bytes | None]]:
    """The values of all records up to the topic's current end."""
    ends = topic_offsets(kafka_admin(settings), settings.kafka_topic)
    left = sum(ends.values())
    consumer = Consumer({**librdkafka_conf(settings), "group.id": "peer", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(settings.kafka_topic, partition, 0) for partition in ends])
        while left:
            # never more than remain: the client waits for the full number
            messages = consumer.consume(min(READ_AT_ONCE, left), TIMEOUT_SECONDS)
            if not messages:
                raise TimeoutError(f"{left} records did not come")
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
            yield [message.value() for message in messages]
            left -= len(messages)
    finally:
        consumer.close()


def table(settings: Settings) -> pa.Table:
    """All records as one column ``value``, binary."""
    chunks = [pa.array(values, pa.binary()) for values in batches(settings)]
    return pa.table({"value": pa.chunked_array(chunks, pa.binary())})


def providers(hosts: Iterable[str]) -> pa.Table:
    """Columns host and provider, one row for each host."""
    known = list(hosts)
    return pa.table({"host": known, "provider": [provider(host) for host in known]})
