"""The folder of Spark drivers' temporary files, and the removal of files that killed drivers left there."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from daybook.files import state_dir
from daybook.settings import Settings

LEFT_AFTER = timedelta(days=7)
"""No driver runs this long: older files have no owner."""


def driver_dir(settings: Settings) -> Path:
    """Return the folder of the drivers' temporary files, created if missing.

    Java's default is ``/tmp``, where each killed driver leaves its copies of the jars for ever: 70 MB.
    """
    return state_dir(settings, "drivers")


def remove_leftovers(settings: Settings, now: datetime) -> list[str]:
    """Remove the files that long-dead drivers left; return the removed names.

    Args:
        settings: where the state folder is.
        now: with its time zone.
    """
    removed = []
    for path in sorted(driver_dir(settings).iterdir()):
        try:
            touched_at = path.lstat().st_mtime
        except FileNotFoundError:
            continue  # a driver that has just ended removed its own files
        if touched_at < (now - LEFT_AFTER).timestamp():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed
