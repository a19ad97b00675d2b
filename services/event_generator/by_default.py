"""Decides what a run generates if no number of events was given: a scheduled, backfilled or triggered run.

``daybook plan`` uses the same rule, with the counts that it has already read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.snapshots import partition_counts
from daybook.lake.tables import RAW_EVENTS
from daybook.pipeline.manifest import read_manifest
from daybook.pipeline.not_landed import read_not_landed
from daybook.pipeline.position import position
from daybook.settings import Settings
from event_generator.faults import LONGEST_DELAY_DAYS
from event_generator.manifest import Request
from event_generator.progress import begun_before


def request_by_default(settings: Settings, day: date, is_taken: Callable[[date], bool]) -> Request | None:
    """Return what is generated for a day unless a run asks for something else.

    A day that was generated or begun continues with its original numbers, so it is never sent twice. A day with events
    from other senders gets no generated ones: they could not be removed again.

    Args:
        settings: how many events, and where manifests are stored.
        day: the day, UTC.
        is_taken: from :func:`is_taken`; called only if it decides.

    Returns:
        None for live traffic.

    Raises:
        DaybookError: a manifest cannot be read.
    """
    if not settings.events_of_a_run:
        return None
    if manifest := read_manifest(settings, day):
        return Request.of(manifest)
    if begun := begun_before(settings, day):
        return begun
    return None if is_taken(day) else Request(day, settings.events_of_a_run, settings.generated_seed)


def is_taken(settings: Settings, day: date) -> bool:
    """Whether a day that was not generated is published, or has events of other senders in the lake or in Kafka.

    Raises:
        DaybookError: the lake or the broker does not answer, or a manifest cannot be read.
    """
    if day in read_ledger(settings).newest:
        return True
    if sent_late_events_of(settings, day):
        return False
    raw = load(settings, RAW_EVENTS)
    if partition_counts(raw).get(day):
        return True
    return bool(read_not_landed(settings, position(settings, raw), lambda _done, _of: None).per_day.get(day))


def sent_late_events_of(settings: Settings, day: date) -> bool:
    """Whether later days were generated with late events of this day: its records are then the generator's.

    Raises:
        DaybookError: a manifest cannot be read.
    """
    manifests = (read_manifest(settings, day + timedelta(days=days)) for days in range(1, LONGEST_DELAY_DAYS + 1))
    return any(manifest is not None and manifest.injected.late.get(day) for manifest in manifests)
