"""Kafka offsets in Daybook: a mapping partition -> offset, stored as JSON with text keys.

Everything is read with isolation level read_committed: aborted records do not count. A partition has two ends. The
committed end is the start of the first open transaction. While a transaction is open, the log's end is after it, and
the records between the two ends are in Kafka but cannot be read yet.
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
    """Return the offsets as JSON, ordered by partition: equal offsets give equal texts.

    >>> offsets_text({1: 7, 0: 3})
    '{"0": 3, "1": 7}'
    """
    return json.dumps({str(partition): offsets[partition] for partition in sorted(offsets)})


def parse_offsets(text: str) -> Offsets:
    """Return the offsets in a JSON text.

    >>> parse_offsets('{"0": 3, "1": 7}')
    {0: 3, 1: 7}
    """
    return {int(partition): int(offset) for partition, offset in json.loads(text).items()}


class TopicMissing(Exception):
    """The broker answers, but the topic does not exist."""


class BrokerUnavailable(Exception):
    """The broker is unavailable, at least for now; a later retry may succeed."""


class BrokerRejected(Exception):
    """The broker answers, but authentication or authorization failed.

    The text, a verb phrase, names the settings to check. A retry succeeds only after somebody has fixed the cause.
    """


class Which(StrEnum):
    """The offset of a partition that is requested."""

    FIRST = "the first that the broker still has"
    COMMITTED = "the end of what can be read: before the first open transaction"
    LOG = "the end of the log"


def topic_offsets(client: KafkaAdmin, topic: str, which: Which = Which.COMMITTED) -> Offsets:
    """Return an offset of every partition of a topic, by default the committed end. Blocks.

    Joins no consumer group and commits nothing.

    Raises:
        TopicMissing: there is no such topic.
        BrokerUnavailable: no answer within :data:`REQUEST_TIMEOUT_SECONDS`.
        BrokerRejected: login, TLS handshake or authorization failed; raised within seconds.
    """
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its documented home

    first = which is Which.FIRST
    spec = OffsetSpec.earliest() if first else OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent's
    level = IsolationLevel.READ_UNCOMMITTED if which is Which.LOG else IsolationLevel.READ_COMMITTED
    try:
        # unlike a metadata request, describing never creates the topic, whatever the broker's auto-creation setting
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
            raise BrokerRejected(f"{refused} ({reason.str()})") from None
        raise BrokerUnavailable(reason.str()) from None


@dataclass(frozen=True)
class TopicState:
    """The broker's state of the topic at one moment."""

    topic_id: str
    """Changes when a topic is deleted and created again under the same name."""
    first: Offsets
    """First available offset of every partition."""
    end: Offsets
    """The committed end of every partition: the readable records end here."""
    retention_ms: int
    """How long the broker retains a record; -1 = for ever."""
    hidden: Offsets = field(default_factory=dict)
    """Partition -> number of offsets that an open transaction hides after its end; omits partitions without any."""
    unfit: str | None = None
    """The reason why nothing can be landed from it, and the remedy (:func:`daybook.kafka.topic_rules.unfit`)."""
    doubts: tuple[str, ...] = ()
    """The ways in which its configuration is weaker than the settings (:func:`daybook.kafka.topic_rules.doubts`)."""

    @property
    def log_end(self) -> Offsets:
        """The end of every partition's log, including the records that open transactions hide."""
        return {at: end + self.hidden.get(at, 0) for at, end in self.end.items()}


def topic_state(settings: Settings) -> TopicState:
    """Return the current state of the topic.

    Raises:
        DaybookError: the broker does not answer, or the topic is missing.
    """
    from confluent_kafka import KafkaException, TopicCollection

    from daybook.kafka.admin import kafka_admin, said

    client = kafka_admin(settings)
    topic = settings.kafka_topic
    try:
        # in this order: a record that is committed between the two requests is then not counted as hidden
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
        problem, cure = f"has no topic {topic!r}", "Create it with `daybook create-topic`"
    except BrokerUnavailable as error:
        problem, cure = f"does not answer ({error})", "Check that the broker is up (`daybook status`)"
    except BrokerRejected as error:
        problem, cure = str(error), "Fix that"
    except KafkaException as error:
        problem, cure = said(error), "Check that the broker is up (`daybook status`)"
    raise DaybookError(
        f"Kafka at {settings.bootstrap_servers} {problem}; nothing was changed. {cure}, then clear the task"
    )


