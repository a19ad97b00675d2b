"""The shape of 2019: Flask's development server, and kafka-python's ``send`` without waiting."""

from __future__ import annotations

from kafka import KafkaProducer

from benchmarks.peers.flask_app import create_flask_app
from daybook.settings import load_settings


def main() -> None:
    """Serve until killed, with a thread for each connection: the development server's default."""
    chosen = load_settings()
    producer = KafkaProducer(bootstrap_servers=chosen.bootstrap_servers)
    app = create_flask_app(lambda value: producer.send(chosen.kafka_topic, value))
    app.run(host="127.0.0.1", port=chosen.api_port)


if __name__ == "__main__":
    main()
