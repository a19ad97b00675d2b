"""Lands Kafka's records in ``raw_events``: each record once, committed together with its offsets.

Landings are numbered from 1. The end of the last landing is a property of the newest published snapshot, so data and
offsets move together. A range is staged under the number of its landing: if two runs stage the same number, only the
first is published.

Nothing is skipped silently. If the broker no longer has the next records, the run fails and lists what is missing.
Landing continues past the gap only after an operator's decision (``daybook accept-loss``,
:mod:`daybook.pipeline.losses`).
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import click
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Snapshot
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.errors import DaybookError, NonRetryableError
from daybook.kafka.config import java_conf
from daybook.kafka.offsets import TopicState, count_committed, digests, offsets_text, parse_offsets, topic_state
from daybook.lake.catalog import load
from daybook.lake.snapshots import property_of, published
from daybook.lake.tables import RAW_EVENTS
from daybook.pipeline.balance import LandedRange
from daybook.pipeline.losses import accepted_gaps, gaps_of, loss_since, retention_warning, shown
from daybook.pipeline.position import END, LANDING, LAST, START, TOPIC_ID, Position, position
from daybook.settings import Settings
from daybook_spark.events import to_raw
from daybook_spark.staging import PublishRefused, at_snapshot, publish, stage_append, staged_under

RECORDS_OF_A_TASK = 500_000
"""Most records that one task reads, so that a large range uses all cores even if the topic has few partitions. On two
cores, three partitions with five million records in total took 40 s with one task each, and take 37 s now."""


def land(spark: SparkSession, settings: Settings, until: dict[int, int], day: date, run_id: str) -> list[LandedRange]:
    """Land everything from the last landed offset to the run's frozen end.

    Args:
        spark: the session.
        settings: where broker and lake are.
        until: the run's frozen end offsets.
        day: the run's day, for messages.
        run_id: the run, stored with the snapshot.

    Returns:
        What this run landed from each partition; empty if another run had landed all of it.

    Raises:
        NonRetryableError: Kafka no longer has records that were never landed, the topic was replaced by another one, or
            its configuration loses events. Nothing was published.
        DaybookError: Kafka returned fewer records than it holds. Nothing was published.
    """
    done: list[LandedRange] = []
    while True:
        raw = load(settings, RAW_EVENTS)
        start = position(settings, raw)
        # A complete range that a killed run staged from the same start can be published as it is. It is even better
        # than a new one if the broker has lost the records since.
        waiting = left_staged(raw, start)
        if waiting is None:
            topic = topic_state(settings)
            _refuse_unfit(topic, day)
            _refuse_lost(settings, start, topic, until, day)
            if warning := retention_warning(settings, start, topic, datetime.now(UTC)):
                click.echo(f"WARNING {day}: {warning}")
            ahead = {at: end for at, end in until.items() if end > start.offsets.get(at, 0)}
            if not ahead:
                return done
            for doubt in topic.doubts:
                click.echo(f"WARNING {day}: {doubt}")
            waiting = _stage(spark, settings, start, ahead, topic, run_id)
        try:
            ranges = _count(spark, settings, waiting, day)
        except DaybookError:
            if position(settings, load(settings, RAW_EVENTS)) != start:
                continue  # another run published this landing before ours was staged, so ours holds its records too
            raise
        _refuse_gaps(settings, start, ranges, day)
        try:
            publish(spark, settings, RAW_EVENTS, waiting.snapshot_id)
        except PublishRefused as refusal:
            if position(settings, load(settings, RAW_EVENTS)) == start:
                raise DaybookError(
                    f"{day}: Kafka offsets from {offsets_text(start.offsets)} are staged and cannot be published "
                    f"({refusal}); published data is unchanged. Clear land_events to try again"
                ) from refusal
            continue  # another run has published this landing: continue from its end
        done += [part for part in ranges if part.end > part.start]


def keep_position(settings: Settings) -> None:
    """Write the next offsets into a new, empty snapshot of ``raw_events``.

    After rows were removed or rewritten, the newest snapshot does not hold them, and older ones may be expired.
    """
    while True:
        raw = load(settings, RAW_EVENTS)
        last = next((one for one in published(raw) if property_of(one, END)), None)
        if raw is None or last is None or property_of(raw.current_snapshot() or last, END):
            return
        kept = {name: value for name in (LANDING, START, END, TOPIC_ID, LAST) if (value := property_of(last, name))}
        # PyIceberg would retry the commit on top of a newer landing, and so move the offsets back before it
        raw.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
        try:
            with raw.transaction() as transaction, transaction.update_snapshot(kept).fast_append():
                pass  # adds no file
        except CommitFailedException:
            continue  # the table has changed: load it again
        return


def kafka_range(spark: SparkSession, settings: Settings, start: dict[int, int], end: dict[int, int]) -> DataFrame:
    """Return Kafka's committed records in a range of offsets, for the partitions in ``end``."""
    topic = settings.kafka_topic
    return (
        spark.read.format("kafka")
        .options(**{f"kafka.{name}": value for name, value in java_conf(settings).items()})
        .option("kafka.isolation.level", "read_committed")  # leave out aborted transactions
        .option("assign", json.dumps({topic: sorted(end)}))
        .option("startingOffsets", json.dumps({topic: {str(at): start.get(at, 0) for at in end}}))
        .option("endingOffsets", json.dumps({topic: {str(at): end[at] for at in end}}))
        .option("maxRecordsPerPartition", str(RECORDS_OF_A_TASK))
        .option("failOnDataLoss", "true")
        .load()
    )


