"""Classifies the offsets of a log that hold no record: a transaction's marker, or a loss.

Kafka gives every record and every end of a transaction an offset. So an offset without a record inside a log is normal
only if it is a marker. Otherwise compaction or a faulty broker has removed a record. Kafka clients do not expose
markers, so this module fetches the batch at the offset and reads its header.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from daybook.errors import DaybookError
from daybook.kafka.config import PASSWORD, librdkafka_conf
from daybook.kafka.offsets import committed
from daybook.settings import Settings

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

Gap = tuple[int, int]
"""First and last offset."""

_BATCH_HEADER = struct.Struct(">qiibIhi")
"""Base offset, length, leader's epoch, format, checksum, attributes, last offset relative to the base."""
_CONTROL = 0x20
"""Bit of the attributes: the batch is a transaction's marker."""
_ANSWER_WITHIN_MS = 10_000


def unexplained(settings: Settings, partition: int, start: int, end: int) -> list[Gap]:
    """Return the offsets of ``[start, end)`` with neither a record nor a transaction's marker; the range is not empty.

    Raises:
        DaybookError: the broker stopped answering.
    """
    gaps = list(_gaps(settings, partition, start, end))
    return asyncio.run(_without_markers(settings, partition, gaps)) if gaps else []


def _gaps(settings: Settings, partition: int, start: int, end: int) -> Iterator[Gap]:
    """Yield the offsets without a record; aborted records count as records."""
    awaited = start
    for message in committed(settings, partition, start, end, aborted_too=True):
        offset = message.offset()
        assert offset is not None  # it was delivered
        if offset > awaited:
            yield awaited, offset - 1
        awaited = offset + 1
    if awaited < end:
        yield awaited, end - 1


async def _without_markers(settings: Settings, partition: int, gaps: Sequence[Gap]) -> list[Gap]:
    from aiokafka.errors import KafkaError

    client = _client(settings)
    left: list[Gap] = []
    try:
        await client.bootstrap()
        client.add_topic(settings.kafka_topic)
        await client.force_metadata_update()
        for first, last in gaps:
            at = first
            while at <= last:
                base, end, is_marker = await _batch_at(client, settings.kafka_topic, partition, at)
                if is_marker and base <= at:
                    at += 1
                    continue
                # the next batch is after the gap, or compaction has removed some of its records
                stop = min(last, (base if base > at else end) - 1)
                left = [*left[:-1], (left[-1][0], stop)] if left and left[-1][1] == at - 1 else [*left, (at, stop)]
                at = stop + 1
    except (KafkaError, OSError) as error:
        raise DaybookError(
            f"Kafka at {settings.bootstrap_servers} stopped answering while the gaps of partition {partition} were "
            f"checked ({error}); nothing was changed. Check that the broker is up (`daybook status`), then clear the "
            "task"
        ) from None
    finally:
        await client.close()
    return left


async def _batch_at(client: AIOKafkaClient, topic: str, partition: int, offset: int) -> tuple[int, int, bool]:
    """Return the batch at an offset, or the next: its first offset, the offset after it, whether it is a marker."""
    from aiokafka.errors import NotLeaderForPartitionError, for_code
    from aiokafka.protocol.fetch import FetchRequest
    from aiokafka.structs import TopicPartition

    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    if leader in {None, -1}:
        raise NotLeaderForPartitionError(f"partition {partition} has no leader")
    # a limit of one byte: the broker still returns the whole first batch, and no second one
    request = FetchRequest(_ANSWER_WITHIN_MS, 1, 1, 0, [(topic, [(partition, offset, 1)])])
    response = await client.send(leader, request)
    [(_, [(_, error_code, *_, records)])] = response.topics
    if error_code:
        raise for_code(error_code)(f"partition {partition}, offset {offset}")
    base, _, _, _, _, attributes, last = _BATCH_HEADER.unpack_from(records)
    return base, base + last + 1, bool(attributes & _CONTROL)


def _client(settings: Settings) -> AIOKafkaClient:
    """Return a client that can fetch a batch in the format of the log."""
    import ssl

    from aiokafka.client import AIOKafkaClient

    conf = librdkafka_conf(settings)
    context = None
    if "SSL" in settings.kafka_security_protocol:
        context = ssl.create_default_context(cafile=conf.get("ssl.ca.location"))
        if certificate := conf.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, conf["ssl.key.location"])
    return AIOKafkaClient(
        bootstrap_servers=settings.bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        ssl_context=context,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_plain_username=conf.get("sasl.username"),
        sasl_plain_password=conf.get(PASSWORD),
        request_timeout_ms=_ANSWER_WITHIN_MS + 5_000,
    )
