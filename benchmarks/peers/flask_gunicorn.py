"""The same application with today's tools, but still not waiting: gunicorn, and Confluent's client."""

from __future__ import annotations

from confluent_kafka import Producer
from flask import Flask

from benchmarks.peers.flask_app import create_flask_app
from daybook.kafka.config import librdkafka_conf
from daybook.settings import load_settings


def create_app() -> Flask:
    """Make the application of one worker, with its own producer."""
    chosen = load_settings()
    producer = Producer(librdkafka_conf(chosen))

    def send(value: bytes) -> None:
        producer.produce(chosen.kafka_topic, value)
        producer.poll(0)  # librdkafka recommends to serve its callbacks with every record

    return create_flask_app(send)
