"""A topic of a single test on a running broker."""

from __future__ import annotations

from uuid import uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # its documented home

from daybook.kafka.admin import kafka_admin
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.offsets import BrokerUnavailable, TopicMissing, topic_offsets
from daybook.kafka.topic_rules import topic_config
from daybook.settings import Settings
from tests.integration.own_broker import until


class Topic:
    """A topic with two partitions for the records of a test."""

    def __init__(self, settings: Settings) -> None:
        self.name = f"test-{uuid4().hex[:8]}"
        self.admin = kafka_admin(settings)
        self.producer = Producer({**librdkafka_conf(settings), "acks": "all"})
        topic = NewTopic(self.name, 2, 1, config=topic_config(settings))
        self.admin.create_topics([topic])[self.name].result(30)
        # the controller has created it; the broker lists and leads it a little later
        until(self._is_served, f"topic {self.name} served")

    def _is_served(self) -> bool:
        try:
            return len(topic_offsets(self.admin, self.name)) == 2
        except (TopicMissing, BrokerUnavailable):
            return False

    def produce(self, partition: int, records: int = 1) -> None:
        """Add records; return when they are acknowledged."""
        self.send(partition, *[b"{}"] * records)

    def send(self, partition: int, *values: bytes) -> None:
        """Add these records; return when they are acknowledged."""
        for value in values:
            self.producer.produce(self.name, value, partition=partition)
        assert self.producer.flush(30) == 0

    def delete(self) -> None:
        """Delete the topic."""
        self.admin.delete_topics([self.name])[self.name].result(30)
