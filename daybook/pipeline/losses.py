"""What the broker no longer has of the records that come next, and an operator's decision to go on without them."""

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
"""What is between the gaps in the text of a loss."""
SHOWN = 5
"""How many gaps are named to the reader; the record of the decision names all."""


@dataclass(frozen=True)
class Loss:
    """What lies between the position and what the broker still has."""

    text: str
    records: int | None
    """How many; none where nobody can know."""
    resume_from: Offsets

    @property
    def short_text(self) -> str:
        """The text with the first gaps alone, for a reader."""
        return shown(self.text.split(_BETWEEN))


def loss_since(settings: Settings, start: Position, topic: TopicState) -> Loss | None:
    """What the broker no longer has of the records that come next; none if nothing is missing.

    Raises:
        DaybookError: the broker stopped answering.
    """
    return what_is_lost(start, topic, overwritten(settings, start, topic))


def overwritten(settings: Settings, start: Position, topic: TopicState) -> set[int]:
    """Partitions whose last landed offset holds another record now: Kafka went back behind it and on from there.

    Seen as long as Kafka keeps that offset, which is as long as it keeps what came after it.
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
    """What the broker no longer has of the records that come next; none if nothing is missing.

    Where its log was truncated nobody knows at which offset, and what was sent since has taken offsets that were landed
    before. So the record goes on from the first that the broker has: what it has landed before lands as duplicates.

    Args:
        start: where the record stands.
        topic: what the broker has.
        overwritten: as :func:`overwritten` finds them.
    """
    if start.topic_id is not None and topic.topic_id != start.topic_id:
        return Loss(
            f"the topic was deleted and made anew; what the former one held behind offsets "
            f"{offsets_text(start.offsets)} is gone",
            None,
            dict(topic.first),
        )
    problems, records, resume = [], 0, dict(start.offsets)
    unknown = False
    for partition in sorted({*start.offsets, *topic.end}):
        begin = start.offsets.get(partition, 0)
        if partition not in topic.end:
            problems.append(f"partition {partition} is gone")
            del resume[partition]
            unknown = True
        elif topic.end[partition] < begin:
            problems.append(
                f"partition {partition} ends at {topic.end[partition]}, before offset {begin} where the record stands: "
                "its log was truncated"
            )
            resume[partition] = topic.first[partition]
            unknown = True
        elif partition in overwritten:
            problems.append(
                f"offset {begin - 1} of partition {partition}, the last one landed, holds another record now: its log "
                "was truncated and has grown again"
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
    """What is missing inside the log, a line for each gap: offsets without a record that are no transaction's marker.

    Args:
        settings: where the broker is.
        ranges: partition -> first offset that is looked at, and the one behind the last.

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
    """What operators have accepted to be missing inside the log since a landing, as :func:`gaps_of` says it."""
    return {
        line for row in accepted_losses(settings) if row["landing"] == landing for line in row["lost"].split(_BETWEEN)
    }


def shown(lines: Sequence[str]) -> str:
    """Some of the lines, for a reader."""
    rest = len(lines) - SHOWN
    return _BETWEEN.join(lines[:SHOWN]) + (f"{_BETWEEN}and {rest} more such gaps" if rest > 0 else "")


def gaps_inside(settings: Settings, start: Position, topic: TopicState) -> Loss | None:
    """What is missing inside the log, of what comes next and nobody has accepted yet."""
    ranges = {at: (start.offsets.get(at, 0), end) for at, end in topic.end.items()}
    accepted = accepted_gaps(settings, start.landing)
    lines = [line for line in gaps_of(settings, ranges) if line not in accepted]
    records = sum(int(line.partition(" ")[0]) for line in lines)
    return Loss(_BETWEEN.join(lines), records, dict(start.offsets)) if lines else None


def retention_warning(settings: Settings, start: Position, topic: TopicState, now: datetime) -> str | None:
    """A line if the oldest record that was not landed has used half of the time that the broker keeps it."""
    if topic.retention_ms < 0:
        return None
    retention = timedelta(milliseconds=topic.retention_ms)
    for partition, end in sorted(topic.end.items()):
        begin = start.offsets.get(partition, 0)
        taken_at = record_time(settings, partition, begin) if begin < end else None
        if taken_at is not None and now - taken_at > retention / 2:
            return (
                f"offset {begin} of partition {partition} has waited {_days(now - taken_at)} of the {_days(retention)} "
                "that Kafka keeps it; run the day, or raise the topic's retention.ms, before it is lost"
            )
    return None


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def record_acceptance(settings: Settings, start: Position, topic: TopicState, loss: Loss, note: str) -> None:
    """Write the decision to go on without what is lost into the lake.

    Raises:
        BadInput: nothing was landed yet.
    """
    import pyarrow as pa

    from daybook.lake.catalog import load

    table = load(settings, ACCEPTED_LOSSES)
    if table is None:
        raise BadInput("nothing was landed yet, so nothing can be lost; run a day first")
    before = accepted_losses(settings)
    row = {
        # the newest decision counts: it is newer than the others also where the clock was set back
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
