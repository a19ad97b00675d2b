"""The client side of the wait: reads a topic's end offsets from Kafka."""

from __future__ import annotations

from typing import Any

from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

from daybook.kafka.admin import KafkaAdmin
from daybook.kafka.config import with_password
from daybook.kafka.offsets import Offsets, Which, topic_offsets
from daybook.settings import load_settings


class KafkaOffsetsHook(KafkaAdminClientHook):
    """Reads the end offsets of a topic; joins no consumer group and commits nothing.

    :param kafka_config_id: the Airflow connection, whose extra is the client's configuration. The password comes from
        the settings if the extra has no password, since ``daybook env`` prints the connection
    """

    def _get_client(self, config: dict[str, Any]) -> KafkaAdmin:
        return KafkaAdmin(with_password(config, load_settings()))

    def end_offsets(self, topic: str) -> tuple[Offsets, Offsets]:
        """Return the committed end and the log's end of every partition of the topic. Blocks.

        The log's end is read first: if it is larger, a transaction was open at that time.

        Raises:
            TopicMissing: there is no such topic.
            BrokerUnavailable: the broker does not answer in time.
            BrokerRejected: authentication failed, or the client is not authorized for the topic.
        """
        client: KafkaAdmin = self.get_conn
        log = topic_offsets(client, topic, Which.LOG)
        return topic_offsets(client, topic), log
