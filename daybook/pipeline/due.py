"""The days that a run has to build: ``land_events`` and the forecast of ``daybook plan`` use the same rule.

A day is due (needs building) when it has more raw records than its newest revision counts. It is also due when that
revision was built with another provider map, other answers or other settings of lateness and tolerance. A run builds
its own day, and every published day that is due: late events restate their day. A day that is not published yet waits
for its own run, because it may still be filling.

A day without records is known to be empty only if an event had been received before it ended. Days before the first
received event are unknown, and are not published as zeros. A day whose raw records retention has removed is never built
again: it stays published. If raw records are missing that retention cannot have removed, the day's run fails with a
message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from daybook.airflow_client import TRIGGER
from daybook.days import day_bounds
from daybook.lake.catalog import load
from daybook.lake.ledger import Ledger, Revision, read_ledger
from daybook.lake.snapshots import partition_counts, record_began
from daybook.lake.tables import RAW_EVENTS, REJECTED_EVENTS
from daybook.pipeline.erasures import erased_since, erasures
from daybook.providers import map_version
from daybook.settings import Settings
from daybook.sql.answers import answers_version

if TYPE_CHECKING:
    from pyiceberg.table import Table


@dataclass(frozen=True)
class LakeDays:
    """The state of the lake's days at one moment: everything that decides which days a run builds."""

    raw: Mapping[date | None, int]
    """Raw records of each date; the key None counts those without a day."""
    published: Mapping[date, Revision]
    """The newest revision of each published day."""
    near: Mapping[date, date]
    """The days within ``lateness_days`` of a day whose raw records are gone, each with that day.

    A build compares their ids with the records of that day. Without them an event could be counted on both days, so
    neither day can be built.
    """
    erased: Sequence[Mapping[str, Any]]
    """From :func:`daybook.pipeline.erasures.erasures`."""
    rejected_without_day: int
    """Rows of ``rejected_events`` without a day."""
    began: Callable[[], datetime]
    """From :func:`record_began`; called only for a day without records."""
    lateness_days: int
    versions: tuple[str, str]
    """Current versions of the provider map and of the answers."""
    rules: str
    """Current version of the rules, from :func:`rules_version`."""
    kept_from: date | None
    """From :func:`raw_kept_from`."""

    def is_due(self, one: date, day: date, *, force: bool = False) -> bool:
        """Whether a day's run has to build a date, or has to fail because it cannot (:func:`why_refused`)."""
        newest = self.published.get(one)
        if newest is None:
            return one == day and (one in self.raw or self.began() < day_bounds(one)[1])
        if self.lacks(one):
            return one == day and (force or not self.is_past_retention(one))
        has_more = newest.landed < self.raw.get(one, 0)
        if one in self.near:
            is_wanted = has_more or self._is_stale(newest)
            return one == day and (force or (is_wanted and not self.is_past_retention(self.near[one])))
        if has_more:
            # `daybook status` lists older days; they are restated on request
            return one >= day - timedelta(days=self.lateness_days)
        # after a change of the map or the answers, `daybook rebuild` restates other days, not the next day's run
        return one == day and (force or self._is_stale(newest))

    def lacks(self, day: date) -> bool:
        """Whether raw records that the published day counts are missing, apart from those erased since."""
        newest = self.published.get(day)
        return newest is not None and _lacks(newest, self.raw.get(day, 0), self.erased)

    def is_past_retention(self, day: date) -> bool:
        """Whether retention may have removed the raw records of a day."""
        return self.kept_from is not None and day < self.kept_from

    def _is_stale(self, revision: Revision) -> bool:
        """Whether a revision was built with another map, answers or rules; older revisions do not name the rules."""
        is_of_other_rules = revision.rules_version not in (None, self.rules)
        return is_of_other_rules or (revision.provider_map_version, revision.answers_version) != self.versions

    def with_landed(self, counts: Mapping[date | None, int], first_taken_at: datetime) -> LakeDays:
        """Return the state of the days after a landing of these records.

        Args:
            counts: records of each date; the key None counts those without a day.
            first_taken_at: when Kafka took the first of them, UTC.
        """
        raw = Counter(self.raw) + Counter(counts)
        return replace(
            self,
            raw=raw,
            near=_near_removed(self.lateness_days, raw, self.published, self.erased),
            began=lambda: min(self.began(), first_taken_at),
        )

    @property
    def undated_are_due(self) -> bool:
        """Whether raw records without a day are not rejected yet; any run rejects them."""
        return self.raw.get(None, 0) > self.rejected_without_day


