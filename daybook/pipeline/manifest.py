"""The manifest of a generated day: what was sent for it and acknowledged, and the answers that are expected.

``event_generator`` writes it. Publishing, ``daybook plan`` and ``daybook verify`` read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from daybook.errors import NonRetryableError
from daybook.settings import Settings


class Injected(BaseModel):
    """Faults of the day's clients that were sent, by kind."""

    model_config = ConfigDict(frozen=True)

    duplicates: int
    """Events acknowledged with an id that was acknowledged before."""
    late: Mapping[date, int]
    """Day -> acknowledged events of the run that happened on this earlier day."""
    invalid: Mapping[str, int]
    """Kind of invalid event -> how many were sent."""


class Manifest(BaseModel):
    """A generated day that was sent completely. Times are in UTC."""

    model_config = ConfigDict(frozen=True)

    day: date
    seed: int
    requested: int
    """Events of the day, without those that :attr:`mischief` adds."""
    mischief: Mapping[str, float]
    """Kind of fault -> its share of the day's events, 0 to 1."""
    sent: int
    accepted: int
    refused: int
    injected: Injected
    offsets: Mapping[int, int]
    """Partition -> the highest offset that was acknowledged."""
    accepted_ids: str
    """Name of the file of the accepted event ids, in the manifest's folder."""
    expected: Mapping[str, list[dict[str, Any]]]
    """Answer -> its rows, from the accepted events only."""
    finished_at: str
    """When the last event was acknowledged, in the contract's form."""

    def text(self) -> str:
        """Return the file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def manifest_path(settings: Settings, day: date) -> Path:
    """Return the path of the day's manifest, which exists once the day was generated."""
    return settings.manifests_dir / f"{day}.json"


def ids_path(settings: Settings, day: date) -> Path:
    """Return the path of the day's accepted event ids: one per line, sorted."""
    return settings.manifests_dir / f"{day}.ids"


def read_manifest(settings: Settings, day: date) -> Manifest | None:
    """Return the manifest of a generated day, or None if the day was not generated completely.

    Raises:
        NonRetryableError: the file is not a manifest.
    """
    path = manifest_path(settings, day)
    try:
        return parse_manifest(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise unreadable(day, path, error) from None


def parse_manifest(text: str) -> Manifest:
    """Return the manifest that a file holds.

    Raises:
        ValueError: it is not a manifest; the message is one line.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise ValueError(f"{place}: {found['msg']}" if place else found["msg"]) from None


def read_ids(settings: Settings, day: date) -> list[str]:
    """Return the accepted event ids of a generated day.

    Raises:
        NonRetryableError: the file is missing or cannot be read.
    """
    path = ids_path(settings, day)
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise unreadable(day, path, error) from None


def unreadable(day: date, path: Path, error: Exception) -> NonRetryableError:
    """Return the error for a file of a generated day that cannot be read."""
    return NonRetryableError(
        f"{day}: the manifest {path} cannot be read ({error}); remove it and generate the day again with its seed: "
        "the same ids are sent, which is harmless"
    )
