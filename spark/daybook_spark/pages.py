"""Which days a run has to build, and building them: ``events`` and ``rejected_events``, staged.

A day is due when its raw records are more than its newest page counts, or it was built by another provider map or other
answers. A run builds its own day, and any day that has a page already and is due: late events restate
their day. A day that has no page yet waits for the run that it belongs to: it may still be filling. A day without a
record is only known to be empty if something had been recorded before it ended; of a day before the record began
nothing is known, and it gets no page of zeros. A day whose raw records retention has removed is never built again: its
page stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.answers import answers_version
from daybook.checks import FAILURES_SCHEMA
from daybook.days import day_bounds
from daybook.erasure import ERASURES_SCHEMA, erased_since, erasures
from daybook.errors import NeedsDecision
from daybook.kafka_offsets import Offsets
from daybook.lake import latest_pages, ledger, load
from daybook.lake_names import (
    ACCEPTED_LOSSES,
    CHECK_FAILURES,
    DAY_LEDGER,
    ERASURES,
    EVENTS,
    RAW_EVENTS,
    REJECTED_EVENTS,
    REPLAYED_RECORDS,
    spark_name,
)
from daybook.ledger import LEDGER_SCHEMA, LandedRange
from daybook.position import LOSSES_SCHEMA, position
from daybook.providers import map_version
from daybook.replay import REPLAYED_SCHEMA
from daybook.settings import Settings
from daybook.snapshots import partition_counts
from daybook_spark.events import (
    EVENTS_SCHEMA,
    RAW_SCHEMA,
    REJECTED_SCHEMA,
    events_of,
    first_pages,
    judged,
    provider_map,
    rejected_of,
    same_ids_elsewhere,
)
from daybook_spark.staging import (
    at_snapshot,
    create_namespace,
    create_table,
    on_dates,
    stage_dates,
)


@dataclass(frozen=True)
class Stage:
    """What a run has staged of ``events`` and ``rejected_events``; goes from task to task as JSON."""

    run_id: str
    wap_id: str
    dates: list[date | None]
    """The dates that were built; none among them stands for the records that name no day. Empty: nothing was due."""
    base_revisions: dict[date, int]
    """Each built day's newest revision when it was built; 0 where it had none."""
    raw_snapshot_id: int | None
    landing: int
    """Number of the last landing that was seen."""
    built_to: Offsets
    """End offsets up to which raw records were seen."""
    duplicates: dict[date | None, int]
    events_snapshot_id: int | None
    rejected_snapshot_id: int | None
    landed: list[LandedRange] = field(default_factory=list)
    """What the run landed of each partition."""

    def to_json(self) -> dict[str, Any]:
        """As JSON types; :meth:`from_json` reads it back."""
        return {
            **asdict(self),
            "dates": [_text(day) for day in self.dates],
            "base_revisions": {day.isoformat(): revision for day, revision in self.base_revisions.items()},
            "built_to": {str(at): end for at, end in self.built_to.items()},
            "duplicates": [[_text(day), count] for day, count in self.duplicates.items()],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Stage:
        """What :meth:`to_json` wrote."""
        return cls(
            **{
                **data,
                "dates": [_day(day) for day in data["dates"]],
                "base_revisions": {date.fromisoformat(day): rev for day, rev in data["base_revisions"].items()},
                "built_to": {int(at): end for at, end in data["built_to"].items()},
                "duplicates": {_day(day): count for day, count in data["duplicates"]},
                "landed": [LandedRange(**part) for part in data["landed"]],
            }
        )


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


TABLES: dict[str, str] = {
    RAW_EVENTS: RAW_SCHEMA,
    EVENTS: EVENTS_SCHEMA,
    REJECTED_EVENTS: REJECTED_SCHEMA,
    CHECK_FAILURES: FAILURES_SCHEMA,
    DAY_LEDGER: LEDGER_SCHEMA,
    ACCEPTED_LOSSES: LOSSES_SCHEMA,
    REPLAYED_RECORDS: REPLAYED_SCHEMA,
    ERASURES: ERASURES_SCHEMA,
}
"""The lake's own tables -> their columns."""

PARTITIONED = frozenset({RAW_EVENTS, EVENTS, REJECTED_EVENTS, CHECK_FAILURES})
"""Those that are partitioned by day. The ledger has a row a day: every look at it would open as many files."""


def create_tables(spark: SparkSession) -> None:
    """Make the lake's own tables where they are missing; the answers' tables are made with their first rows."""
    create_namespace(spark)
    for table, columns in TABLES.items():
        create_table(spark, table, columns, by_day=table in PARTITIONED)


def dates_due(spark: SparkSession, settings: Settings, day: date, *, force: bool) -> list[date | None]:
    """The dates that the run of a day has to build, in order; the records without a day last.

    Args:
        spark: the session.
        settings: where the lake is.
        day: the run's own day.
        force: build the run's own day even if its page is up to date.
    """
    raw = partition_counts(load(settings, RAW_EVENTS))
    pages = {row["event_date"]: row for row in latest_revisions(settings)}
    near = near_removed(settings, raw, pages.values())
    versions = (map_version(), answers_version())

    def is_due(one: date) -> bool:
        page = pages.get(one)
        if page is None:
            return one == day and (one in raw or _record_began(spark) < day_bounds(one)[1])
        if page["landed"] > raw.get(one, 0):
            if one == day and force:
                raise NeedsDecision(raw_is_gone(page, raw.get(one, 0)))
            return False
        if one in near:
            return one == day and force  # to be told why it cannot be
        if page["landed"] < raw.get(one, 0):
            # older days are listed by `daybook status` and restated on request
            return one >= day - timedelta(days=settings.lateness_days)
        # a change of the map or of the answers restates other days by `daybook rebuild`, not by the next day's run
        return one == day and (force or (page["provider_map_version"], page["answers_version"]) != versions)

    due: list[date | None] = sorted(one for one in {day, *pages} if is_due(one))
    if raw.get(None, 0) > partition_counts(load(settings, REJECTED_EVENTS)).get(None, 0):
        due.append(None)
    return due


def raw_is_gone(page: dict[str, Any], left: int) -> str:
    """Why a day cannot be built again, for the reader."""
    return (
        f"{page['event_date']} stands as revision {page['revision']} and cannot be built again: {left} of its "
        f"{page['landed']} raw records are left, DAYBOOK_RAW_RETENTION_DAYS removed the others. Nothing was changed"
    )


def near_removed(
    settings: Settings, raw: Mapping[date | None, int], pages: Iterable[Mapping[str, Any]]
) -> dict[date, date]:
    """The days within ``lateness_days`` of one whose raw records are gone, each with such a day.

    Their ids are held against that day's records, without which an event could be counted on both days: they cannot be
    built any more than that day itself.

    Args:
        settings: how far ids are looked for.
        raw: raw records of each date.
        pages: the newest ledger row of each day.
    """
    fewer = [page for page in pages if page["landed"] > raw.get(page["event_date"], 0)]
    done = erasures(settings) if fewer else []
    removed = [page["event_date"] for page in fewer if _lacks(page, raw.get(page["event_date"], 0), done)]
    window = [timedelta(days=days) for days in range(-settings.lateness_days, settings.lateness_days + 1)]
    return {day + span: day for day in removed for span in window}


def _lacks(page: Mapping[str, Any], left: int, done: list[dict[str, Any]]) -> bool:
    """Whether retention has taken of a page's raw records: more are gone than players' erasures since have removed."""
    return bool(page["landed"] - left > erased_since(done, page["event_date"], page["published_at"]))


def neighbour_is_gone(day: date, removed: date) -> str:
    """Why a day near one whose raw records are gone cannot be built, for the reader."""
    return (
        f"{day} cannot be built: DAYBOOK_RAW_RETENTION_DAYS removed the raw records of {removed}, without which an "
        f"event of {day} could be counted on both days. Nothing was changed"
    )


def _refuse_removed(
    settings: Settings, raw: DataFrame, counts: Mapping[date | None, int], dates: list[date | None]
) -> None:
    """Refuse to build days whose pages, or ids, rest on raw records that retention has removed."""
    pages = {row["event_date"]: row for row in latest_revisions(settings)}
    near = near_removed(settings, counts, pages.values())
    paged = [day for day in dates if day in pages]
    done = erasures(settings) if paged else []
    # records that came since may be as many as those that were removed: their landing tells them apart
    landings = raw.where(on_dates(paged)).groupBy("event_date", "landing").count().collect() if paged else []
    for day in dates:
        if day is None:
            continue
        if page := pages.get(day):
            left = sum(
                row["count"] for row in landings if row["event_date"] == day and row["landing"] <= page["landing"]
            )
            if _lacks(page, left, done):
                raise NeedsDecision(raw_is_gone(page, left))
        if counts.get(day) and near.get(day, day) != day:
            raise NeedsDecision(neighbour_is_gone(day, near[day]))


def nothing_due(settings: Settings, day: date) -> str:
    """Why a run has nothing to build, for the reader."""
    raw = partition_counts(load(settings, RAW_EVENTS))
    for page in latest_revisions(settings):
        if page["event_date"] == day and page["landed"] > (left := raw.get(day, 0)):
            return raw_is_gone(page, left)
        if page["event_date"] == day:
            return f"{day} stands as revision {page['revision']}: no new record of it has come, nothing to publish"
    return f"nothing is known of {day}: no record of it has come, and none at all before its end; it gets no page"


def _record_began(spark: SparkSession) -> datetime:
    """When Kafka took the first record that was ever landed; the end of time before any was. Read from the metadata."""
    row = spark.table(spark_name(RAW_EVENTS)).agg(F.unix_seconds(F.min("kafka_timestamp"))).first()
    return datetime.max.replace(tzinfo=UTC) if row is None or row[0] is None else datetime.fromtimestamp(row[0], UTC)


def latest_revisions(settings: Settings) -> list[dict[str, Any]]:
    """The newest ledger row of each day."""
    rows: list[dict[str, Any]] = latest_pages(settings).to_dict("records")
    return rows


def _first_landings(settings: Settings) -> dict[date, int]:
    rows = ledger(settings).to_dict("records")
    return {row["event_date"]: int(row["landing"]) for row in rows if row["revision"] == 1}


def stage_pages(
    spark: SparkSession, settings: Settings, dates: list[date | None], run_id: str, landed: list[LandedRange]
) -> Stage:
    """Build ``events`` and ``rejected_events`` of some dates out of ``raw_events`` and stage them.

    Args:
        spark: the session.
        settings: where the lake is.
        dates: from :func:`dates_due`; may be empty.
        run_id: the run.
        landed: what the run landed, passed through to the ledger.

    Raises:
        NeedsDecision: raw records that a day's page, or its ids, rest on were removed by retention.
    """
    wap_id = f"{run_id}:{uuid4().hex[:12]}"
    revisions = {row["event_date"]: int(row["revision"]) for row in latest_revisions(settings)}
    raw_table = load(settings, RAW_EVENTS)
    raw_snapshot = raw_table.current_snapshot() if raw_table else None
    # the page is built from this snapshot, whatever other runs land meanwhile
    raw_snapshot_id = raw_snapshot.snapshot_id if raw_snapshot else None
    seen = position(settings, raw_table)
    duplicates: dict[date | None, int] = {}
    events_snapshot_id = rejected_snapshot_id = None
    if dates:
        raw = at_snapshot(spark, RAW_EVENTS, raw_snapshot_id)
        _refuse_removed(settings, raw, partition_counts(raw_table), dates)
        elsewhere = same_ids_elsewhere(raw, dates, settings.lateness_days)
        records = judged(
            raw.where(on_dates(dates)), settings.lateness_days, elsewhere
        ).persist()  # read three times below, parsed once
        hosts = [row[0] for row in records.select(F.coalesce("host", F.lit(""))).distinct().collect()]
        landings = {day: landing for day, landing in _first_landings(settings).items() if day in dates}
        events = events_of(records, provider_map(spark, hosts), first_pages(spark, landings))
        counted = records.where(F.col("verdict") == "duplicate").groupBy("event_date").count().collect()
        duplicates = {row["event_date"]: row["count"] for row in counted}
        events_snapshot_id = stage_dates(spark, settings, events, EVENTS, wap_id, dates)
        rejected_snapshot_id = stage_dates(spark, settings, rejected_of(records), REJECTED_EVENTS, wap_id, dates)
        records.unpersist()
    return Stage(
        run_id=run_id,
        wap_id=wap_id,
        dates=dates,
        base_revisions={day: revisions.get(day, 0) for day in dates if day is not None},
        raw_snapshot_id=raw_snapshot_id,
        landing=seen.landing,
        built_to=seen.offsets,
        duplicates=duplicates,
        events_snapshot_id=events_snapshot_id,
        rejected_snapshot_id=rejected_snapshot_id,
        landed=landed,
    )
