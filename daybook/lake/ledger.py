"""The rows of ``day_ledger``: every published revision of every day.

Readers see a day as its newest revision defines it. The revision names the snapshot of every table of the day, so a
published day changes for readers in one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from daybook.airflow_client import TRIGGER
from daybook.days import day_bounds, parse_day
from daybook.errors import BadInput
from daybook.formatting import json_value
from daybook.lake.catalog import load
from daybook.lake.snapshots import record_began
from daybook.lake.tables import DAY_LEDGER, RAW_EVENTS
from daybook.settings import Settings


@dataclass(frozen=True)
class Revision:
    """A published revision of a day: a row of ``day_ledger``, whose columns are its fields.

    :data:`daybook.lake.tables.TABLES` describes them. Times are in UTC. Columns of JSON are text, as in the table.
    """

    event_date: date
    revision: int
    published_at: datetime
    run_id: str
    sent: int | None
    accepted: int | None
    refused: int | None
    landed: int
    events: int
    duplicates: int
    rejected: int
    late: int
    balanced: bool
    lines: str
    receipt: str
    changes: str
    checks: str
    range_start: str
    range_end: str
    range_records: int
    range_gaps: int
    landing: int
    built_to: str
    raw_snapshot_id: int | None
    provider_map_version: str
    answers_version: str
    rules_version: str | None
    snapshots: Mapping[str, int | None]

    @property
    def day(self) -> str:
        """The day as text, ``YYYY-MM-DD``."""
        return self.event_date.isoformat()

    @property
    def other_days(self) -> int | None:
        """How many accepted records of a generated day count on other days: late events count when they happened.

        It is accepted less landed. So records of other senders, or of other days' runs, that count on this day are
        subtracted; a value below 0 means that there are more of these. None for a day with only live traffic.
        """
        return None if self.accepted is None else self.accepted - self.landed


@dataclass(frozen=True)
class Ledger:
    """Every published revision of every day, as read at one moment."""

    settings: Settings
    """The lake that it was read from."""
    state: str | None
    """What is published, from :func:`ledger_state`."""
    revisions: tuple[Revision, ...]
    """By day and revision."""

    @cached_property
    def newest(self) -> Mapping[date, Revision]:
        """The newest revision of each published day, by day: the one that readers use."""
        return {one.event_date: one for one in self.revisions}

    def of(self, day: str) -> Revision:
        """Return a day's newest revision.

        Args:
            day: ``YYYY-MM-DD``, UTC.

        Raises:
            BadInput: not a day, or the day is not published; the message names the published days.
        """
        wanted = parse_day(day)
        if wanted in self.newest:
            return self.newest[wanted]
        days = [one.isoformat() for one in self.newest]
        shown = ", ".join(days[-5:]) if days else "none yet"
        known = f"published days: {'..., ' if len(days) > 5 else ''}{shown}"
        raise BadInput(f"{day} is not published; {known}. {_how_to_build(self.settings, wanted)}")


def read_ledger(settings: Settings, known: Ledger | None = None) -> Ledger:
    """Read the ledger; it has no revisions before the first day is published.

    Args:
        settings: where the lake is.
        known: an earlier reading; it is returned if nothing was published since, and no row is read.

    Raises:
        DaybookError: the lake cannot be read (:func:`daybook.lake.catalog.load`).
    """
    table = load(settings, DAY_LEDGER)
    if table is None:
        return Ledger(settings, None, ())
    if known is not None and known.state == table.metadata_location:
        return known
    names = [field.name for field in fields(Revision)]
    rows = table.scan().to_arrow().to_pylist(maps_as_pydicts="strict")
    # a column that an older table lacks is null
    revisions = [Revision(**{name: row.get(name) for name in names}) for row in rows]
    # older versions could write two rows for one revision: the first one written is the revision, so it is the last one
    revisions.sort(key=lambda one: (one.published_at, one.run_id), reverse=True)
    revisions.sort(key=lambda one: (one.event_date, one.revision))
    return Ledger(settings, table.metadata_location, tuple(revisions))


def ledger_state(settings: Settings) -> str | None:
    """Return a text that identifies what is published now and changes with each revision; None before the first."""
    table = load(settings, DAY_LEDGER)
    return None if table is None else table.metadata_location


def _how_to_build(settings: Settings, day: date) -> str:
    """Explain how to get an unpublished day published; includes a command only where that would work."""
    if day >= datetime.now(UTC).date():
        return f"It is not over (UTC): a run can build it on {day + timedelta(days=1)} or later"
    raw = load(settings, RAW_EVENTS)
    began = record_began(raw)
    if raw is not None and began >= day_bounds(day)[1] and not settings.events_of_a_run:
        return (
            f"The first event was received on {began:%Y-%m-%d}, after the end of {day}: a run builds it only if late "
            f"events of it were received. `daybook plan --from {day} --to {day}` shows whether it would"
        )
    return f"""Build it with `{TRIGGER} -c '{{"day": "{day}"}}'`"""


LEDGER_COUNTS: tuple[str, ...] = (
    "sent",
    "refused",
    "accepted",
    "other_days",
    "landed",
    "duplicates",
    "rejected",
    "events",
    "late",
)
"""The counts of a day, in the order in which a record travels. They add up: sent - refused = accepted,
accepted - other_days = landed, landed - duplicates - rejected = events. The count ``late`` is a part of the events."""


def ledger_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Return each day's newest revision, by day: ``day``, ``revision``, ``published_at``, the counts, ``balanced``.

    Cells have JSON types. ``sent``, ``refused``, ``accepted`` and ``other_days`` are None for a day with only live
    traffic.
    """
    columns = ("day", "revision", "published_at", *LEDGER_COUNTS, "balanced")
    return [{name: json_value(getattr(one, name)) for name in columns} for one in ledger.newest.values()]
