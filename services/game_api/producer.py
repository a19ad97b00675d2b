"""Sends events to Kafka: accepted means acknowledged by the broker; an unavailable broker is reported within a second.

This module uses Kafka but not Flask. The circuit breaker has two states. *Closed*: events are sent, and each request
waits for its delivery reports. *Open*: the broker is known to be unavailable, and a request fails at once instead of
occupying a thread until its time-out.

Any doubt about the broker (a lost connection, a failed or slow delivery) wakes the watcher. This thread requests the
topic's metadata: without a response the circuit opens, with one it closes again. So no request is used for probing, and
recovery needs neither traffic nor a restart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicCollection

from daybook.kafka.admin import KafkaAdmin, kafka_admin, said
from daybook.kafka.config import librdkafka_conf, remedy
from daybook.kafka.offsets import config_of
from daybook.kafka.topic_rules import doubts, unfit
from daybook.settings import Settings
from game_api import metrics

LINGER_MS: Final = 1
"""How long librdkafka gathers events into one request to the broker.

Measured with ``python -m benchmarks.intake`` on 2 cores, 1 ms compared with 5 ms: 1,301 and 579 single events a second
on 4 connections, 2,300 and 1,669 on 64, 40,900 and 34,000 in batches of 200.
"""
QUEUE_MAX_MESSAGES: Final = 50_000
"""Most events that a worker queues for a slow broker: fifty full requests."""
QUEUE_MAX_KBYTES: Final = 64 * 1024
"""The same limit in memory: more than the bodies of all threads together, so only a flood can reach it."""
PROBE_TIMEOUT_SECONDS: Final = 0.8
"""Longest wait for metadata; a broker on the same network answers in milliseconds."""
PROBE_PAUSE_SECONDS: Final = 0.4
"""Pause between two probes of an unavailable broker."""
DOUBT_AFTER_SECONDS: Final = 0.4
"""A delivery that takes longer triggers a probe of the broker: this detects a hung broker without a lost connection."""
DISTRUST_SECONDS: Final = 1.0
"""Longest wait for a delivery while the last one failed: threads do not pile up behind a broker that answers
metadata requests but accepts no events."""
NOT_READY_SECONDS: Final = 10.0
"""How long the producer is not ready after all deliveries failed for a second or more; then events may be tried again.

