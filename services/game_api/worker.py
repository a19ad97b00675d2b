"""Gunicorn's threaded worker, with an end to waiting for a client, and a clean end when its master has died."""

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
"""Longest time from a request's first byte to its last: a full megabyte needs 1.7 Mbit/s, a single event nothing."""
FIRST_BYTE_SECONDS: Final = 0.05
"""How long a new connection may keep a thread without sending anything; then the worker's poller waits for it, which
costs nothing."""

SKIPPED_BYTES: Final = 32 * 1024
"""Largest rest of a body that is skipped, to keep the connection; gunicorn's own bound is twice that."""


def end_unread(environ: WSGIEnvironment, *, in_time: bool) -> None:
    """End the connection with the answer, and say so in it, if the request's body was not read to its end.

    What is left is skipped by gunicorn if it is small; of a large rest it closes the connection, and without this the
    answer would still say ``keep-alive``. To be called before the answer is begun.

    Args:
        environ: the request's; of another server than gunicorn it is left alone.
        in_time: whether the body arrived in time; if not, the worker has stopped listening to the client.
    """
    body = environ["wsgi.input"]
    if not hasattr(body, "end_connection"):
        return
    left = getattr(body.reader, "length", None)  # in chunks: nobody knows how much
    is_read = body.reader.parser is None if left is None else left <= SKIPPED_BYTES
    if body.failed or not (in_time and is_read):
        body.end_connection()


class IntakeWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Stops listening to a client whose request is not there in time, and gives the port free when its master dies.

    A thread that reads a request from a client that stalls, or sends a byte now and then, is lost to everybody else.
    Gunicorn bounds the wait for the first byte and for the next request, not the time that a request takes to arrive.
    Only the receiving side is shut: a request that is complete and waits for the broker still gets its answer.

    The plain worker notices that its master was killed, but goes on serving the connections it has for the whole
    ``graceful_timeout`` and keeps the port meanwhile: the next master gives up after five seconds, and whoever connects
    is left waiting. Measured with eight busy clients: ten seconds without an intake.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[int, tuple[float, socket.socket]] = {}
        self._arriving_lock = threading.Lock()

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection; runs in a thread of the pool."""
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
        """Called by the worker's loop once a second."""
        super().murder_pending()
        now = time.monotonic()
        with self._arriving_lock:
            overdue = [sock for deadline, sock in self._arriving.values() if deadline < now]
        for sock in overdue:
            try:
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                continue  # it has closed the connection meanwhile

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP; an unknown transfer coding is the client's fault (400), no missing feature (501)."""
        if isinstance(exc, UnsupportedTransferCoding):
            exc = InvalidHeader("Transfer-Encoding")
        super().handle_error(req, client, addr, exc)

    def is_parent_alive(self) -> bool:
        """Whether the master lives; without one this is a stop like any other: answers say ``Connection: close``."""
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or not; a worker that stops will take none again and closes its listening sockets."""
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            for listener in self.sockets:
                listener.close()
