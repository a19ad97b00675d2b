"""What the intake is measured against: the same application that does not wait, and the shape of 2019.

Both are for ``benchmarks/intake.py`` alone: neither keeps the intake's promise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from unittest.mock import patch

from confluent_kafka import Producer
from flask import Flask, request

from daybook.kafka_conf import librdkafka_conf
from daybook.settings import Settings, settings
from game_api.app import create_app
from game_api.producer import EventProducer, Receipt


class UnawaitedProducer(EventProducer):
    """Hands the records to librdkafka and calls them accepted."""

    def send(self, records: Sequence[tuple[bytes, bytes]]) -> list[Receipt | None]:
        """Return receipts that nobody gave."""
        with self._lock:
            client = self._open()
        for key, value in records:
            client.produce(self._topic, value, key)
        return [Receipt(0, 0) for _ in records]


def create_unawaited_app(chosen: Settings | None = None) -> Flask:
    """The intake, with the one difference."""
    with patch("game_api.app.EventProducer", UnawaitedProducer):
        return create_app(chosen)


def serve_shape_of_2019() -> None:
    """Flask's development server, a route that logs to Kafka without waiting, and an answer at once."""
    app = Flask("shape_of_2019")
    producer = Producer(librdkafka_conf(settings()))

    @app.route("/purchase/<item>")
    def purchase(item: str) -> str:
        event = {"event_type": "purchase_item", "item": item, **dict(request.headers)}
        producer.produce(settings().kafka_topic, json.dumps(event).encode())
        producer.poll(0)
        return f"{item} Purchased!\n"

    @app.get("/health/live")
    def live() -> str:
        return "live"

    app.run(host="127.0.0.1", port=int(os.environ["DAYBOOK_API_PORT"]), threaded=True)


if __name__ == "__main__":
    serve_shape_of_2019()
