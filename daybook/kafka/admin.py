"""AdminClient that reports authentication and TLS errors within seconds instead of timing out."""

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
"""How long a failed login or handshake is retried before it counts as an error. A single broker may be at fault, or a
connection may have reached a broker that was starting."""
_LOOK_EVERY_SECONDS = 0.1

T = TypeVar("T")


class KafkaAdmin(AdminClient):
    """An AdminClient whose results are awaited with :meth:`answer`.

    librdkafka retries a failed login until the request times out, and then reports only the timeout. The broker's
    actual error arrives separately, as an event of the client.
    """

    def __init__(self, conf: Mapping[str, str | int]) -> None:
        self._refused: KafkaError | None = None
        with_errors: dict[str, Any] = {**conf, "error_cb": self._note}
        # librdkafka logs a line every second while the broker is unavailable, which would hide the one that matters
        super().__init__({"log_level": 0, **with_errors})

    def answer(self, answer: Future[T]) -> T:
        """Wait for a result of this client, until its own timeout.

        Raises:
            KafkaException: the broker's error, or the error that prevents the client from sending the request; see
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
    """Return an admin client for the configured brokers."""
    return KafkaAdmin(librdkafka_conf(settings))


def said(error: KafkaException) -> str:
    """Describe an error: the broker's behaviour, the client's message and, if waiting cannot help, what to check.

    The text is a verb phrase: "does not answer (...)".
    """
    reason: KafkaError = error.args[0]
    return f"{remedy(reason.name()) or 'does not answer'} ({reason.str()})"
