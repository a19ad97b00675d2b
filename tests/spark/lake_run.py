"""Run the steps of a day on the lake alone, one by one; rows stand in for the broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from daybook.kafka.offsets import offsets_text
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import RAW_EVENTS, spark_name
from daybook.pipeline.due import dates_due
from daybook.pipeline.position import END, LANDING, START, position
from daybook.settings import Settings
from daybook.sql.answers import AREAS
from daybook_spark.answering import Staged, stage_answers
from daybook_spark.building import Stage, build_days
from daybook_spark.publishing import Published, publish_days
from daybook_spark.staging import publish, stage_append
from tests.spark.topic_records import Topic

DAY = date(2026, 5, 3)
NEXT_DAY = date(2026, 5, 4)


def an_id(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


class Run:
    """The steps of one day's run; the test calls each of them."""

    def __init__(self, spark: SparkSession, settings: Settings, run_id: str, day: date = DAY) -> None:
        self.spark, self.settings, self.run_id, self.day = spark, settings, run_id, day
        self.stage: Stage
        self.answers: Staged

    def land(self, topic: Topic) -> None:
        """Land the records after the last landed offset; the topic's rows stand in for the broker."""
        last = position(self.settings, load(self.settings, RAW_EVENTS))
        start = last.offsets
        end = dict(start)
        for row in topic.rows:
            end[row[2]] = max(end.get(row[2], 0), row[3] + 1)
        new = [row for row in topic.rows if row[3] >= start.get(row[2], 0)]
        if not new:
            return
        fresh = Topic(self.spark)
        fresh.rows = new
        properties = {
            LANDING: str(last.landing + 1),
            START: offsets_text({at: start.get(at, 0) for at in end}),
            END: offsets_text(end),
        }
        wap_id = f"landing:{last.landing + 1}"
        records = fresh.raw(landing=last.landing + 1)
        snapshot = stage_append(self.spark, self.settings, records, RAW_EVENTS, wap_id, properties)
        publish(self.spark, self.settings, RAW_EVENTS, snapshot.snapshot_id)

    def build(self, *, force: bool = False, dates: list[date | None] | None = None) -> Run:
        """Stage the stale dates, or the given ones."""
        if dates is None:
            dates = dates_due(self.settings, self.day, force=force)
        self.stage = build_days(self.spark, self.settings, dates, self.run_id, [])
        self.answers = {}
        for area in AREAS:
            self.answers |= stage_answers(self.spark, self.settings, area, self.stage)
        return self

    def publish(self, manifest_file: Path | None = None) -> Published:
        return publish_days(self.spark, self.settings, self.stage, self.answers, self.day, manifest_file)


MakeRun = Callable[..., Run]
"""Takes the run's id, and its day if that is not :data:`DAY`."""
Steps = Callable[[Topic, MakeRun], Run]
"""Sends records and runs a day or more; returns the last run."""
Begin = Callable[[Steps], Run]


def one_event(topic: Topic, run: MakeRun) -> Run:
    """Publish a day of one event."""
    topic.event(event_id=an_id(1))
    first = run("first")
    first.land(topic)
    first.build().publish()
    return first


def rows(spark: SparkSession, table: str) -> list[dict[str, Any]]:
    return [row.asDict() for row in spark.table(spark_name(table)).collect()]


def newest_row(settings: Settings, day: date = DAY) -> dict[str, Any]:
    """Return the newest ledger row of a day."""
    return asdict(read_ledger(settings).newest[day])
