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
from math import ceil
from pathlib import Path
from typing import Final

from flask import g
from werkzeug.exceptions import TooManyRequests

from game_api.validation import MAX_EVENTS_PER_REQUEST

SLOTS: Final = 4096
"""Room for as many games; two that share a slot by chance (1 in 4096 for a pair) share a limit."""
_SLOT = struct.Struct("d")


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
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a+b")  # lives as long as the process
        self._file.truncate(SLOTS * _SLOT.size)
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._threads = threading.Lock()

    def spend(self, game: str, events: int) -> None:
        """Take a number of events from a game's share, or none of them.

        Raises:
            TooManyEvents: the share does not suffice; says how long to wait.
        """
        if not self.events_per_second:
            return
        slot = int.from_bytes(hashlib.sha256(game.encode()).digest()[:4], "big") % SLOTS * _SLOT.size
        cost = events * self._seconds_per_event
        # the kernel's lock is held by the process, so the process's threads need one of their own
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT.size, slot)
            try:
                # all processes of a host share this clock
                now = time.clock_gettime(time.CLOCK_MONOTONIC)
                (used_until,) = _SLOT.unpack_from(self._map, slot)
                # the clock starts anew with the machine: what is further ahead than a burst was not written since
                free_at = max(min(used_until, now + self._tolerance_seconds), now) + cost
                if (wait := free_at - now - self._tolerance_seconds) > 0:
                    raise TooManyEvents(wait, self.events_per_second)
                _SLOT.pack_into(self._map, slot, free_at)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT.size, slot)


def sender() -> str:
    """Who the current request's events are counted for: the game of its key; everybody together without keys."""
    game: str = g.get("game", "")
    return game
