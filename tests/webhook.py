"""A web server on this machine that receives failure notifications, like a studio's chat."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any


class Webhook:
    """Runs inside a ``with`` block."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        """The bodies of all requests, oldest first."""
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Log nothing to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Its address in ``DAYBOOK_NOTIFY_URLS``."""
        return f"json://127.0.0.1:{self._server.server_port}/alerts"

    @property
    def texts(self) -> list[str]:
        """The messages that it received, oldest first."""
        return [message["message"] for message in self.received]

    def __enter__(self) -> Webhook:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
