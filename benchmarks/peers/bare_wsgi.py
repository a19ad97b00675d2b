"""The upper limit for gunicorn here: an application that ignores the request and always gives the same answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_ANSWER = b"Sword purchased!\n"


def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 200 with a body as long as the intake's."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(_ANSWER)))])
    return [_ANSWER]
