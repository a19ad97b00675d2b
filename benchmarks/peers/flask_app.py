"""The application of 2019, for all servers and clients: one route that sends an event and answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable

from flask import Flask, request

Send = Callable[[bytes], object]
"""Passes one record to a Kafka client; does not wait for the broker."""


def create_flask_app(send: Send) -> Flask:
    """Make the application.

    Args:
        send: called with each event, as JSON.
    """
    app = Flask(__name__)

    @app.get("/purchase/<item>")
    def purchase(item: str) -> str:
        event = {"event_type": "purchase_item", "item": item, **dict(request.headers)}
        send(json.dumps(event).encode())
        return f"{item} Purchased!\n"

    @app.get("/health/live")
    def live() -> str:
        return "live"

    return app
