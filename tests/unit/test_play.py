"""A generator run whose intake acknowledges nothing reports this while it waits; the test provides the intake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from daybook.errors import DaybookError
from daybook.settings import Settings
from event_generator import play
from event_generator.manifest import Request


class Away(BaseHTTPRequestHandler):
    """An intake whose broker does not answer."""

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(503)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b'{"events":[]}')

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the test checks the requests."""


@pytest.fixture
def intake() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Away) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_why_nothing_is_acknowledged_is_reported_again_and_again(
    own_settings: Settings, intake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(play, "SECONDS_BETWEEN_REASONS", 0.2)
    reasons: list[str] = []
    own = own_settings.model_copy(update={"api_url": intake})
    with pytest.raises(DaybookError, match=r"the intake acknowledged nothing for 1 s \(status 503\)"):
        play.play_day(Request(date(2026, 5, 3), 20, 1), own, play.Load(connections=1), waits=reasons.append)
    assert set(reasons) == {"status 503"}
    assert len(reasons) > 1
