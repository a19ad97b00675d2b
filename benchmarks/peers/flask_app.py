"""The application of 2019, whoever serves it and sends its events: one route that logs, and answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable

from flask import Flask, request

Send = Callable[[bytes], object]
"""Hands one record to a client of Kafka's; does not wait for the broker."""


def create_flask_app(send: Send) -> Flask:
    """The application.

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