def left_staged(raw: Table | None, start: Position) -> Snapshot | None:
    """Return the snapshot that a killed run staged from this position but did not publish."""
    return next(
        (
            snapshot
            for snapshot in staged_under(raw, _wap_id(start))
            if parse_offsets(property_of(snapshot, START) or "{}")
            == {at: start.offsets.get(at, 0) for at in parse_offsets(property_of(snapshot, END) or "{}")}
        ),
        None,
    )


def _wap_id(start: Position) -> str:
    return f"landing:{start.landing + 1}"


def _stage(
    spark: SparkSession, settings: Settings, start: Position, ahead: dict[int, int], topic: TopicState, run_id: str
) -> Snapshot:
    end = {**start.offsets, **ahead}
    last = {at: digest for at, digest in start.last.items() if at not in ahead}
    last |= digests(settings, {at: stop - 1 for at, stop in ahead.items()})
    records = kafka_range(spark, settings, start.offsets, ahead)
    return stage_append(
        spark,
        settings,
        to_raw(records, start.landing + 1, settings.future_tolerance_minutes),
        RAW_EVENTS,
        _wap_id(start),
        {
            LANDING: str(start.landing + 1),
            START: offsets_text({at: start.offsets.get(at, 0) for at in end}),
            END: offsets_text(end),
            TOPIC_ID: topic.topic_id,
            LAST: json.dumps({str(at): digest for at, digest in sorted(last.items())}),
            "daybook.run": run_id,
        },
    )


def _count(spark: SparkSession, settings: Settings, staged: Snapshot, day: date) -> list[LandedRange]:
    """Count the staged records of a range by partition, in the staged data itself.

    If there are fewer records than offsets, a separate reader asks the broker how many records it has.

    Raises:
        DaybookError: an offset occurs twice, or the broker has records that were not staged.
    """
    start, end = parse_offsets(property_of(staged, START) or ""), parse_offsets(property_of(staged, END) or "")
    counted = (
        at_snapshot(spark, RAW_EVENTS, staged.snapshot_id)
        .where(F.col("landing") == int(property_of(staged, LANDING) or 0))
        .groupBy("kafka_partition")
        .agg(F.count_distinct("kafka_offset").alias("offsets"), F.count(F.lit(1)).alias("records"))
        .collect()
    )
    records = {row.kafka_partition: row.records for row in counted}
    problems = [
        f"partition {row.kafka_partition} has duplicate offsets" for row in counted if row.records != row.offsets
    ]
    ranges = []
    for at, stop in sorted(end.items()):
        size, have = stop - start[at], records.get(at, 0)
        broker_has = size if have == size else count_committed(settings, at, start[at], stop)
        if broker_has != have:
            problems.append(
                f"partition {at} has {broker_has} records at offsets {start[at]}..{stop - 1}, but {have} are staged"
            )
        landing = int(property_of(staged, LANDING) or 0)
        ranges.append(LandedRange(at, start[at], stop, have, size - broker_has, landing))
    if problems:
        raise DaybookError(
            f"{day}: the staged records do not match the frozen range of Kafka: {'; '.join(problems)}. They are not "
            "published, and published data is unchanged"
        )
    return ranges


def _refuse_unfit(topic: TopicState, day: date) -> None:
    if topic.unfit:
        raise NonRetryableError(f"{day}: {topic.unfit}. Nothing was landed or published")


def _refuse_gaps(settings: Settings, start: Position, ranges: list[LandedRange], day: date) -> None:
    """Refuse offsets that have neither a record nor a transaction's marker, except accepted gaps."""
    with_gaps = {part.partition: (part.start, part.end) for part in ranges if part.gaps}
    if not with_gaps:
        return
    accepted = accepted_gaps(settings, start.landing)
    if lost := [line for line in gaps_of(settings, with_gaps) if line not in accepted]:
        raise NonRetryableError(
            f"{day}: Kafka no longer has unlanded records: {shown(lost)}. No transaction's marker is there, so "
            "compaction or a faulty broker removed them. Nothing was landed or published. If the records cannot be "
            'restored, `daybook accept-loss --note "why"` records the loss and the next run continues'
        )


def _refuse_lost(settings: Settings, start: Position, topic: TopicState, until: dict[int, int], day: date) -> None:
    if loss := loss_since(settings, start, topic):
        raise NonRetryableError(
            f"{day}: Kafka no longer has unlanded records: {loss.text}. Nothing was landed or published. If the "
            'records cannot be restored, `daybook accept-loss --note "why"` records the loss and the next run continues'
        )
    short = [at for at, end in sorted(until.items()) if topic.end.get(at, 0) < end]
    if short:
        raise NonRetryableError(
            f"{day}: partition {short[0]} ends at {topic.end.get(short[0], 0)}, before the frozen end "
            f"{until[short[0]]}: the log was truncated after wait_for_offsets. Nothing was landed or published. Clear "
            "wait_for_offsets to freeze the range again"
        )
