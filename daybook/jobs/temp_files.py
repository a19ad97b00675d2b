"""Where Spark drivers keep their temporary files, and an end to what killed ones left there."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from daybook.files import state_dir
from daybook.settings import Settings

LEFT_AFTER = timedelta(days=7)
"""No driver runs so long: what was last touched before that is nobody's."""


def driver_dir(settings: Settings) -> Path:
    """Folder of the drivers' temporary files, made if need be.

    Java's own is ``/tmp``, where each driver that is killed leaves its copies of the jars for ever: 70 MB.
    """
    return state_dir(settings, "drivers")


def remove_leftovers(settings: Settings, now: datetime) -> list[str]:
    """Remove what drivers left that are long gone; the names of what was removed.

    Args:
        settings: where the state folder is.
        now: with its time zone.
    """
    removed = []
    for path in sorted(driver_dir(settings).iterdir()):
        try:
            touched_at = path.lstat().st_mtime
        except FileNotFoundError:
            continue  # a driver that has just ended took its own away
        if touched_at < (now - LEFT_AFTER).timestamp():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed
