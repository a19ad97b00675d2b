"""Records in Kafka that have not landed in the lake yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from daybook.kafka.offsets import committed, topic_state
from daybook.settings import Settings

if TYPE_CHECKING:
    from daybook.pipeline.losses import Loss
    from daybook.pipeline.position import Position


Show = Callable[[int, int], None]
"""Called with the number of offsets read so far and the total."""


@dataclass(frozen=True)
class NotLanded:
    """The records that Kafka holds after the position."""

    per_day: Mapping[date | None, int] = field(default_factory=dict)
    """Records of each event date; the key None counts those without a day."""
    first_taken_at: datetime | None = None
    """When Kafka took the first of them, UTC."""
    loss: Loss | None = None
    """The records that Kafka has lost; no run lands anything until an operator decides."""
    hidden: int = 0
    """Offsets after the readable end: an open transaction hides them, and a run waits for its end."""
    unfit: str | None = None
    """The reason why no run lands from a topic of this configuration, and the remedy."""


def read_not_landed(settings: Settings, start: Position, show: Show) -> NotLanded:
    """Read the records after a position, up to the present end of the log, and count them by event date.

    After a loss only the records that Kafka still has are counted. Joins no consumer group and commits nothing.

    Raises:
        DaybookError: the broker does not answer, or the topic is missing.
    """
    from daybook.contract import event_date
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
