"""Kafka offsets as Daybook speaks of them: a mapping partition -> offset, JSON with text keys when written down.

Everything is read as committed: what a producer aborted is no record. A partition has two ends. The committed one is
where the first open transaction begins; the log's end is behind it while a transaction is open, and what lies between
them is in Kafka and cannot be read yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from daybook.errors import DaybookError
from daybook.kafka.config import librdkafka_conf, remedy
from daybook.kafka.topic_rules import doubts, unfit
from daybook.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

    from daybook.kafka.admin import KafkaAdmin

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


class BrokerRefuses(Exception):
    """The broker is there and does not let this client in, or not at the topic.

    The text, a verb phrase, says where to look. Asking again helps once somebody has put that right.
    """


class Which(StrEnum):
    """Which of its offsets a partition is asked for."""

    FIRST = "the first that the broker still has"
    COMMITTED = "the end of what can be read: before the first open transaction"
    LOG = "the end of the log"


def topic_offsets(client: KafkaAdmin, topic: str, which: Which = Which.COMMITTED) -> Offsets:
    """An offset of every partition of a topic, the committed end unless another is asked for. Blocks.

    Joins no consumer group and commits nothing.

    Raises:
        TopicMissing: there is no such topic.
        BrokerAway: no answer within :data:`REQUEST_TIMEOUT_SECONDS`.
        BrokerRefuses: login, handshake or permission is wrong; said within seconds.
    """
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its documented home

    first = which is Which.FIRST
    spec = OffsetSpec.earliest() if first else OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent's
    level = IsolationLevel.READ_UNCOMMITTED if which is Which.LOG else IsolationLevel.READ_COMMITTED
    try:
        # describing, unlike asking for metadata, never creates the topic, whatever the broker's auto-creation says
        described = client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_SECONDS)
        partitions = [partition.id for partition in client.answer(described[topic]).partitions]
        answers = client.list_offsets(
            dict.fromkeys((TopicPartition(topic, partition) for partition in partitions), spec),
            isolation_level=level,
            request_timeout=REQUEST_TIMEOUT_SECONDS,
        )
        return {at.partition: client.answer(answer).offset for at, answer in answers.items()}
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicMissing(topic) from None
        if refused := remedy(reason.name()):
            raise BrokerRefuses(f"{refused} ({reason.str()})") from None
        raise BrokerAway(reason.str()) from None


@dataclass(frozen=True)
class TopicState:
    """What the broker says of the topic at one moment."""

    topic_id: str
    """Changes when a topic is deleted and made again under its name."""
    first: Offsets
    """First offset that the broker still has, of every partition."""
    end: Offsets
    """The committed end of every partition: what can be read ends here."""
    retention_ms: int
    """How long the broker keeps a record; -1 = for ever."""
    hidden: Offsets = field(default_factory=dict)
    """Partition -> how many offsets an open transaction hides behind its end; without those that have none."""
    unfit: str | None = None
    """Why nothing can be landed from it, with what cures it (:func:`daybook.kafka.topic_rules.unfit`)."""
    doubts: tuple[str, ...] = ()
    """What of its configuration is weaker than the settings say (:func:`daybook.kafka.topic_rules.doubts`)."""

    @property
    def log_end(self) -> Offsets:
        """The end of every partition's log, which counts what open transactions hide."""
        return {at: end + self.hidden.get(at, 0) for at, end in self.end.items()}


def topic_state(settings: Settings) -> TopicState:
    """The state of the topic.

    Raises:
        DaybookError: the broker does not answer, or the topic is missing.
    """
    from confluent_kafka import KafkaException, TopicCollection

    from daybook.kafka.admin import kafka_admin, said

    client = kafka_admin(settings)
    topic = settings.kafka_topic
    try:
        # in this order: what is committed in between is hidden in neither
        first, log_end = topic_offsets(client, topic, Which.FIRST), topic_offsets(client, topic, Which.LOG)
        end = topic_offsets(client, topic)
        asked = client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_SECONDS)[topic]
        config = config_of(client, topic)
        described = client.answer(asked)
        return TopicState(
            topic_id=str(described.topic_id),
            first=first,
            end=end,
            retention_ms=int(config["retention.ms"]),
            hidden=hidden(end, log_end),
            unfit=unfit(topic, config, min(len(one.replicas) for one in described.partitions)),
            doubts=tuple(doubts(settings, config)),
        )
    except TopicMissing:
        problem, cure = f"has no topic {topic!r}", "`daybook create-topic` makes it"
    except BrokerAway as error:
        problem, cure = f"does not answer ({error})", "See that the broker is up (`daybook status`)"
    except BrokerRefuses as error:
        problem, cure = str(error), "Put that right"
    except KafkaException as error:
        problem, cure = said(error), "See that the broker is up (`daybook status`)"
    raise DaybookError(
        f"Kafka at {settings.bootstrap_servers} {problem}; nothing was changed. {cure}, then clear the task"
    )


