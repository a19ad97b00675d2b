"""The intake's Flask application: shows its architecture; each part has its own module."""

from __future__ import annotations

from flask import Flask

from daybook.settings import Settings, load_settings
from game_api import access, browsers, hosts, logs, metrics, openapi, problems, routes
from game_api.limits import EventLimit
from game_api.producer import EventProducer

PRODUCER = "daybook_producer"
"""Key of the worker's :class:`~game_api.producer.EventProducer` in ``app.extensions``."""


def create_app(settings: Settings | None = None) -> Flask:
    """Create the intake's WSGI application.

    No connection is opened here: the first request connects to Kafka, in the worker that serves it, because
    librdkafka's threads do not survive a fork.

    Args:
        settings: the settings to use; by default those of the environment.

    Raises:
        daybook.errors.BadInput: a setting in the environment is wrong.
    """
    settings = settings or load_settings()
    app = Flask("game_api", static_folder=None)
    producer = app.extensions[PRODUCER] = EventProducer(settings)
    hosts.init_app(app, settings)
    logs.init_app(app)
    limit = EventLimit(settings.api_state_dir / "limits", settings.api_events_per_second)
    problems.init_app(app)
    metrics.init_app(app, producer.queue_depth)
    access.init_app(app, settings)
    browsers.init_app(app, settings)
    routes.init_app(app, settings, producer, limit)
    openapi.init_app(app, settings)
    return app
