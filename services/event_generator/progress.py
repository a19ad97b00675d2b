"""The generator's progress file: stores the intake's verdicts while a day is sent, so that a killed run can continue.

The file is next to the manifest and has one line for each settled event, written as soon as the response arrives. Lines
are only appended; an incomplete last line of a killed process is ignored. If a response was not written down, the event
is sent again with the same id, which is harmless. The manifest replaces the file once the whole day has been sent.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from daybook.errors import NonRetryableError, NotNow
from daybook.files import private_opener, state_dir
from daybook.settings import Settings
from event_generator.manifest import Request

OPEN: Final = 0
ACCEPTED: Final = 1
REFUSED: Final = 2


def progress_path(settings: Settings, day: date) -> Path:
    """Return the path of a day's progress file."""
    return settings.manifests_dir / f"{day}.progress"


def begun_before(settings: Settings, day: date) -> Request | None:
    """Return the request of an unfinished day if at least one of its events was settled, else None."""
    try:
        with progress_path(settings, day).open("rb") as file:
            asked, settled = file.readline(), file.readline()
        # sending the day reports a file that is not the generator's
        return Request.from_json(day, json.loads(asked)) if settled.endswith(b"\n") else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Ack:
    """The verdict on one place of the script; partition and offset if it was accepted."""

    place: int
    partition: int | None = None
    offset: int | None = None


class Progress:
    """The settled places of a day; may be written by several threads."""

    def __init__(self, settings: Settings, request: Request, places: int) -> None:
        """Open the day's file, or create it.

        Raises:
            BadInput: the day was begun with another request.
            NotNow: another process is sending the day.
            NonRetryableError: the file was not written by the generator.
        """
        self.verdict: NDArray[np.int8] = np.zeros(places, dtype=np.int8)
        """For each place of the script: open, accepted or refused."""
        self.offsets: dict[int, int] = {}
        """Highest acknowledged offset of each partition."""
        self._lock = threading.Lock()
        self._path = progress_path(settings, request.day)
        state_dir(settings, "manifests")
        self._file = os.fdopen(private_opener(str(self._path), os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b")
        try:
            # the kernel releases the lock however the process ends
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotNow(f"{request.day} is being sent by another process; wait for it, or stop it") from None
        lines = self._path.read_bytes().split(b"\n")[:-1]
        if len(lines) < 2:  # nothing was settled: another request is allowed
            lines = []
        else:
            self._read(lines, request)
        # overwrite an incomplete line
        self._file.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._write(json.dumps(request.as_json()) + "\n")

    def _read(self, lines: list[bytes], request: Request) -> None:
        try:
            begun: dict[str, Any] = json.loads(lines[0])
            day = date.fromisoformat(begun["day"])
            request.refuse_other(Request.from_json(day, begun), "begun")
            for line in lines[1:]:
                place, *at = (int(word) for word in line.split())
                self._take(Ack(place, *at))
        except (ValueError, KeyError, IndexError, TypeError):
            raise NonRetryableError(
                f"{request.day}: {self._path} is not a progress file of the generator; remove it and generate the day "
                "again: the same ids are sent, which is harmless"
            ) from None

    def _take(self, one: Ack) -> None:
        self.verdict[one.place] = REFUSED if one.partition is None else ACCEPTED
        if one.partition is not None and one.offset is not None:
            self.offsets[one.partition] = max(one.offset, self.offsets.get(one.partition, -1))

    def settle(self, settled: list[Ack]) -> int:
        """Write the verdicts of a response; returns the total number of settled places."""
        text = "".join(
            f"{one.place}\n" if one.partition is None else f"{one.place} {one.partition} {one.offset}\n"
            for one in settled
        )
        with self._lock:
            for one in settled:
                self._take(one)
            self._write(text)
            return int(np.count_nonzero(self.verdict))

    def _write(self, text: str) -> None:
        self._file.write(text.encode())
        # flushed to the kernel, which outlives this process; after a power cut, ids are only sent again
        self._file.flush()

    def close(self) -> None:
        """Close the file but do not delete it, so that a later run can continue."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file: the manifest now has all its information."""
        self.close()
        self._path.unlink(missing_ok=True)
