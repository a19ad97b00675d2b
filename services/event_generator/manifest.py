"""The manifest: the file that says what was sent of a generated day and what the lake has to answer of it.

What it has to answer is worked out in :mod:`event_generator.expected`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from daybook.errors import BadInput
from daybook.files import state_dir, write_private
from daybook.pipeline.manifest import ids_path, manifest_path, read_manifest
from daybook.settings import Settings
from event_generator.mischief import Mischief


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