def config_of(client: KafkaAdmin, topic: str, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS) -> dict[str, str]:
    """The configuration of a topic as its brokers tell it.

    Raises:
        KafkaException: they do not answer, or do not let this user look (DescribeConfigs).
    """
    from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # its documented home

    resource = ConfigResource(ResourceType.TOPIC, topic)
    answer = client.answer(client.describe_configs([resource], request_timeout=timeout_seconds)[resource])
    return {name: entry.value for name, entry in answer.items() if entry.value is not None}


def hidden(committed: Offsets, log: Offsets) -> Offsets:
    """Partition -> offsets between its committed end and its log's; without those that have none.

    >>> hidden({0: 3, 1: 7}, {0: 5, 1: 7})
    {0: 2}
    """
    return {at: end - committed[at] for at, end in sorted(log.items()) if end > committed.get(at, end)}


def count_committed(settings: Settings, partition: int, start: int, end: int) -> int:
    """How many records the broker has for the offsets ``[start, end)`` of a partition: a second reader beside Spark.

    Raises:
        DaybookError: the broker stopped answering.
    """
    return sum(1 for _ in committed(settings, partition, start, end))


def committed(
    settings: Settings, partition: int, start: int, end: int, *, aborted_too: bool = False
) -> Iterator[Message]:
    """The records that the broker has for the offsets ``[start, end)`` of a partition, in their order; not empty.

    Joins no consumer group and commits nothing. With ``aborted_too`` also what a producer aborted.

    Raises:
        DaybookError: the broker stopped answering for :data:`REQUEST_TIMEOUT_SECONDS`, or no longer has the range.
    """
    from confluent_kafka import KafkaError

    with _reader(settings, partition, start, "read_uncommitted" if aborted_too else "read_committed") as consumer:
        awaited = start
        while True:
            # never more than the range can hold: the client waits for as many as it was asked for, until its time is up
            batch = consumer.consume(num_messages=min(10_000, end - awaited), timeout=REQUEST_TIMEOUT_SECONDS)
            if not batch:
                raise DaybookError(
                    f"Kafka at {settings.bootstrap_servers} stopped answering while partition {partition} was read; "
                    "nothing was changed. See that the broker is up (`daybook status`), then clear the task"
                )
            for message in batch:
                error = message.error()
                offset = message.offset()
                if is_of_no_group(error):
                    continue
                if error is None and offset is not None and offset < end:
                    yield message
                    awaited = offset + 1
                    if offset == end - 1:
                        return
                elif error is None or error.code() == KafkaError._PARTITION_EOF:
                    return  # what is left of the range holds no record
                else:
                    raise DaybookError(f"Kafka, partition {partition}: {error.str()}; nothing was changed")


def digests(settings: Settings, offsets: Offsets) -> dict[int, str]:
    """Partition -> digest (SHA-256, hex) of the value and time of the record at its offset.

    A partition is left out if the broker has no record there: it has lost it, or the offset is a transaction's marker.

    Raises:
        DaybookError: the broker stopped answering.
    """
    found: dict[int, str] = {}
    for partition, offset in sorted(offsets.items()):
        for message in committed(settings, partition, offset, offset + 1):
            taken_at = message.timestamp()[1].to_bytes(8, "big", signed=True)
            found[partition] = hashlib.sha256(taken_at + (message.value() or b"")).hexdigest()
    return found


def record_time(settings: Settings, partition: int, offset: int) -> datetime | None:
    """The time of the first record at or after an offset, UTC; None if the log ends before.

    One of a transaction that is open or aborted counts too: it is in the log for as long as the others.
    """
    with _reader(settings, partition, offset, "read_uncommitted") as consumer:
        message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
        while message is not None and is_of_no_group(message.error()):
            message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
    if message is None or message.error() is not None:
        return None
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def first_since(settings: Settings, partition: int, moment: datetime) -> int | None:
    """The offset of the first record of a partition whose time is not before a moment; None if all are older.

    Raises:
        DaybookError: the broker stopped answering.
    """
    from confluent_kafka import KafkaException, TopicPartition

    wanted = TopicPartition(settings.kafka_topic, partition, int(moment.timestamp() * 1000))
    try:
        with _reader(settings, partition, 0) as consumer:
            [found] = consumer.offsets_for_times([wanted], timeout=REQUEST_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise DaybookError(f"Kafka, partition {partition}: {error.args[0].str()}; nothing was changed") from None
    return found.offset if found.offset >= 0 else None


def is_of_no_group(error: KafkaError | None) -> bool:
    """Whether a consumer's error is only that it may not join a group, which no reader here does.

    librdkafka looks for the group's coordinator all the same, and a cluster with rights refuses it.
    """
    from confluent_kafka import KafkaError

    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


@contextmanager
def _reader(
    settings: Settings, partition: int, start: int, isolation_level: str = "read_committed"
) -> Iterator[Consumer]:
    """A consumer of one partition that joins no group and commits nothing."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            **librdkafka_conf(settings),
            "group.id": "daybook-reader",  # asked for by the client; nothing is ever committed under it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation_level,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(settings.kafka_topic, partition, start)])
        yield consumer
    finally:
        consumer.close()
