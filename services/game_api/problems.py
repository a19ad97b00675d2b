"""Errors as ``application/problem+json`` (RFC 9457): what is wrong, in which field, and nothing of what was sent."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, g, json
from werkzeug.exceptions import HTTPException

from game_api.responses import Problem, Verdicts

RETRY_AFTER_SECONDS = 1
"""Sent with every 503: the open circuit probes the broker about twice a second."""

_log = structlog.get_logger(__name__)


def json_text(body: Verdicts | Problem) -> str:
    r"""Return a response's body; ``<`` is written ``\u003c``: no field name becomes markup, whatever the type."""
    return json.dumps(body).replace("<", "\\u003c") + "\n"


def problem(status: int, detail: str, **members: Any) -> Response:
    """An error answer.

    Args:
        status: HTTP status; its phrase becomes the title.
        detail: one sentence for the developer who reads it.
        members: further members of the JSON object, for example ``errors``.
    """
    body = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=g.request_id,
        **members,  # type: ignore[typeddict-item]  # its callers give members of the type
    )
    response = Response(json_text(body), status=status, mimetype="application/problem+json")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def init_app(app: Flask) -> None:
    """Answer Flask's own errors (404, 405, 413 ...) and our bugs in the same form."""

    @app.errorhandler(HTTPException)
    def from_werkzeug(error: HTTPException) -> Response:
        response = problem(error.code or 500, error.description or "")
        for name, value in error.get_headers():
            if name in {"Allow", "Retry-After"}:
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def from_bug(error: Exception) -> Response:
        _log.exception("request failed", error=type(error).__name__)
        return problem(500, "internal error of the intake; the event was not accepted")
