"""The client side of the wait: what Kafka says about the ends of a topic."""

from __future__ import annotations

from typing import Any

from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

from daybook.kafka.admin import KafkaAdmin
from daybook.kafka.config import with_password
from daybook.kafka.offsets import Offsets, Which, topic_offsets
from daybook.settings import settings


class KafkaOffsetsHook(KafkaAdminClientHook):
    """Reads the end offsets of a topic; joins no consumer group and commits nothing.

    :param kafka_config_id: the Airflow connection, whose extra is the client's configuration; a password that it leaves
        out is the setting's, since ``daybook env`` prints the connection
    """

    def _get_client(self, config: dict[str, Any]) -> KafkaAdmin:
        return KafkaAdmin(with_password(config, settings()))

    def end_offsets(self, topic: str) -> tuple[Offsets, Offsets]:
        """The committed end and the log's end of every partition of the topic. Blocks.

        The log's is read first: where it is the larger one, a transaction was open in between.

        Raises:
            TopicMissing: there is no such topic.
            BrokerAway: the broker does not answer in time.
            BrokerRefuses: the broker lets this client in nowhere, or not at the topic.
        """
        client: KafkaAdmin = self.get_conn
        log = topic_offsets(client, topic, Which.LOG)
        return topic_offsets(client, topic), log
