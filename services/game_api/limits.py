"""A limit on how many events a game may send, shared by all workers of this host.

It uses the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"). For each game one number is stored: the
time until which the game has used its share. The numbers are in a small file that every worker maps. It is locked by
the kernel, which releases the lock when a worker is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import BinaryIO, Final

import structlog
from flask import g
from werkzeug.exceptions import TooManyRequests

from daybook.files import private_dir
from game_api.shared_files import reserve
from game_api.validation import MAX_EVENTS_PER_REQUEST

SLOTS: Final = 4096
"""Number of slots for games; two games that share a slot by chance (1 in 4096 for a pair) share a limit."""
ROUNDING_SECONDS: Final = 1e-6
"""Tolerance for inexact sums of seconds since the machine started: without it, one full burst in a few is refused."""
_SLOT = struct.Struct("d")

_log = structlog.get_logger(__name__)


class TooManyEvents(TooManyRequests):
    """The game has used its share for now; the response is a 429 with ``Retry-After``."""

    def __init__(self, wait_seconds: float, events_per_second: int) -> None:
        super().__init__(
            f"over {events_per_second} events per second; no event was accepted. Send the same events again after "
            f"{ceil(wait_seconds)} s",
            retry_after=ceil(wait_seconds),
        )


class EventLimit:
    """Limits events per second for each game; allows a burst of one second, or of one full request if that is more."""

    def __init__(self, file: Path, events_per_second: int) -> None:
        self.events_per_second = events_per_second
        self._seconds_per_event = 1.0 / events_per_second if events_per_second else 0.0
        burst = max(events_per_second, MAX_EVENTS_PER_REQUEST)
        self._tolerance_seconds = burst * self._seconds_per_event
        self._threads = threading.Lock()
        self._file: BinaryIO | None = None
        if not events_per_second:
            return
        try:
            private_dir(file.parent)
            reserve(file, SLOTS * _SLOT.size)
            self._file = file.open("r+b")  # stays open as long as the process runs
        except OSError as error:
            _log.error("each worker has its own limit: their shared file cannot be created", reason=str(error))
        self._map = mmap.mmap(self._file.fileno() if self._file else -1, SLOTS * _SLOT.size)

    def check(self, game: str) -> None:
        """Check before a request's body is read that one more event is allowed; does not count it.

        Raises:
            TooManyEvents: it is not allowed; the message names the time to wait.
        """
        self._take(game, 1, keep=False)

    def spend(self, game: str, events: int) -> None:
        """Take a number of events from a game's share: all of them or nothing.

        Raises:
            TooManyEvents: the share does not suffice; the message names the time to wait.
        """
        self._take(game, events, keep=True)

    def _take(self, game: str, events: int, *, keep: bool) -> None:
        if not self.events_per_second:
            return
        slot = int.from_bytes(hashlib.sha256(game.encode()).digest()[:4], "big") % SLOTS * _SLOT.size
        cost = events * self._seconds_per_event
        with self._locked(slot):
            # all processes of a host share this clock
            now = time.clock_gettime(time.CLOCK_MONOTONIC)
            (used_until,) = _SLOT.unpack_from(self._map, slot)
            # the clock restarts with the machine: a value further ahead than a burst was written before the restart
            free_at = max(min(used_until, now + self._tolerance_seconds), now) + cost
            if (wait := free_at - now - self._tolerance_seconds) > ROUNDING_SECONDS:
                raise TooManyEvents(wait, self.events_per_second)
            if keep:
                _SLOT.pack_into(self._map, slot, free_at)

    @contextmanager
    def _locked(self, slot: int) -> Iterator[None]:
        # the process holds the kernel's lock, so its threads need a lock between themselves
        with self._threads:
            if self._file is None:
                yield
                return
            fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT.size, slot)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT.size, slot)


def sender() -> str:
    """Return whose limit the current request uses: the game of its key; one shared limit without keys."""
    game: str = g.get("game", "")
    return game
