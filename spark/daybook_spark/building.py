"""Builds and stages `events` and `rejected_events` of the days that a run must build (:mod:`daybook.pipeline.due`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.errors import NonRetryableError
from daybook.kafka.offsets import Offsets
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import (
    EVENTS,
    RAW_EVENTS,
    REJECTED_EVENTS,
    TABLES,
)
from daybook.pipeline.balance import LandedRange
from daybook.pipeline.due import LakeDays, lake_days, why_refused
from daybook.pipeline.position import position
from daybook.settings import Settings
from daybook_spark.events import classify, events_of, first_revisions, provider_map, rejected_of, same_ids_elsewhere
from daybook_spark.staging import (
    add_columns,
    at_snapshot,
    create_namespace,
    create_table,
    on_dates,
    stage_dates,
)


@dataclass(frozen=True)
class Stage:
    """The rows of ``events`` and ``rejected_events`` that a run has staged; passed between tasks as JSON."""

    run_id: str
    wap_id: str
    dates: list[date | None]
    """The dates that were built; None means the records without a day. Empty if nothing had to be built."""
    base_revisions: dict[date, int]
    """Each built day's newest revision at the time of building; 0 if it had no revision."""
    raw_snapshot_id: int | None
    landing: int
    """Number of the last landing that was read."""
    built_to: Offsets
    """End offsets up to which raw records were read."""
    duplicates: dict[date | None, int]
    events_snapshot_id: int | None
    rejected_snapshot_id: int | None
    landed: list[LandedRange] = field(default_factory=list)
    """The ranges that the run landed, by partition."""

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types; :meth:`from_json` reads them back."""
        return {
            **asdict(self),
            "dates": [_text(day) for day in self.dates],
            "base_revisions": {day.isoformat(): revision for day, revision in self.base_revisions.items()},
            "built_to": {str(at): end for at, end in self.built_to.items()},
            "duplicates": [[_text(day), count] for day, count in self.duplicates.items()],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Stage:
        """Read the result of :meth:`to_json`."""
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


def create_tables(spark: SparkSession, settings: Settings) -> None:
    """Create missing tables, columns and properties of the lake itself.

    An answer's table is created with its first rows.
    """
    if load(settings, next(iter(TABLES))) is None:
        create_namespace(spark)
    for table in TABLES.values():
        known = create_table(spark, settings, table.name, table.columns, by_day=table.by_day)
        if known is not None:
            add_columns(spark, known, table.name, table.columns)


def _refuse_removed(known: LakeDays, raw: DataFrame, dates: list[date | None]) -> None:
    """Refuse to build days that depend on missing raw records, for their rows or for their ids."""
    published = {day: newest for day, newest in known.published.items() if day in dates}
    # as many records may have arrived since as were removed: the landing distinguishes them
    landings = (
        raw.where(on_dates(list(published))).groupBy("event_date", "landing").count().collect() if published else []
    )
    left = {
        day: sum(row["count"] for row in landings if row["event_date"] == day and row["landing"] <= newest.landing)
        for day, newest in published.items()
    }
    if refusal := why_refused(known, left, dates):
        raise NonRetryableError(refusal)


def _first_landings(settings: Settings) -> dict[date, int]:
    return {one.event_date: one.landing for one in read_ledger(settings).revisions if one.revision == 1}


def build_days(
    spark: SparkSession, settings: Settings, dates: list[date | None], run_id: str, landed: list[LandedRange]
) -> Stage:
    """Build ``events`` and ``rejected_events`` of some dates from ``raw_events`` and stage them.

    Args:
        spark: the session.
        settings: where the lake is.
        dates: from :func:`daybook.pipeline.due.dates_due`; may be empty.
        run_id: the run.
        landed: what the run landed, passed through to the ledger.

    Raises:
        NonRetryableError: raw records are missing that a day depends on, for its rows or for its ids.
    """
    wap_id = f"{run_id}:{uuid4().hex[:12]}"
    revisions = {day: newest.revision for day, newest in read_ledger(settings).newest.items()}
    raw_table = load(settings, RAW_EVENTS)
    raw_snapshot = raw_table.current_snapshot() if raw_table else None
    # build from this snapshot, whatever other runs land meanwhile
    raw_snapshot_id = raw_snapshot.snapshot_id if raw_snapshot else None
    seen = position(settings, raw_table)
    duplicates: dict[date | None, int] = {}
    events_snapshot_id = rejected_snapshot_id = None
    if dates:
        raw = at_snapshot(spark, RAW_EVENTS, raw_snapshot_id)
        known = lake_days(settings, raw_table)
        _refuse_removed(known, raw, dates)
        elsewhere = same_ids_elsewhere(raw, dates, settings.lateness_days, known.raw)
        records = classify(
            raw.where(on_dates(dates)), settings.lateness_days, elsewhere
        ).persist()  # read three times below, parsed once
        hosts = records.select(F.coalesce("host", F.lit("")).alias("host")).distinct().toArrow()["host"].to_pylist()
        landings = {day: landing for day, landing in _first_landings(settings).items() if day in dates}
        events = events_of(records, provider_map(spark, hosts), first_revisions(spark, landings))
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
