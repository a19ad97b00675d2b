"""Records that the broker lost before they landed, and an operator's decision to continue without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daybook.errors import BadInput
from daybook.kafka.offsets import Offsets, TopicState, digests, offsets_text, record_time
from daybook.lake.state import who
from daybook.lake.tables import ACCEPTED_LOSSES
from daybook.pipeline.position import Position, accepted_losses
from daybook.settings import Settings

_BETWEEN = "; "
"""Separator of the gaps in the text of a loss."""
SHOWN = 5
"""Number of gaps that messages list; the stored decision lists all."""


@dataclass(frozen=True)
class Loss:
    """The gap between the position and the first record that the broker still has."""

    text: str
    records: int | None
    """Number of lost records; None if it cannot be known."""
    resume_from: Offsets

    @property
    def short_text(self) -> str:
        """The text with only the first gaps, for messages."""
        return shown(self.text.split(_BETWEEN))


def loss_since(settings: Settings, start: Position, topic: TopicState) -> Loss | None:
    """Return the records that the broker lost after the position; None if nothing is missing.

    Raises:
        DaybookError: the broker stopped answering.
    """
    return what_is_lost(start, topic, overwritten(settings, start, topic))


def overwritten(settings: Settings, start: Position, topic: TopicState) -> set[int]:
    """Return the partitions whose last landed offset now holds another record.

    Kafka's log was truncated before that offset and written again. This can be detected while Kafka retains that
    offset, which is as long as it retains the records after it.
    """
    if start.topic_id != topic.topic_id:
        return set()
    looked_at = {
        at: start.offsets[at] - 1
        for at in start.last
        if topic.first.get(at, 0) < start.offsets.get(at, 0) <= topic.end.get(at, 0)
    }
    now = digests(settings, looked_at)
    return {at for at, digest in now.items() if digest != start.last[at]}


def what_is_lost(start: Position, topic: TopicState, overwritten: Collection[int] = ()) -> Loss | None:
    """Return the records that the broker lost after the position; None if nothing is missing.

    After a truncation the last valid offset is unknown, and new records have taken offsets that had landed before.
    Landing therefore restarts at the earliest available offset; records that had landed before land as duplicates.

    Args:
        start: the position: where the next landing starts.
        topic: the broker's state of the topic.
        overwritten: partitions from :func:`overwritten`.
    """
    if start.topic_id is not None and topic.topic_id != start.topic_id:
        return Loss(
            f"the topic was deleted and created again; the records of the previous topic after offsets "
            f"{offsets_text(start.offsets)} are lost",
            None,
            dict(topic.first),
        )
    problems, records, resume = [], 0, dict(start.offsets)
    unknown = False
    for partition in sorted({*start.offsets, *topic.end}):
        begin = start.offsets.get(partition, 0)
        if partition not in topic.end:
            problems.append(f"partition {partition} no longer exists")
            del resume[partition]
            unknown = True
        elif topic.end[partition] < begin:
            problems.append(
                f"partition {partition} ends at {topic.end[partition]}, before offset {begin}, the next one to land: "
                "its log was truncated"
            )
            resume[partition] = topic.first[partition]
            unknown = True
        elif partition in overwritten:
            problems.append(
                f"offset {begin - 1} of partition {partition}, the last one landed, now holds a different record: its "
                "log was truncated and written again"
            )
            resume[partition] = topic.first[partition]
            unknown = True
        elif topic.first[partition] > begin:
            lost = topic.first[partition] - begin
            problems.append(f"{lost} records lost, offsets {begin}..{begin + lost - 1} of partition {partition}")
            resume[partition] = topic.first[partition]
            records += lost
    return Loss(_BETWEEN.join(problems), None if unknown else records, resume) if problems else None


def gaps_of(settings: Settings, ranges: Mapping[int, tuple[int, int]]) -> list[str]:
    """Return a line for each gap inside the log: offsets with neither a record nor a transaction's marker.

    Args:
        settings: where the broker is.
        ranges: partition -> first offset to check, and the offset after the last.

    Raises:
        DaybookError: the broker stopped answering.
    """
    from daybook.kafka.log_gaps import unexplained

    return [
        f"{last - first + 1} records lost inside the log, offsets {first}..{last} of partition {partition}"
        for partition, (start, end) in sorted(ranges.items())
        if start < end
        for first, last in unexplained(settings, partition, start, end)
    ]


def accepted_gaps(settings: Settings, landing: int) -> set[str]:
    """Return the gaps inside the log that operators have accepted since a landing, in the form of :func:`gaps_of`."""
    return {
        line for row in accepted_losses(settings) if row["landing"] == landing for line in row["lost"].split(_BETWEEN)
    }


def shown(lines: Sequence[str]) -> str:
    """Join the first lines into a text for messages."""
    rest = len(lines) - SHOWN
    return _BETWEEN.join(lines[:SHOWN]) + (f"{_BETWEEN}and {rest} more such gaps" if rest > 0 else "")


def gaps_inside(settings: Settings, start: Position, topic: TopicState) -> Loss | None:
    """Return the gaps inside the log after the position that nobody has accepted yet."""
    ranges = {at: (start.offsets.get(at, 0), end) for at, end in topic.end.items()}
    accepted = accepted_gaps(settings, start.landing)
    lines = [line for line in gaps_of(settings, ranges) if line not in accepted]
    records = sum(int(line.partition(" ")[0]) for line in lines)
    return Loss(_BETWEEN.join(lines), records, dict(start.offsets)) if lines else None


def retention_warning(settings: Settings, start: Position, topic: TopicState, now: datetime) -> str | None:
    """Return a warning if the oldest record that has not landed has used half of the broker's retention time."""
    if topic.retention_ms < 0:
        return None
    retention = timedelta(milliseconds=topic.retention_ms)
    for partition, end in sorted(topic.end.items()):
        begin = start.offsets.get(partition, 0)
        taken_at = record_time(settings, partition, begin) if begin < end else None
        if taken_at is not None and now - taken_at > retention / 2:
            return (
                f"offset {begin} of partition {partition} has waited {_days(now - taken_at)} of the {_days(retention)} "
                "for which Kafka retains it; run the day, or raise the topic's retention.ms, before it is lost"
            )
    return None


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def record_acceptance(settings: Settings, start: Position, topic: TopicState, loss: Loss, note: str) -> None:
    """Write the decision to continue without the lost records into the lake.

    Raises:
        BadInput: nothing was landed yet.
    """
    import pyarrow as pa

    from daybook.lake.catalog import load

    table = load(settings, ACCEPTED_LOSSES)
    if table is None:
        raise BadInput("nothing has landed yet, so nothing can be lost; run a day first")
    before = accepted_losses(settings)
    row = {
        # the newest decision counts: it must be newer than the others even if the clock was set back
        "accepted_at": max([datetime.now(UTC), *(one["accepted_at"] + timedelta(microseconds=1) for one in before)]),
        "accepted_by": who(),
        "note": note,
        "landing": start.landing,
        "topic_id": topic.topic_id,
        "lost": loss.text,
        "records": loss.records,
        "resume_from": offsets_text(loss.resume_from),
    }
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