def lake_days(settings: Settings, raw_table: Table | None) -> LakeDays:
    """Return the current state of the lake's days.

    Args:
        settings: where the lake is.
        raw_table: metadata of ``raw_events``: the snapshot that is read.
    """
    raw = partition_counts(raw_table)
    published = read_ledger(settings).newest
    erased = erasures(settings)
    return LakeDays(
        raw=raw,
        published=published,
        near=_near_removed(settings.lateness_days, raw, published, erased),
        erased=erased,
        rejected_without_day=partition_counts(load(settings, REJECTED_EVENTS)).get(None, 0),
        began=cache(partial(record_began, raw_table)),
        lateness_days=settings.lateness_days,
        versions=(map_version(), answers_version()),
        rules=rules_version(settings),
        kept_from=raw_kept_from(settings, datetime.now(UTC).date()),
    )


def rules_version(settings: Settings) -> str:
    """Name the setting that decides which records of a day are its events.

    ``DAYBOOK_FUTURE_TOLERANCE_MINUTES`` is not part of it: landing assigns a record its day, which never changes.

    >>> rules_version(Settings(lateness_days=30))
    'lateness 30 days'
    """
    return f"lateness {settings.lateness_days} days"


def raw_kept_from(settings: Settings, today: date) -> date | None:
    """Return the first day whose raw records are within retention; None if they are retained for ever.

    >>> str(raw_kept_from(Settings(raw_retention_days=90), date(2026, 5, 3)))
    '2026-02-02'
    """
    return today - timedelta(days=settings.raw_retention_days) if settings.raw_retention_days else None


def dates_due(settings: Settings, day: date, *, force: bool) -> list[date | None]:
    """Return the dates that the run of a day has to build, in order; the records without a day come last.

    Args:
        settings: where the lake is.
        day: the run's own day.
        force: build the run's own day even if it is up to date.
    """
    known = lake_days(settings, load(settings, RAW_EVENTS))
    due = sorted(one for one in {day, *known.published} if known.is_due(one, day, force=force))
    return [*due, *([None] if known.undated_are_due else [])]


def nothing_due(settings: Settings, day: date) -> str:
    """Explain to the reader why a run has nothing to build."""
    known = lake_days(settings, load(settings, RAW_EVENTS))
    newest, left = known.published.get(day), known.raw.get(day, 0)
    if newest is None:
        return f"no data for {day}: no event of it was received, and no event at all before its end; not published"
    if known.lacks(day):
        return raw_is_gone(known, day, left)
    if day in known.near and left > newest.landed:
        return neighbour_is_gone(known, day)
    return f"{day} is up to date at revision {newest.revision}: no new records, nothing to publish"


def raw_is_gone(known: LakeDays, day: date, left: int) -> str:
    """Explain why a day with missing raw records cannot be rebuilt; ``left`` counts those that remain."""
    newest = known.published[day]
    counted = f"{left} of its {newest.landed} raw records are left"
    if known.is_past_retention(day):
        return (
            f"{day} is published as revision {newest.revision} and cannot be built again: {counted}, "
            "DAYBOOK_RAW_RETENTION_DAYS removed the others. Nothing was changed"
        )
    return (
        f"{day} cannot be built again: {counted}, and DAYBOOK_RAW_RETENTION_DAYS {_retention_text(known)}. Nothing was "
        f"changed, revision {newest.revision} stays published. `daybook verify --day {day}` shows which are missing; "
        "`daybook restore` restores a backup"
    )


def _retention_text(known: LakeDays) -> str:
    if known.kept_from is None:
        return "is 0, so nothing may have removed the others"
    return f"retains those of {known.kept_from} and later, so it has not removed the others"


