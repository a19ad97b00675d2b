"""The upper limit for batches: Confluent's producer without an intake, idempotent and with acks=all.

``python -m benchmarks.peers.producer_alone RECORDS EVENTS`` sends the records of a file of JSON lines ``[key, value]``.
It repeats them until EVENTS records are sent, and prints ``{"seconds": S, "cpu_seconds": S}``: from the first record to
the last acknowledgement. One record is sent before that, so that the start does not count.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import click
from confluent_kafka import Producer

from daybook.kafka.config import librdkafka_conf
from daybook.settings import load_settings
from game_api.producer import LINGER_MS

PATIENCE_SECONDS = 60.0


def main() -> None:
    """Send, and print the measured times."""
    file, count = Path(sys.argv[1]), int(sys.argv[2])
    lines = file.read_text(encoding="utf-8").splitlines()
    records = [(key.encode(), value.encode()) for key, value in map(json.loads, lines)]
    chosen = load_settings()
    producer = Producer(
        {
            **librdkafka_conf(chosen),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            # everything fits, so that nothing waits for space
            "queue.buffering.max.messages": max(count, 1000),
            "queue.buffering.max.kbytes": 1024 * 1024,
        }
    )
    # an idempotent producer gets its producer id from the broker up to half a second after its start
    producer.produce(chosen.kafka_topic, records[0][1], records[0][0])
    producer.flush(PATIENCE_SECONDS)
    began, cpu_began = time.perf_counter(), time.process_time()
    for key, value in islice(cycle(records), count):
        producer.produce(chosen.kafka_topic, value, key)
    left = producer.flush(PATIENCE_SECONDS)
    figures = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu_began}
    if left:
        sys.exit(f"{left} of {count} records without an acknowledgement after {PATIENCE_SECONDS:.0f} s")
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
