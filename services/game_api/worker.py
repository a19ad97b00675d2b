"""Gunicorn's threaded worker, with a clean end for one whose master has died."""

from __future__ import annotations

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]


class IntakeWorker(ThreadWorker):  # type: ignore[misc]
    """Answers what it has begun, and gives the port free at once.

    The plain worker notices that its master was killed, but goes on serving the connections it has for the whole
    ``graceful_timeout`` and keeps the port meanwhile: the next master gives up after five seconds, and whoever connects
    is left waiting. Measured with eight busy clients: ten seconds without an intake.
    """

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
