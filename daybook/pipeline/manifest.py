"""Reads a generated day's manifest and the file of its accepted event ids."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from daybook.errors import NeedsDecision
from daybook.settings import Settings


def manifest_path(settings: Settings, day: date) -> Path:
    """Return the path of the day's manifest, which exists once the day was generated."""
    return settings.manifests_dir / f"{day}.json"


def ids_path(settings: Settings, day: date) -> Path:
    """Return the path of the day's accepted event ids: one per line, sorted."""
    return settings.manifests_dir / f"{day}.ids"


def read_manifest(settings: Settings, day: date) -> dict[str, Any] | None:
    """Return the manifest of a generated day, or None if the day was not generated completely.

    Raises:
        NeedsDecision: the file is not a manifest.
    """
    path = manifest_path(settings, day)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if missing := _NEEDED - manifest.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise unreadable(day, path, error) from None
    return manifest


def read_ids(settings: Settings, day: date) -> list[str]:
    """Return the accepted event ids of a generated day.

    Raises:
        NeedsDecision: the file is missing or cannot be read.
    """
    path = ids_path(settings, day)
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise unreadable(day, path, error) from None


_NEEDED = {"requested", "seed", "mischief"}


def unreadable(day: date, path: Path, error: Exception) -> NeedsDecision:
    """Return the error for a file of a generated day that cannot be read."""
    return NeedsDecision(
        f"{day}: the manifest {path} cannot be read ({error}); remove it and generate the day again with its seed: "
        "the same ids are sent, which is harmless"
    )
