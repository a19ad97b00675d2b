"""Private files and folders that are written atomically.

The modes do not depend on the umask or on the creator of the folder, because Daybook's files hold secrets and players'
actions. A file is written next to its final path, synced to disk and then renamed. After a kill or a power cut the path
has the old file or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from daybook.settings import Settings

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


def private_dir(path: Path) -> Path:
    """Create a folder and its missing parents; remove all permissions of other users from the folder itself."""
    for one in (*reversed(path.parents), path):
        one.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        # a volume can belong to another user who grants write access: the files in it are still private
        with contextlib.suppress(PermissionError):
            path.chmod(PRIVATE_FOLDER)
    return path


def state_dir(settings: Settings, *names: str) -> Path:
    """Return the state folder, or the folder below it with these path names; created if missing, and private."""
    path = private_dir(settings.home)
    for name in names:
        path = private_dir(path / name)
    return path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Replace a file atomically by a new, private one that the block fills; if the block fails, the path is unchanged.

    Yields:
        The file to fill, next to the path. Its name begins with a dot, which readers of folders skip.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def write_private(path: Path, content: str | bytes) -> Path:
    """Write a private file in a private folder; a reader sees the old content or the new."""
    private_dir(path.parent)
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def private_opener(path: str, flags: int) -> int:
    """Opener for :func:`open` that creates private files."""
    return os.open(path, flags, PRIVATE_FILE)


def sync_dir(path: Path) -> None:
    """Sync a folder's entries to disk: the names, not the contents of the files."""
    folder = os.open(path, os.O_RDONLY)
    try:
        # some network file systems cannot sync a folder; there the server decides
        with contextlib.suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_dir(settings: Settings) -> Path:
    """Return the folder of the parts' runtime configuration; only the user may read it."""
    return state_dir(settings, "run")


def last_lines(log: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log, without blank ones; empty if there is no log yet."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        text = file.read().decode("utf-8", errors="replace")
    return [line for line in text.splitlines() if line.strip()][-count:]
