"""Rebuilds days from ``raw_events``, without Kafka: after a change of the provider map, the answers or a rule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from pyspark.sql import SparkSession

from daybook.errors import NonRetryableError
from daybook.lake.catalog import load
from daybook.lake.tables import RAW_EVENTS
from daybook.pipeline.due import LakeDays, lake_days, neighbour_is_gone, raw_is_gone, why_refused
from daybook.settings import Settings
from daybook.sql.answers import AREAS
from daybook_spark.answering import Staged, stage_answers
from daybook_spark.building import Stage, build_days
from daybook_spark.publishing import ValidatedDay, publish_days, validate

DAYS_AT_ONCE = 31
"""Days that are staged together: a month needs only one start of Spark and one commit per table."""


def rebuild(
    spark: SparkSession, settings: Settings, first: date, last: date, run_id: str, *, dry_run: bool
) -> list[dict[str, Any]]:
    """Rebuild published days and publish those that come out different.

    Only published days are built: a day without a revision waits for its own run. One month is published at a time, so
    a stopped rebuild has finished whole days and can be repeated.

    Args:
        spark: the session.
        settings: where the lake is.
        first: first day.
        last: last day, included.
        run_id: stored with each revision.
        dry_run: only report what would change.

    Returns:
        ``day``, ``revision``, ``receipt``, ``changed`` of each published day, in order. An unchanged day has its
        current revision.

    Raises:
        NonRetryableError: raw records are missing that no retention has removed; nothing was published.
        DaybookError: a day does not balance, or a check blocks it; days of earlier months may have been published.
    """
    known = lake_days(settings, load(settings, RAW_EVENTS))
    published = {day: newest for day, newest in known.published.items() if first <= day <= last}
    raw, near = known.raw, known.near
    whole = {day for day in published if not known.lacks(day) and day not in near}
    left = {day: raw.get(day, 0) for day in published}
    if missing := why_refused(known, left, [day for day in published if not _is_explained(known, day)]):
        raise NonRetryableError(missing)
    outcomes = [
        {
            "day": day.isoformat(),
            "revision": newest.revision,
            "receipt": raw_is_gone(known, day, left[day]) if known.lacks(day) else neighbour_is_gone(known, day),
            "changed": False,
        }
        for day, newest in published.items()
        if day not in whole
    ]
    days = sorted(whole)
    while days:
        month = [day for day in days if day < days[0] + timedelta(days=DAYS_AT_ONCE)]
        outcomes += _rebuild_together(spark, settings, month, run_id, dry_run)
        days = days[len(month) :]
    return sorted(outcomes, key=lambda one: one["day"])


def _is_explained(known: LakeDays, day: date) -> bool:
    """Whether the raw records that a day depends on (rows or ids) exist or were removed by retention."""
    missing = day if known.lacks(day) else known.near.get(day)
    return missing is None or known.is_past_retention(missing)


def _rebuild_together(
    spark: SparkSession, settings: Settings, days: list[date], run_id: str, dry_run: bool
) -> list[dict[str, Any]]:
    stage, answers = build(spark, settings, days, run_id)
    # a day that a check blocks here is not proved again: store the failing rows now
    looked_at = validate(spark, settings, stage, answers, list(days), days[0], None, keep_failing_rows=not dry_run)
    validated = {ready.counts.day: ready for ready in looked_at}
    news = [day for day in days if validated[day].is_news]
    published = {}
    if news and not dry_run:
        if news != days:  # a staged snapshot is published whole; unchanged days must retain their revision and files
            stage, answers = build(spark, settings, news, run_id)
        done = publish_days(spark, settings, stage, answers, news[0], None)
        published = {one["day"]: one for one in done.published}
    return [_outcome(day, validated[day], day in news, published.get(day.isoformat())) for day in days]


def build(spark: SparkSession, settings: Settings, dates: Sequence[date | None], run_id: str) -> tuple[Stage, Staged]:
    """Stage some dates and all their answers; None means the records without a day."""
    stage = build_days(spark, settings, list(dates), run_id, [])
    answers: Staged = {}
    for area in AREAS:
        answers |= stage_answers(spark, settings, area, stage)
    return stage, answers


def _outcome(day: date, ready: ValidatedDay, is_news: bool, published: dict[str, Any] | None) -> dict[str, Any]:
    revision = ready.revision if is_news else ready.revision - 1
    outcome = {"day": day.isoformat(), "revision": revision, "receipt": ready.receipt, "changed": is_news}
    if not is_news:
        outcome["receipt"] = f"{day} r{revision}: unchanged"
    return {**outcome, **(published or {})}
