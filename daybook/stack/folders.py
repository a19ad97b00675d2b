"""Folders below the state folder for the stack's runtime files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from daybook.errors import DaybookError
from daybook.files import state_dir
from daybook.settings import Settings

_LONGEST_SOCKET_FOLDER_BYTES = 80
"""A socket's path can have 103 bytes on macOS and 107 on Linux, and supervisord appends its process id to the name."""


def short_dir(settings: Settings) -> Path:
    """Return the folder for sockets if the state folder's path is too long for one; the same at every call.

    It is always in ``/tmp``, not in ``TMPDIR``: ``up`` in one shell and ``down`` in another must agree.
    """
    digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:12]
    return Path(f"/tmp/daybook-{os.geteuid()}-{digest}")


def sockets_dir(settings: Settings) -> Path:
    """Return the folder of the stack's sockets, created if missing; nobody else may enter it.

    Raises:
        DaybookError: another user created a folder of that name.
    """
    inside = settings.home / "run" / "s"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_FOLDER_BYTES:
        return state_dir(settings, "run", "s")
    path = short_dir(settings)
    path.mkdir(exist_ok=True, mode=0o700)
    found = path.lstat()
    # every user can write to /tmp: the owner of a folder created in advance could impersonate the database
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise DaybookError(f"{path} is not a private folder of this user; remove it, or move the state: DAYBOOK_HOME")
    return path
