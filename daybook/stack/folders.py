"""Where the stack keeps what it needs while it runs, below the state folder."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from daybook.errors import DaybookError
from daybook.files import state_dir
from daybook.settings import Settings

_LONGEST_SOCKET_FOLDER_BYTES = 80
"""A socket's path holds 103 bytes on macOS and 107 on Linux, and supervisord appends its process id to the name."""


def short_dir(settings: Settings) -> Path:
    """Folder for sockets when the state folder's own path is too long for one; the same at every call.

    It lies in ``/tmp`` by name, not where ``TMPDIR`` points: ``up`` in one shell and ``down`` in another must agree.
    """
    digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:12]
    return Path(f"/tmp/daybook-{os.geteuid()}-{digest}")


def sockets_dir(settings: Settings) -> Path:
    """Folder that holds the stack's sockets, made if need be; nobody else may enter it.

    Raises:
        DaybookError: somebody else made a folder of that name.
    """
    inside = settings.home / "run" / "s"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_FOLDER_BYTES:
        return state_dir(settings, "run", "s")
    path = short_dir(settings)
    path.mkdir(exist_ok=True, mode=0o700)
    found = path.lstat()
    # /tmp is everybody's: a folder put there in advance would let its maker answer in the database's place
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise DaybookError(f"{path} is not a folder of this user alone; remove it, or move the state: DAYBOOK_HOME")
    return path