Metadata alone would not show this: in a cluster that has lost its quorum, the remaining brokers answer with what they
knew before.
"""
CONFIG_CACHE_SECONDS: Final = 10.0
"""How long the topic's configuration is cached. If somebody makes the topic compacted, it loses events at the next run
of Kafka's cleaner, which checks every 15 seconds."""
READY_CACHE_SECONDS: Final = 1.0
"""Longest age of a probe that :meth:`EventProducer.is_ready` reuses, so that health checks cost the broker nothing."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Receipt:
    """Partition and offset of an acknowledged event."""

    partition: int
    offset: int


class EventProducer:
    """One per worker process; all its methods may be called from any thread.

    Nothing is opened before the first call: librdkafka's threads do not survive a fork.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic
        self._topic_watch = _TopicWatch(settings)
        self._lock = threading.Lock()
        self._probe_lock = threading.Lock()
        self._client: Producer | None = None
        self._waiting: set[_Batch] = set()
        self._unavailable = False
        self._failing_since: float | None = None
        self._failed_at = float("-inf")
        self._refusals: set[str] = set()
        self._doubt = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._probed_at = float("-inf")
        self._probe_answer = False

    def send(self, records: Sequence[tuple[bytes, bytes]]) -> list[Receipt | None]:
        """Send records and wait until the broker has acknowledged them, with one deadline for all.

        Args:
            records: key and value of each record.

        Returns:
            For each record its receipt, or None if no acknowledgement arrived in time. Such a record may still have
            reached the topic: sending it again with the same event id is harmless.
        """
        batch = _Batch(len(records))
        started_at = time.perf_counter()
        with self._lock:
            if self._unavailable or self._stopping.is_set():
                return batch.receipts()
            client = self._open()
            self._waiting.add(batch)
            wait_seconds = self._settings.ack_timeout_seconds
            if self._failing_since is not None:
                wait_seconds = min(DISTRUST_SECONDS, wait_seconds)
        try:
            for index, (key, value) in enumerate(records):
                try:
                    # no timestamp: the topic uses the broker's clock (message.timestamp.type=LogAppendTime), as its
                    # retention does
                    client.produce(self._topic, value, key, on_delivery=partial(self._on_delivery, batch, index))
                except (BufferError, KafkaException) as error:  # queue full, or the client is beyond repair
                    self._delivery_failed(error.__class__.__name__)
                    batch.settle(index, None)
            if not batch.done.wait(min(DOUBT_AFTER_SECONDS, wait_seconds)):
                self._doubt.set()
                batch.done.wait(wait_seconds - DOUBT_AFTER_SECONDS)
        finally:
            with self._lock:
                self._waiting.discard(batch)
        receipts = batch.receipts()
        if any(receipt is None for receipt in receipts):
            self._delivery_failed("NO_ACKNOWLEDGEMENT_IN_TIME")
        else:
            metrics.ACKNOWLEDGEMENT.observe(time.perf_counter() - started_at)
        return receipts

    def queue_depth(self) -> int:
        """Return how many events are on their way to the broker."""
        client = self._client
        return 0 if client is None else len(client)

    def is_ready(self) -> bool:
        """Whether events would be accepted and retained.

        Ready means: broker and topic answered within the last second, deliveries do not fail, and the topic's
        configuration does not lose events. If this is not known, it probes the broker for at most a second.
        """
        with self._lock:
            if self._unavailable or self._stopping.is_set():
                return False
            client = self._open()
        ready = self._probe(client, max_age_seconds=READY_CACHE_SECONDS) and not self._takes_nothing()
        if not ready:
            self._doubt.set()
        return ready and self._topic_watch.is_fit()

    def _takes_nothing(self) -> bool:
        """Whether all recent deliveries failed, for longer than a short interruption of the broker."""
        since, failed_at = self._failing_since, self._failed_at
        if since is None or failed_at - since < DISTRUST_SECONDS:
            return False
        return time.monotonic() - failed_at < NOT_READY_SECONDS

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Flush pending events to the broker and stop; later calls fail as if the broker were unavailable."""
        self._stopping.set()
        self._doubt.set()
        for thread in self._threads:
            thread.join(timeout_seconds)
        if self._client is not None:
            left = self._client.flush(timeout_seconds)
            _log.info("producer closed", undelivered=left)

    def _open(self) -> Producer:
        """Return the client of this process; the first call creates it. The caller holds the lock."""
        if self._client is None:
            self._client = self._new_client()
            for target in (self._serve_reports, self._watch):
                thread = threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True)
                self._threads.append(thread)
                thread.start()
        return self._client

    def _new_client(self) -> Producer:
        return Producer(
            {
                **librdkafka_conf(self._settings),
                "client.id": "daybook-game-api",
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": LINGER_MS,
                # limits the queue for a slow broker; beyond it, events fail at once as unavailable
                "queue.buffering.max.messages": QUEUE_MAX_MESSAGES,
                "queue.buffering.max.kbytes": QUEUE_MAX_KBYTES,
                # no event is delivered long after its request was answered as unavailable
                "message.timeout.ms": int(self._settings.ack_timeout_seconds * 1000),
                # the default backs off to 10 s, which would delay recovery by as much
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                # chooses the same partition for a key as Kafka's Java clients
                "partitioner": "murmur2_random",
                "error_cb": self._on_error,
            },
            logger=logging.getLogger("librdkafka"),
        )

    def _on_delivery(self, batch: _Batch, index: int, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            self._failing_since = None
            batch.settle(index, Receipt(partition, offset))
        else:
            self._delivery_failed(error.name() if error else "no offset")
            batch.settle(index, None)

    def _on_error(self, error: KafkaError) -> None:
        """Handle librdkafka's errors: a fatal one needs a new client, others wake the watcher."""
        metrics.BROKER_ERRORS.labels(error.name()).inc()
        if error.fatal():
            with self._lock:
                _log.error("producer replaced after a fatal error", error=error.name())
                self._client = self._new_client()
        self._note_refusal(error.name())
        self._doubt.set()

    def _note_refusal(self, error_name: str) -> None:
        """Log errors that waiting does not fix (wrong password, missing permission) once, until the circuit closes."""
        look_at = remedy(error_name)
        if look_at and error_name not in self._refusals:
            self._refusals.add(error_name)
            _log.error(f"the broker {look_at}", error=error_name)

    def _delivery_failed(self, reason: str) -> None:
        metrics.BROKER_ERRORS.labels(reason).inc()
        self._note_refusal(reason)
        self._failed_at = time.monotonic()
        if self._failing_since is None:
            _log.warning("delivery failed", reason=reason)
            self._failing_since = self._failed_at
        self._doubt.set()

    def _serve_reports(self) -> None:
        """Run the delivery callbacks, also those of a replaced client until its last one has arrived."""
        served: list[Producer] = []
        while not self._stopping.is_set() or self._waiting:
            with self._lock:
                if self._client is not None and self._client not in served:
                    served.append(self._client)
                served = [client for client in served if client is self._client or len(client)]
            for client in served:
                client.poll(0.1 if client is self._client else 0)

    def _watch(self) -> None:
        """Open and close the circuit: probe the broker while there is doubt, otherwise sleep."""
        while not self._stopping.is_set():
            self._doubt.wait()
            self._doubt.clear()
            with self._lock:
                client = self._open()
            if self._probe(client):
                self._set_unavailable(False)
            else:
                self._set_unavailable(True)
                self._doubt.set()
                self._stopping.wait(PROBE_PAUSE_SECONDS)

    def _set_unavailable(self, unavailable: bool) -> None:
        with self._lock:
            if unavailable != self._unavailable:
                _log.warning("broker unavailable: circuit open" if unavailable else "broker available: circuit closed")
            self._unavailable = unavailable
            if not unavailable:
                self._refusals.clear()
            metrics.CIRCUIT_OPEN.set(unavailable)
            given_up = list(self._waiting) if unavailable else []
        for batch in given_up:
            batch.done.set()

    def _probe(self, client: Producer, max_age_seconds: float = 0.0) -> bool:
        """Whether the broker knows the topic and every partition has a leader; one probe at a time."""
        with self._probe_lock:
            if time.monotonic() - self._probed_at < max_age_seconds:
                return self._probe_answer
            try:
                topic = client.list_topics(self._topic, timeout=PROBE_TIMEOUT_SECONDS).topics[self._topic]
                if topic.error is not None:
                    self._note_refusal(topic.error.name())
                self._probe_answer = topic.error is None and all(p.leader >= 0 for p in topic.partitions.values())
            except KafkaException:
                self._probe_answer = False
            self._probed_at = time.monotonic()
            return self._probe_answer


