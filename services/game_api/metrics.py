"""The intake's Prometheus metrics: ``/metrics`` adds up all workers, including killed ones.

Each worker stores its numbers in files that prometheus_client maps into memory (its multiprocess mode). So a count
costs one memory write and outlives its process. ``gunicorn_conf`` creates the files and empties the folder when the
intake starts. It removes a dead worker's gauges, and gives its counts to the worker that takes its place. No label has
a value from a request: types come from the contract, routes from the code.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from daybook.contract import EVENT_TYPES
from game_api.problems import problem

UNKNOWN = "unknown"

EVENTS = Counter("daybook_events_total", "Events by type and verdict.", ["event_type", "verdict"])
REQUESTS = Counter("daybook_requests_total", "Requests by route and status.", ["route", "status"])
ACKNOWLEDGEMENT = Histogram(
    "daybook_acknowledgement_seconds",
    "From handing a request's events to Kafka to the last acknowledgement.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
BROKER_ERRORS = Counter("daybook_broker_errors_total", "Failed deliveries and broker errors by kind.", ["kind"])
QUEUE = Gauge("daybook_producer_queue_messages", "Events on their way to the broker.", multiprocess_mode="livesum")
CIRCUIT_OPEN = Gauge(
    "daybook_broker_away_workers", "Workers that know that the broker is unavailable.", multiprocess_mode="livesum"
)


def count_event(event_type: object, verdict: str) -> None:
    """Count one event under its type, or as unknown if the type is not in the contract."""
    EVENTS.labels(event_type if event_type in EVENT_TYPES else UNKNOWN, verdict).inc()


def init_app(app: Flask, queue_depth: Callable[[], int]) -> None:
    """Count requests, and serve ``/metrics``.

    Args:
        app: the application.
        queue_depth: returns how many events this worker has on their way to the broker.
    """

    @app.after_request
    def count_request(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else UNKNOWN
        REQUESTS.labels(route, response.status_code).inc()
        QUEUE.set(queue_depth())
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if not folder or not any(Path(folder).glob("*.db")):
            return problem(503, "there are no metrics: the disk was full when the intake started")
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client's
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
