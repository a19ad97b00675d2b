"""What is asked of the generator, and the file that it leaves: the manifest (:mod:`daybook.pipeline.manifest`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from daybook.errors import BadInput
from daybook.files import state_dir, write_private
from daybook.pipeline.manifest import Manifest, ids_path, manifest_path, read_manifest
from daybook.settings import Settings
from event_generator.faults import FaultProfile


@dataclass(frozen=True)
class Request:
    """A request to the generator; it determines every byte that is sent."""

    day: date
    events: int
    seed: int
    mischief: FaultProfile = field(default_factory=FaultProfile)

    def as_json(self) -> dict[str, Any]:
        """Convert to the JSON of the manifest and the progress file."""
        asked = {"day": str(self.day), "seed": self.seed, "requested": self.events}
        return {**asked, "mischief": asdict(self.mischief)}

    @classmethod
    def from_json(cls, day: date, stored: dict[str, Any]) -> Request:
        """Read a day's request as written by :meth:`as_json`; other names are ignored."""
        return cls(day, stored["requested"], stored["seed"], FaultProfile(**stored["mischief"]))

    @classmethod
    def of(cls, manifest: Manifest) -> Request:
        """Return the request that a day was generated with."""
        return cls(manifest.day, manifest.requested, manifest.seed, FaultProfile(**manifest.mischief))

    def refuse_other(self, played: Request, was: str) -> None:
        """Check that a day was generated, or begun, with exactly this request.

        Raises:
            BadInput: it was another request; generating the day twice would mix two days into one.
        """
        if played == self:
            return
        options = [f"--seed {played.seed}", f"--events {played.events}"]
        options += [f"--{name} {share}" for name, share in asdict(played.mischief).items() if share]
        raise BadInput(
            f"{self.day} was already {was} with seed {played.seed} and {played.events} events; nothing was "
            f"sent. Request the same ({' '.join(options)}) or another day"
        )


def played_before(settings: Settings, request: Request) -> Manifest | None:
    """Return the manifest if the day was generated with exactly this request; None if it was not generated.

    Raises:
        BadInput: it was generated with another request.
    """
    manifest = read_manifest(settings, request.day)
    if manifest is not None:
        request.refuse_other(Request.of(manifest), "generated")
    return manifest


def write_manifest(settings: Settings, manifest: Manifest, accepted_ids: Iterable[str]) -> None:
    """Write the ids, then the manifest, each atomically: a manifest means that its day is complete."""
    state_dir(settings, "manifests")
    write_private(ids_path(settings, manifest.day), "".join(f"{event_id}\n" for event_id in sorted(accepted_ids)))
    write_private(manifest_path(settings, manifest.day), manifest.text())