class _TopicWatch:
    """Watches the topic's configuration, which the brokers' administrators can change at any time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._admin: KafkaAdmin | None = None
        self._looked_at = float("-inf")
        self._unfit: str | None = None
        self._warned: set[str] = set()

    def is_fit(self) -> bool:
        """Whether the topic's configuration is safe for events, as of at most :data:`CONFIG_CACHE_SECONDS` ago.

        If the broker does not authorize this user or does not answer, the last result holds; the initial one is fit.
        """
        with self._lock:
            if time.monotonic() - self._looked_at > CONFIG_CACHE_SECONDS:
                self._looked_at = time.monotonic()
                try:
                    self._look()
                except KafkaException as error:
                    self._warn(
                        f"the topic's configuration cannot be read: the broker {said(error)}. Only landing "
                        "detects a compacted topic"
                    )
            return self._unfit is None

    def _look(self) -> None:
        if self._admin is None:
            self._admin = kafka_admin(self._settings)  # created at the first call: it would not survive a fork
        topic = self._settings.kafka_topic
        asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=PROBE_TIMEOUT_SECONDS)[topic]
        config = config_of(self._admin, topic, PROBE_TIMEOUT_SECONDS)
        found = unfit(topic, config, min(len(one.replicas) for one in self._admin.answer(asked).partitions))
        if found and found != self._unfit:
            _log.error(f"not ready: {found}")
        elif self._unfit and not found:
            _log.warning("the topic is fit again")
        self._unfit = found
        for doubt in doubts(self._settings, config):
            self._warn(doubt)

    def _warn(self, text: str) -> None:
        """Log a warning once per text."""
        if text not in self._warned:
            self._warned.add(text)
            _log.warning(text)


class _Batch:
    """The records of one request, and the result of each."""

    def __init__(self, size: int) -> None:
        self._receipts: list[Receipt | None] = [None] * size
        self._open = size
        self._lock = threading.Lock()
        self.done = threading.Event()
        """Set when every record is settled or the wait is given up."""

    def settle(self, index: int, receipt: Receipt | None) -> None:
        with self._lock:
            self._receipts[index] = receipt
            self._open -= 1
            if self._open == 0:
                self.done.set()

    def receipts(self) -> list[Receipt | None]:
        with self._lock:
            return list(self._receipts)
