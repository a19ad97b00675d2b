"""The manifest: the file that says what was sent of a generated day and what the lake has to answer of it.

What it has to answer is worked out in :mod:`event_generator.expected`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from daybook.errors import BadInput, NeedsDecision
from daybook.files import state_dir, write_private
from daybook.settings import Settings
from event_generator.mischief import Mischief


def manifest_path(settings: Settings, day: date) -> Path:
    """Where the day's manifest lies once the day has been played."""
    return settings.manifests_dir / f"{day}.json"


def ids_path(settings: Settings, day: date) -> Path:
    """Where the day's accepted event ids lie: one on a line, sorted."""
    return settings.manifests_dir / f"{day}.ids"


def read_manifest(settings: Settings, day: date) -> dict[str, Any] | None:
    """The manifest of a generated day, or none if the day was not generated, or not to its end.

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
    """The accepted event ids of a generated day.

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
    """One line on a file of a generated day that cannot be read."""
    return NeedsDecision(
        f"{day}: the manifest {path} cannot be read ({error}); remove it and generate the day again with its seed: "
        "the same ids are sent, which is harmless"
    )


@dataclass(frozen=True)
class Request:
    """What was asked of the generator: it decides every byte that is sent."""

    day: date
    events: int
    seed: int
    mischief: Mischief = field(default_factory=Mischief)

    def as_json(self) -> dict[str, Any]:
        """As the manifest and the progress file keep it."""
        asked = {"day": str(self.day), "seed": self.seed, "requested": self.events}
        return {**asked, "mischief": asdict(self.mischief)}

    @classmethod
    def from_json(cls, day: date, kept: dict[str, Any]) -> Request:
        """What :meth:`as_json` kept of a day; other names are left out."""
        return cls(day, kept["requested"], kept["seed"], Mischief(**kept["mischief"]))

    def refuse_other(self, played: dict[str, Any], was: str) -> None:
        """See that a day was played, or begun, with just this request.

        Raises:
            BadInput: with another one; playing it twice would mix two days into one.
        """
        if {name: played[name] for name in self.as_json()} == self.as_json():
            return
        options = [f"--seed {played['seed']}", f"--events {played['requested']}"]
        options += [f"--{name} {share}" for name, share in played["mischief"].items() if share]
        raise BadInput(
            f"{self.day} was already {was} with seed {played['seed']} and {played['requested']} events; nothing was "
            f"sent. Ask for these ({' '.join(options)}) or for another day"
        )


def played_before(settings: Settings, request: Request) -> dict[str, Any] | None:
    """The manifest, if the day has been played with just this request; none if it has not been played.

    Raises:
        BadInput: it was played with another one.
    """
    manifest = read_manifest(settings, request.day)
    if manifest is not None:
        request.refuse_other(manifest, "played")
    return manifest


def write_manifest(settings: Settings, day: date, manifest: dict[str, Any], accepted_ids: Iterable[str]) -> None:
    """Write the ids, then the manifest, each whole or not at all: a manifest says that its day is complete."""
    state_dir(settings, "manifests")
    write_private(ids_path(settings, day), "".join(f"{event_id}\n" for event_id in sorted(accepted_ids)))
    write_private(manifest_path(settings, day), json.dumps(manifest, indent=1) + "\n")