def _near_removed(
    lateness_days: int,
    raw: Mapping[date | None, int],
    published: Mapping[date, Revision],
    erased: Sequence[Mapping[str, Any]],
) -> dict[date, date]:
    removed = [day for day, newest in published.items() if _lacks(newest, raw.get(day, 0), erased)]
    window = [timedelta(days=days) for days in range(-lateness_days, lateness_days + 1)]
    return {day + span: day for day in removed for span in window}


def _lacks(revision: Revision, left: int, erased: Sequence[Mapping[str, Any]]) -> bool:
    """Whether raw records of a revision are missing: more than later erasures of players removed."""
    gone = revision.landed - left
    return gone > 0 and gone > erased_since(erased, revision.event_date, revision.published_at)


def neighbour_is_gone(known: LakeDays, day: date) -> str:
    """Explain why a day cannot be built if raw records of a neighbouring day are missing."""
    removed = known.near[day]
    if known.is_past_retention(removed):
        return (
            f"{day} cannot be built: DAYBOOK_RAW_RETENTION_DAYS removed the raw records of {removed}, without which an "
            f"event of {day} could be counted on both days. Nothing was changed"
        )
    return (
        f"{day} cannot be built: raw records of {removed} are missing, without which an event of {day} could be "
        f"counted on both days. DAYBOOK_RAW_RETENTION_DAYS {_retention_text(known)}. Nothing was changed. "
        f"`daybook verify --day {removed}` shows which are missing; `daybook restore` restores a backup"
    )


def why_refused(known: LakeDays, left: Mapping[date, int], dates: Iterable[date | None]) -> str | None:
    """Explain why dates cannot be built: raw records behind their revision or their ids are missing.

    Args:
        known: the lake's days.
        left: date -> remaining raw records of those that its revision was built from. Later records are not counted:
            they may be as many as the removed ones.
        dates: the dates that a run would build.
    """
    for day in dates:
        if day is None:
            continue
        if (newest := known.published.get(day)) and _lacks(newest, left.get(day, 0), known.erased):
            return raw_is_gone(known, day, left.get(day, 0))
        if known.raw.get(day) and known.near.get(day, day) != day:
            return neighbour_is_gone(known, day)
    return None


def waiting_text(waiting: Sequence[Mapping[str, Any]]) -> str:
    """Summarize waiting days: how many, from when to when, and how many unpublished records.

    >>> day = {"records": 3, "on_page": 1}
    >>> waiting_text([{"day": "2014-01-01", **day}, {"day": "2014-01-05", **day}])
    '2 days from 2014-01-01 to 2014-01-05 with 4 records'
    """
    records = sum(row["records"] - row["on_page"] for row in waiting)
    days = waiting[0]["day"] if len(waiting) == 1 else f"from {waiting[0]['day']} to {waiting[-1]['day']}"
    return (
        f"{len(waiting):,} day{'' if len(waiting) == 1 else 's'} {days} "
        f"with {records:,} record{'' if records == 1 else 's'}"
    )


def waiting_days(ledger: Ledger) -> list[dict[str, Any]]:
    """Return days with landed but unpublished records: ``day``, ``records``, ``on_page``, ``why``.

    A run builds the first two kinds automatically; a day outside the lateness window is built on request.
    """
    settings = ledger.settings
    published = {day: newest.landed for day, newest in ledger.newest.items()}
    oldest = datetime.now(UTC).date() - timedelta(days=settings.lateness_days + 1)

    def why(day: date) -> str:
        if day not in published:
            if day >= datetime.now(UTC).date():
                return "not published; the day is not over"
            return f"""not published; if no run of it is active, build it: {TRIGGER} -c '{{"day": "{day}"}}'"""
        return "the next run restates it" if day >= oldest else "outside the lateness window; trigger the day"

    landed = {day: count for day, count in partition_counts(load(settings, RAW_EVENTS)).items() if day}
    return [
        {"day": day.isoformat(), "records": count, "on_page": published.get(day, 0), "why": why(day)}
        for day, count in sorted(landed.items())
        if count > published.get(day, 0)
    ]
