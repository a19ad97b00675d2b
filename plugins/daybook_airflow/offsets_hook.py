"""The client side of the wait: what Kafka says about the ends of a topic."""

from __future__ import annotations

from typing import Any

from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its documented home

REQUEST_TIMEOUT_SECONDS = 10.0


class TopicMissing(Exception):
    """The broker answers and knows no such topic."""


class BrokerAway(Exception):
    """The broker does not answer, or cannot answer now; asking again later may help."""


class KafkaOffsetsHook(KafkaAdminClientHook):
    """Reads the end offsets of a topic; joins no consumer group and commits nothing.

    :param kafka_config_id: the Airflow connection, whose extra is the client's configuration
    """

    def _get_client(self, config: dict[str, Any]) -> AdminClient:
        # librdkafka's own words (one line a second while the broker is away) would drown the one line that matters
        return AdminClient({"log_level": 0, **config})

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Partition -> end offset (the one after the last record), of every partition of the topic. Blocks.

        Raises:
            TopicMissing: there is no such topic.
            BrokerAway: no answer within :data:`REQUEST_TIMEOUT_SECONDS`.
        """
        client: AdminClient = self.get_conn
        try:
            # describing, unlike asking for metadata, never creates the topic, whatever the broker's auto-creation says
            described = client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_SECONDS)
            partitions = [partition.id for partition in described[topic].result().partitions]
            newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent's
            answers = client.list_offsets(
                dict.fromkeys((TopicPartition(topic, partition) for partition in partitions), newest),
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=REQUEST_TIMEOUT_SECONDS,
            )
            return {at.partition: answer.result().offset for at, answer in answers.items()}
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicMissing(topic) from None
            raise BrokerAway(reason.str()) from None
