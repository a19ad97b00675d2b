"""What Kafka has beyond the lake: records that no landing has taken yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from daybook.settings import Settings

if TYPE_CHECKING:
    from daybook.pipeline.losses import Loss
    from daybook.pipeline.position import Position


Show = Callable[[int, int], None]
"""Told how many offsets of how many were read."""


@dataclass(frozen=True)
class NotLanded:
    """What Kafka holds beyond the offsets where the record stands."""

    per_day: Mapping[date | None, int] = field(default_factory=dict)
    """Records of each event date; none stands for those that name no day."""
    first_taken_at: datetime | None = None
    """When Kafka took the first of them, UTC."""
    loss: Loss | None = None
    """What Kafka no longer has; without an operator's decision no run lands anything."""
    hidden: int = 0
    """Offsets behind the end of what can be read: an open transaction hides them, and a run waits for its end."""
    unfit: str | None = None
    """Why no run lands anything from a topic of this configuration, with what cures it."""


def read_not_landed(settings: Settings, start: Position, show: Show) -> NotLanded:
    """Read what Kafka holds beyond a position, up to its present end, and count it by event date.

    After a loss it is what Kafka still has. Joins no consumer group and commits nothing.

    Raises:
        DaybookError: the broker does not answer, or the topic is missing.
    """
    from daybook.contract import event_date
    from daybook.kafka.offsets import committed, topic_state
    from daybook.pipeline.losses import loss_since

    topic = topic_state(settings)
    loss = loss_since(settings, start, topic)
    begin = loss.resume_from if loss else start.offsets
    ranges = {at: (begin.get(at, 0), end) for at, end in sorted(topic.end.items()) if begin.get(at, 0) < end}
    offsets = sum(end - first for first, end in ranges.values())
    per_day: Counter[date | None] = Counter()
    first_taken_at: datetime | None = None
    for at, (first, end) in ranges.items():
        for message in committed(settings, at, first, end):
            taken_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            first_taken_at = min(first_taken_at or taken_at, taken_at)
            per_day[event_date(message.value(), taken_at, settings.future_tolerance_minutes)] += 1
            if (done := per_day.total()) % 1_000 == 0:
                show(done, offsets)
    return NotLanded(per_day, first_taken_at, loss, sum(topic.hidden.values()), topic.unfit)
