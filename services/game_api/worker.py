"""Gunicorn's threaded worker, with a time limit for receiving requests and a clean stop when its master has died."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http.errors import InvalidHeader, UnsupportedTransferCoding
from gunicorn.workers.gthread import _DEFER, ThreadWorker

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ARRIVAL_SECONDS: Final = 5.0
"""Longest time from a request's first byte to its last: a full megabyte needs 1.7 Mbit/s, an event nearly nothing."""
FIRST_BYTE_SECONDS: Final = 0.05
"""How long a new connection may occupy a thread without sending anything. After that the worker's poller waits for it,
which costs nothing."""

SKIPPED_BYTES: Final = 32 * 1024
"""Largest unread rest of a body that is skipped to reuse the connection; gunicorn's own limit is twice that."""


def end_unread(environ: WSGIEnvironment, *, in_time: bool) -> None:
    """Close the connection after the response, and announce this in it, if the body was not read to its end.

    Gunicorn skips a small unread rest. If the rest is large, it closes the connection; without this function the
    response would still contain ``keep-alive``. Call it before the response begins.

    Args:
        environ: the request's; not changed under a server other than gunicorn.
        in_time: whether the body arrived in time; if not, the worker has stopped listening to the client.
    """
    body = environ["wsgi.input"]
    if not hasattr(body, "end_connection"):
        return
    left = getattr(body.reader, "length", None)  # None for a chunked body: its length is unknown
    is_read = body.reader.parser is None if left is None else left <= SKIPPED_BYTES
    if body.failed or not (in_time and is_read):
        body.end_connection()


class IntakeWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Stops listening to a client whose request does not arrive in time, and frees the port when its master dies.

    A client that stalls, or sends a byte now and then, blocks the thread that reads its request. Gunicorn limits the
    wait for the first byte and for the next request, but not the time that a request takes to arrive. Only the
    receiving side is shut down: a complete request that waits for the broker still gets its response.

    The plain worker notices that its master was killed, but continues to serve its connections for the whole
    ``graceful_timeout`` and holds the port meanwhile. The next master gives up after five seconds, and new clients
    wait. Measured with eight busy clients: ten seconds without an intake.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[int, tuple[float, socket.socket]] = {}
        self._arriving_lock = threading.Lock()

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection; runs in a pool thread."""
        if not conn.initialized and not conn.data_ready and not conn.wait_for_data(FIRST_BYTE_SECONDS):
            return _DEFER
        with self._arriving_lock:
            self._arriving[id(conn)] = time.monotonic() + ARRIVAL_SECONDS, conn.sock
        try:
            return super().handle(conn)
        finally:
            with self._arriving_lock:
                self._arriving.pop(id(conn), None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Serve one request; the application can end its connection, see :func:`end_unread`."""
        req.body.end_connection = req.force_close
        return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        """Shut down overdue connections; the worker's loop calls this once a second."""
        super().murder_pending()
        now = time.monotonic()
        with self._arriving_lock:
            overdue = [sock for deadline, sock in self._arriving.values() if deadline < now]
        for sock in overdue:
            try:
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                continue  # the client has closed the connection meanwhile

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer malformed requests; an unknown transfer coding is a client error: 400, not 501 (not implemented)."""
        if isinstance(exc, UnsupportedTransferCoding):
            exc = InvalidHeader("Transfer-Encoding")
        super().handle_error(req, client, addr, exc)

    def is_parent_alive(self) -> bool:
        """Whether the master is alive; if not, stop as usual: responses contain ``Connection: close``."""
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept new connections or not; a stopping worker accepts no more and closes its listening sockets."""
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            for listener in self.sockets:
                listener.close()
