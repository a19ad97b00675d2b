"""The client side of the wait: what Kafka says about the ends of a topic."""

from __future__ import annotations

from typing import Any

from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook
from confluent_kafka.admin import AdminClient

from daybook.kafka_offsets import Offsets, topic_offsets


class KafkaOffsetsHook(KafkaAdminClientHook):
    """Reads the end offsets of a topic; joins no consumer group and commits nothing.

    :param kafka_config_id: the Airflow connection, whose extra is the client's configuration
    """

    def _get_client(self, config: dict[str, Any]) -> AdminClient:
        # librdkafka's own words (one line a second while the broker is away) would drown the one line that matters
        return AdminClient({"log_level": 0, **config})

    def end_offsets(self, topic: str) -> Offsets:
        """Partition -> end offset (the one after the last record), of every partition of the topic. Blocks.

        Raises:
            TopicMissing: there is no such topic.
            BrokerAway: the broker does not answer in time.
        """
        client: AdminClient = self.get_conn
        return topic_offsets(client, topic)