def config_of(client: KafkaAdmin, topic: str, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS) -> dict[str, str]:
    """Return the configuration of a topic from its brokers.

    Raises:
        KafkaException: they do not answer, or this user lacks the permission DescribeConfigs.
    """
    from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # its documented home

    resource = ConfigResource(ResourceType.TOPIC, topic)
    answer = client.answer(client.describe_configs([resource], request_timeout=timeout_seconds)[resource])
    return {name: entry.value for name, entry in answer.items() if entry.value is not None}


def hidden(committed: Offsets, log: Offsets) -> Offsets:
    """Return partition -> number of offsets between its committed end and its log's end; omits partitions without any.

    >>> hidden({0: 3, 1: 7}, {0: 5, 1: 7})
    {0: 2}
    """
    return {at: end - committed[at] for at, end in sorted(log.items()) if end > committed.get(at, end)}


def count_committed(settings: Settings, partition: int, start: int, end: int) -> int:
    """Count the records in the offsets ``[start, end)`` of a partition, independently of Spark.

    Raises:
        DaybookError: the broker stopped answering.
    """
    return sum(1 for _ in committed(settings, partition, start, end))


def committed(
    settings: Settings, partition: int, start: int, end: int, *, aborted_too: bool = False
) -> Iterator[Message]:
    """Yield the broker's records in the offsets ``[start, end)`` of a partition, in order; the range is not empty.

    Joins no consumer group and commits nothing. With ``aborted_too`` it includes aborted records.

    Raises:
        DaybookError: the broker stopped answering for :data:`REQUEST_TIMEOUT_SECONDS`, or no longer has the range.
    """
    from confluent_kafka import KafkaError

    with _reader(settings, partition, start, "read_uncommitted" if aborted_too else "read_committed") as consumer:
        awaited = start
        while True:
            # never more than the range can hold: the client waits for the requested number until the timeout
            batch = consumer.consume(num_messages=min(10_000, end - awaited), timeout=REQUEST_TIMEOUT_SECONDS)
            if not batch:
                raise DaybookError(
                    f"Kafka at {settings.bootstrap_servers} stopped answering while partition {partition} was read; "
                    "nothing was changed. Check that the broker is up (`daybook status`), then clear the task"
                )
            for message in batch:
                error = message.error()
                offset = message.offset()
                if is_group_authorization_error(error):
                    continue
                if error is None and offset is not None and offset < end:
                    yield message
                    awaited = offset + 1
                    if offset == end - 1:
                        return
                elif error is None or error.code() == KafkaError._PARTITION_EOF:
                    return  # the rest of the range holds no record
                else:
                    raise DaybookError(f"Kafka, partition {partition}: {error.str()}; nothing was changed")


def digests(settings: Settings, offsets: Offsets) -> dict[int, str]:
    """Return partition -> digest (SHA-256, hex) of the value and time of the record at its offset.

    A partition is omitted if there is no record: the broker has lost it, or the offset is a transaction's marker.

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
    """Return the time of the first record at or after an offset, UTC; None if the log ends before it.

    Records of open and aborted transactions count too: the log retains them as long as the others.
    """
    with _reader(settings, partition, offset, "read_uncommitted") as consumer:
        message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
        while message is not None and is_group_authorization_error(message.error()):
            message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
    if message is None or message.error() is not None:
        return None
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def first_since(settings: Settings, partition: int, moment: datetime) -> int | None:
    """Return the offset of a partition's first record at or after a moment; None if all records are older.

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


def is_group_authorization_error(error: KafkaError | None) -> bool:
    """Whether a consumer's error is only a missing permission for its group, which no reader here joins.

    librdkafka looks for the group's coordinator anyway, and a cluster with ACLs denies the request.
    """
    from confluent_kafka import KafkaError

    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


@contextmanager
def _reader(
    settings: Settings, partition: int, start: int, isolation_level: str = "read_committed"
) -> Iterator[Consumer]:
    """Yield a consumer of one partition that joins no group and commits nothing."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            **librdkafka_conf(settings),
            "group.id": "daybook-reader",  # the client requires it; nothing is ever committed under it
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
