"""Files that the workers of an intake share by mapping them into memory: metrics and limits."""

from __future__ import annotations

from pathlib import Path

from daybook.files import private_opener


def reserve(file: Path, size_bytes: int) -> None:
    """Create or extend a file to at least this size with all blocks allocated on disk; its content does not change.

    A file that is only truncated to its size gets its blocks when a mapped page is first written. On a full disk that
    write kills the process (SIGBUS); here it is an error that can be handled.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with open(file, "ab", buffering=0, opener=private_opener) as opened:
        held_bytes = opened.tell()
        try:
            while (missing := size_bytes - opened.tell()) > 0:
                opened.write(bytes(missing))
        except OSError:
            opened.truncate(held_bytes)
            if not held_bytes:  # a new, incomplete file: a reader of the folder would fail on it
                file.unlink()
            raise
