"""From Kafka to ``raw_events``: each record once, in one commit with the offsets it came from.

The offsets that were landed last are a property of the newest published snapshot, so data and offsets move together. A
range is staged under the offsets it starts from: of two runs that start from the same ones, only the first is
published.
"""

from __future__ import annotations

import json
from datetime import date

from pyiceberg.table import Table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.errors import DaybookError
from daybook.kafka_offsets import Offsets, broker_offsets, offsets_text, parse_offsets
from daybook.lake_names import RAW_EVENTS
from daybook.ledger import LandedRange
from daybook.settings import Settings
from daybook_spark.events import raw_records
from daybook_spark.staging import (
    PublishRefused,
    at_snapshot,
    load,
    property_of,
    publish,
    published,
    stage_append,
    staged,
)

START, END = "daybook.kafka-start", "daybook.kafka-end"
"""Snapshot properties: JSON partition -> first offset of the range, and the one after its last."""


def landed_offsets(raw: Table | None) -> Offsets:
    """Where the next range starts: partition -> the offset after the last one landed. Empty before the first landing.

    Args:
        raw: metadata of ``raw_events``.
    """
    for snapshot in published(raw):
        if end := property_of(snapshot, END):
            return parse_offsets(end)
    return {}


def kafka_range(spark: SparkSession, settings: Settings, start: Offsets, end: Offsets) -> DataFrame:
    """Kafka's records of a range, of every partition that has any."""
    topic = settings.kafka_topic
    partitions = sorted(partition for partition in end if end[partition] > start.get(partition, 0))
    return (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", settings.bootstrap_servers)
        .option("assign", json.dumps({topic: partitions}))
        .option("startingOffsets", json.dumps({topic: {str(at): start.get(at, 0) for at in partitions}}))
        .option("endingOffsets", json.dumps({topic: {str(at): end[at] for at in partitions}}))
        .option("failOnDataLoss", "true")
        .load()
    )


def land(spark: SparkSession, settings: Settings, until: Offsets, day: date, run_id: str) -> list[LandedRange]:
    """Land everything from the last landed offset to the run's frozen end.

    Args:
        spark: the session.
        settings: where broker and lake are.
        until: the run's frozen end offsets.
        day: the run's day, for messages.
        run_id: the run, kept with the snapshot.

    Returns:
        What this run landed of each partition; empty if another run had landed all of it.

    Raises:
        DaybookError: Kafka no longer has records that were never landed, or gave fewer than the range holds. Nothing
        was
            published.
    """
    done: list[LandedRange] = []
    while True:
        raw = load(settings, RAW_EVENTS)
        start = landed_offsets(raw)
        ahead = {at: end for at, end in until.items() if end > start.get(at, 0)}
        if not ahead:
            return done
        # the wap id is the start of every known partition, so that a range is fenced by all it builds on
        wap_id = f"raw:{offsets_text(start)}"
        waiting = staged(raw, wap_id)
        if waiting is None:
            end = {**start, **ahead}
            _refuse_lost(settings, start, ahead, day)
            waiting = stage_append(
                spark,
                settings,
                raw_records(kafka_range(spark, settings, start, ahead)),
                RAW_EVENTS,
                wap_id,
                {
                    START: offsets_text({at: start.get(at, 0) for at in end}),
                    END: offsets_text(end),
                    "daybook.run": run_id,
                },
            )
        # what a killed run left staged from the same start is as good as what would be staged now, if it is whole
        ranges = _count(spark, waiting.snapshot_id, property_of(waiting, START) or "", property_of(waiting, END) or "")
        _refuse_gaps(ranges, day)
        try:
            publish(spark, settings, RAW_EVENTS, waiting.snapshot_id)
        except PublishRefused as refusal:
            if landed_offsets(load(settings, RAW_EVENTS)) == start:
                raise DaybookError(
                    f"{day}: Kafka offsets from {offsets_text(start)} are staged and cannot be published ({refusal}); "
                    "what readers see is unchanged. Clear land_events to try again"
                ) from refusal
            continue  # another run has published a range from the same start: go on from where it ended
        done += [part for part in ranges if part.end > part.start]


def _count(spark: SparkSession, snapshot_id: int, start_text: str, end_text: str) -> list[LandedRange]:
    """Count what was staged of a range, partition by partition, in the staged data itself."""
    start, end = parse_offsets(start_text), parse_offsets(end_text)
    within = F.lit(False)
    for partition, stop in end.items():
        of_partition = F.col("kafka_partition") == partition
        within |= of_partition & (F.col("kafka_offset") >= start[partition]) & (F.col("kafka_offset") < stop)
    counted = (
        at_snapshot(spark, RAW_EVENTS, snapshot_id)
        .where(within)
        .groupBy("kafka_partition")
        .agg(F.count_distinct("kafka_offset").alias("offsets"), F.count(F.lit(1)).alias("records"))
        .collect()
    )
    doubled = [row.kafka_partition for row in counted if row.records != row.offsets]
    if doubled:
        raise DaybookError(
            f"raw_events: offsets of partitions {doubled} stand twice between {start_text} and {end_text}; "
            "they are staged and not published"
        )
    records = {row.kafka_partition: row.records for row in counted}
    return [LandedRange(at, start[at], stop, records.get(at, 0)) for at, stop in sorted(end.items())]


def _refuse_lost(settings: Settings, start: Offsets, ahead: Offsets, day: date) -> None:
    first, last = broker_offsets(settings)
    problems = []
    for partition, end in sorted(ahead.items()):
        begin = start.get(partition, 0)
        if partition not in first:
            problems.append(f"partition {partition} is gone")
        elif first[partition] > begin:
            lost = min(first[partition], end) - begin
            problems.append(f"{lost} records lost, offsets {begin}..{begin + lost - 1} of partition {partition}")
        elif last[partition] < end:
            problems.append(f"partition {partition} ends at {last[partition]}, before the frozen end {end}")
    if problems:
        raise DaybookError(
            f"{day}: Kafka no longer has what was to be landed: {'; '.join(problems)}. Nothing was moved or published. "
            "Was the topic recreated, or its retention shorter than the time since the last run?"
        )


def _refuse_gaps(ranges: list[LandedRange], day: date) -> None:
    gaps = [
        f"partition {part.partition} has {part.records} records for offsets {part.start}..{part.end - 1}"
        for part in ranges
        if part.records != part.end - part.start
    ]
    if gaps:
        raise DaybookError(
            f"{day}: what Kafka gave is not the frozen range: {'; '.join(gaps)}. It is staged and not published; what "
            "readers see is unchanged"
        )
