"""All generated events of a day: its own, and the late events that were sent with later days."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daybook.errors import NonRetryableError
from daybook.pipeline.manifest import Manifest, ids_path, read_ids, read_manifest
from daybook.settings import Settings
from event_generator.day import Day, build_day
from event_generator.expected import Row, expected_answers
from event_generator.faults import LONGEST_DELAY_DAYS
from event_generator.manifest import Request


@dataclass(frozen=True)
class Generated:
    """The acknowledged generated events of a day."""

    ids: frozenset[str]
    """Ids of the events that happened on the day."""
    expected: dict[str, list[Row]]
    """Answer -> its rows, computed from these events only."""
    plays: list[date]
    """The generated days with which they were sent."""


def generated_on(settings: Settings, day: date) -> Generated | None:
    """Return the generated events of a day, built again from the seeds in the manifests; nothing is sent.

    Returns:
        None if no generated day with a manifest has sent an event of this day.

    Raises:
        NonRetryableError: a manifest cannot be read, or its ids do not match its seed.
    """
    parts: list[tuple[Day, NDArray[np.bool_]]] = []
    plays = []
    for back in range(LONGEST_DELAY_DAYS + 1):
        sent_with = day + timedelta(days=back)
        manifest = read_manifest(settings, sent_with)
        # a later day without late events of this day need not be built again
        if manifest is None or (back and not manifest.injected.late.get(day)):
            continue
        plan, accepted = _plan_and_accepted(settings, manifest)
        parts.append((plan, accepted & (plan.days_back == back)))
        plays.append(sent_with)
    if not parts:
        return None
    together = _together(day, parts)
    everything = np.ones(len(together), dtype=np.bool_)
    return Generated(frozenset(together.ids.tolist()), expected_answers(together, everything), plays)


def _plan_and_accepted(settings: Settings, manifest: Manifest) -> tuple[Day, NDArray[np.bool_]]:
    asked = Request.of(manifest)
    plan = build_day(asked.day, asked.events, asked.seed, settings.items, asked.mischief)
    acknowledged = np.array(read_ids(settings, asked.day), dtype=plan.ids.dtype)
    accepted = np.isin(plan.ids, acknowledged)
    if int(accepted.sum()) != len(acknowledged):
        raise NonRetryableError(
            f"{asked.day}: seed {asked.seed} no longer gives the ids in {ids_path(settings, asked.day)}; probably "
            "DAYBOOK_ITEMS or the generator has changed since. Nothing was changed"
        )
    return plan, accepted


def _together(day: date, parts: list[tuple[Day, NDArray[np.bool_]]]) -> Day:
    """Combine the chosen events of several generated days into one day, in order of time."""

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(plan, name)[chosen] for plan, chosen in parts])

    order = np.argsort(column("microsecond"), kind="stable")
    names = ("ids", "item", "guild", "user", "label", "microsecond")
    host = [plan.host[at] for plan, chosen in parts for at in np.flatnonzero(chosen).tolist()]
    columns: dict[str, Any] = {name: column(name)[order] for name in names}
    return replace(
        parts[0][0],
        day=day,
        host=[host[at] for at in order.tolist()],
        days_back=np.zeros(len(order), dtype=np.int64),
        **columns,
    )
