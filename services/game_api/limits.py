"""A limit on how many events a game may send, shared by all workers of this host.

The generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): for each game one number is kept, the moment until
which it has used up its share. It lies in a small file that every worker maps; the lock on it is the kernel's, which
lets go of it when a worker is killed.
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
"""Room for as many games; two that share a slot by chance (1 in 4096 for a pair) share a limit."""
ROUNDING_SECONDS: Final = 1e-6
"""Sums of seconds since the machine started are not exact: without it one full burst in a few would be refused."""
_SLOT = struct.Struct("d")

_log = structlog.get_logger(__name__)


class TooManyEvents(TooManyRequests):
    """The game has used up its share for now; answered with 429 and ``Retry-After``."""

    def __init__(self, wait_seconds: float, events_per_second: int) -> None:
        super().__init__(
            f"over {events_per_second} events per second; nothing was taken. Send the same events again after "
            f"{ceil(wait_seconds)} s",
            retry_after=ceil(wait_seconds),
        )


class EventLimit:
    """Events per second of each game, with a burst of one second's worth, or of one full request if that is more."""

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
            self._file = file.open("r+b")  # lives as long as the process
        except OSError as error:
            _log.error("each worker has a limit of its own: the file that they share cannot be made", reason=str(error))
        self._map = mmap.mmap(self._file.fileno() if self._file else -1, SLOTS * _SLOT.size)

    def check(self, game: str) -> None:
        """See that the share has room for one event, and leave it as it is: before a request's body is read.

        Raises:
            TooManyEvents: it has none; says how long to wait.
        """
        self._take(game, 1, keep=False)

    def spend(self, game: str, events: int) -> None:
        """Take a number of events from a game's share, or none of them.

        Raises:
            TooManyEvents: the share does not suffice; says how long to wait.
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
            # the clock starts anew with the machine: what is further ahead than a burst was not written since
            free_at = max(min(used_until, now + self._tolerance_seconds), now) + cost
            if (wait := free_at - now - self._tolerance_seconds) > ROUNDING_SECONDS:
                raise TooManyEvents(wait, self.events_per_second)
            if keep:
                _SLOT.pack_into(self._map, slot, free_at)

    @contextmanager
    def _locked(self, slot: int) -> Iterator[None]:
        # the kernel's lock is held by the process, so the process's threads need one of their own
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
    """Who the current request's events are counted for: the game of its key; everybody together without keys."""
    game: str = g.get("game", "")
    return game
