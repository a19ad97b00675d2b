"""Manifests of generated days, without a play."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from daybook.pipeline.manifest import Injected, Manifest
from event_generator.manifest import Request


def a_manifest(request: Request, **changes: Any) -> Manifest:
    """Return the manifest of a day whose events were all accepted, without late events or expected answers."""
    return Manifest(
        day=request.day,
        seed=request.seed,
        requested=request.events,
        mischief=asdict(request.mischief),
        sent=request.events,
        accepted=request.events,
        refused=0,
        injected=Injected(duplicates=0, late={}, invalid={}),
        offsets={},
        accepted_ids=f"{request.day}.ids",
        expected={},
        finished_at="2026-05-04T00:05:00.000000Z",
    ).model_copy(update=changes)
