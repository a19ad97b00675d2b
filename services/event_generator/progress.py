"""The generator's own ledger while it plays: what the intake has said so far, so that a killed run can go on.

A file beside the manifest, one line for each event that was settled, written as soon as its answer is in. Lines are
only ever added; a last line that a kill has torn is left out. An answer that was given and not written down is asked
for again with the same id, which is harmless. The manifest takes the file's place once the day has been played.
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

from daybook.errors import NeedsDecision, NotNow
from daybook.files import private_opener, state_dir
from daybook.settings import Settings
from event_generator.manifest import Request

OPEN: Final = 0
ACCEPTED: Final = 1
REFUSED: Final = 2


def progress_path(settings: Settings, day: date) -> Path:
    """Where a day's progress lies while it is played."""
    return settings.manifests_dir / f"{day}.progress"


def begun_before(settings: Settings, day: date) -> Request | None:
    """With which request a day was begun, if it was not played to its end and something of it was settled."""
    try:
        with progress_path(settings, day).open("rb") as file:
            asked, settled = file.readline(), file.readline()
        # a file that is not the generator's is reported by the play
        return Request.from_json(day, json.loads(asked)) if settled.endswith(b"\n") else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Settled:
    """The verdict on one place of the script; partition and offset if it was accepted."""

    place: int
    partition: int | None = None
    offset: int | None = None


class Progress:
    """What is settled of a day; may be written by several threads."""

    def __init__(self, settings: Settings, request: Request, places: int) -> None:
        """Open the day's file, or begin it.

        Raises:
            BadInput: the day was begun with another request.
            NotNow: it is being played by another process.
            NeedsDecision: the file is not one of the generator's.
        """
        self.verdict: NDArray[np.int8] = np.zeros(places, dtype=np.int8)
        """Of each place of the script: open, accepted or refused."""
        self.offsets: dict[int, int] = {}
        """Highest acknowledged offset of each partition."""
        self._lock = threading.Lock()
        self._path = progress_path(settings, request.day)
        state_dir(settings, "manifests")
        self._file = os.fdopen(private_opener(str(self._path), os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b")
        try:
            # gone with the process that holds it, however it ends
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotNow(f"{request.day} is being played by another process; wait for it, or stop it") from None
        lines = self._path.read_bytes().split(b"\n")[:-1]
        if len(lines) < 2:  # nothing was settled: nobody is bound by what was asked
            lines = []
        else:
            self._read(lines, request)
        # a line that was torn is written over
        self._file.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._write(json.dumps(request.as_json()) + "\n")

    def _read(self, lines: list[bytes], request: Request) -> None:
        try:
            begun: dict[str, Any] = json.loads(lines[0])
            request.refuse_other(begun, "begun")
            for line in lines[1:]:
                place, *at = (int(word) for word in line.split())
                self._take(Settled(place, *at))
        except (ValueError, KeyError, IndexError, TypeError):
            raise NeedsDecision(
                f"{request.day}: {self._path} is not a record of what was sent; remove it and generate the day again: "
                "the same ids are sent, which is harmless"
            ) from None

    def _take(self, one: Settled) -> None:
        self.verdict[one.place] = REFUSED if one.partition is None else ACCEPTED
        if one.partition is not None and one.offset is not None:
            self.offsets[one.partition] = max(one.offset, self.offsets.get(one.partition, -1))

    def settle(self, settled: list[Settled]) -> int:
        """Write down the verdicts of an answer; returns how many places are settled in all."""
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
        # to the kernel: it outlives this process, and a power cut only makes ids be sent again
        self._file.flush()

    def close(self) -> None:
        """Close the file; it stays, for a run that goes on."""
        self._file.close()

    def remove(self) -> None:
        """Take the file away: the manifest says all it said."""
        self.close()
        self._path.unlink(missing_ok=True)
