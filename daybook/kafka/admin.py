"""Kafka's administration as Daybook uses it: it says why a broker that is there lets nobody in, within seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from daybook.kafka.config import librdkafka_conf, remedy
from daybook.settings import Settings

REFUSED_AFTER_SECONDS = 2.0
"""How long a refused login or handshake is tried again before it counts: one broker of several may be at fault, or one
connection have met a broker in its start."""
_LOOK_EVERY_SECONDS = 0.1

T = TypeVar("T")


class KafkaAdmin(AdminClient):
    """An AdminClient whose answers are waited for with :meth:`answer`.

    librdkafka tries a login that was refused again until the request's time is up, and then says that it is. What the
    broker said comes by the way, as an event of the client.
    """

    def __init__(self, conf: Mapping[str, str | int]) -> None:
        self._refused: KafkaError | None = None
        with_errors: dict[str, Any] = {**conf, "error_cb": self._note}
        # librdkafka's own words (one line a second while the broker is away) would drown the one line that matters
        super().__init__({"log_level": 0, **with_errors})

    def answer(self, answer: Future[T]) -> T:
        """Wait for an answer of this client; its own time-out ends the wait.

        Raises:
            KafkaException: the broker's error, or what keeps the client from asking; see
                :func:`daybook.kafka.config.remedy`.
        """
        refused_at: float | None = None
        while True:
            try:
                return answer.result(_LOOK_EVERY_SECONDS)
            except NotYet:
                self.poll(0)
            if self._refused is None:
                continue
            refused_at = refused_at or time.monotonic()
            if time.monotonic() - refused_at > REFUSED_AFTER_SECONDS:
                raise KafkaException(self._refused)

    def _note(self, error: KafkaError) -> None:
        if remedy(error.name()):
            self._refused = error


def kafka_admin(settings: Settings) -> KafkaAdmin:
    """The administration of the brokers in the settings."""
    return KafkaAdmin(librdkafka_conf(settings))


def said(error: KafkaException) -> str:
    """An error in words: what the broker does, what the client says of it, and where to look if waiting cures nothing.

    A verb phrase: "does not answer (...)".
    """
    reason: KafkaError = error.args[0]
    return f"{remedy(reason.name()) or 'does not answer'} ({reason.str()})"
