"""Logs: one JSON line per record on standard error, for our own, librdkafka's and gunicorn's records.

No player data is logged: no host, user, address or body; events are identified by their ids.
"""

from __future__ import annotations

import logging
import re
import time
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from flask import Flask, Response, g, request
from structlog.typing import Processor

REQUEST_ID_HEADER = "X-Request-Id"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_log = structlog.get_logger(__name__)

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class HidePeer(logging.Filter):
    """Removes address and content of a malformed request from gunicorn's warning."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never drop it."""
        if str(record.msg).startswith("Invalid request from ip="):
            record.msg, record.args = "malformed request refused", ()
        return True


class RateLimitFilter(logging.Filter):
    """Limits the rate of a logger: librdkafka writes forty lines a second while a broker is unavailable."""

    PAUSE_SECONDS = 10.0

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._silent_until = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass the first record after each pause; drop the others."""
        if record.created < self._silent_until:
            return False
        self._silent_until = record.created + self.PAUSE_SECONDS
        return True


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"hide_peer": {"()": HidePeer}, "seldom": {"()": RateLimitFilter}},
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _SHARED,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        }
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "filters": ["hide_peer"],
            "stream": "ext://sys.stderr",
        }
    },
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
        "librdkafka": {"level": "WARNING", "filters": ["seldom"]},
        "gunicorn.access": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
    },
}
"""For :func:`logging.config.dictConfig`: gunicorn's configuration passes it, so that even the first line is JSON."""


def init_app(app: Flask) -> None:
    """Send our records through :data:`LOGGING`'s handlers, and give each request an id that its response returns."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )

    @app.before_request
    def name_request() -> None:
        # use the caller's own id if it is safe in a log and a header
        given = request.headers.get(REQUEST_ID_HEADER, "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        g.started_at = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def log_request(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        # the metrics count successful requests; a line for each would fill the log without information
        if response.status_code >= HTTPStatus.BAD_REQUEST or "refused" in g.get("verdicts", {}):
            _log.info(
                "request refused",
                status=response.status_code,
                route=request.url_rule.rule if request.url_rule is not None else None,
                duration_ms=round((time.perf_counter() - g.started_at) * 1000, 1),
                game=g.get("game"),
                **g.get("verdicts", {}),
            )
        return response
