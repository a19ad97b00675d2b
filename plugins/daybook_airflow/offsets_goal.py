"""Decides whether the wait for offsets is over; shared by the sensor and the trigger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from daybook.kafka.offsets import BrokerRejected, BrokerUnavailable, TopicMissing, hidden
from daybook_airflow.offsets_hook import KafkaOffsetsHook


@dataclass(frozen=True)
class OffsetsCheck:
    """The result of one check of the broker: offsets, what is still missing, or a failure."""

    offsets: dict[str, int] | None = None
    """If reached: the end offset of every partition at this moment."""
    lacks: str | None = None
    """If not reached: what is still missing, for the log."""
    log_ends: dict[str, int] | None = None
    """With :attr:`lacks`, if only open transactions are missing: the log's ends that must become readable."""
    failure: str | None = None
    """If waiting cannot help: a message for the user."""


@dataclass(frozen=True)
class OffsetsGoal:
    """The condition that a run waits for; uses JSON types only, so that it can be a trigger's arguments."""

    topic: str
    day: str
    """The run's day, ``YYYY-MM-DD``, for messages."""
    targets: dict[str, int] | None
    """Partition -> highest acknowledged offset, which must have become visible; None for live traffic."""
    not_before: str | None
    """Time before which the offsets are not frozen, ISO 8601 with a time zone; None = any time."""
    kafka_config_id: str
    log_ends: dict[str, int] | None = None
    """The log's ends when everything else was reached. Records that were in the log then must become readable. Later
    records do not count: a producer that always has an open transaction would make the wait endless."""

    def as_kwargs(self) -> dict[str, Any]:
        """The fields as keyword arguments."""
        return dict(self.__dict__)

    def opens_at(self) -> datetime | None:
        """Return :attr:`not_before` as a UTC time."""
        return datetime.fromisoformat(self.not_before).astimezone(UTC) if self.not_before else None

    def look(self, hook: KafkaOffsetsHook) -> OffsetsCheck:
        """Check the broker once. Blocks for up to the hook's time-out.

        The clock is read before the broker, so offsets of a closed day were read after the day closed.
        """
        now = datetime.now(UTC)
        try:
            ends, log = hook.end_offsets(self.topic)
        except TopicMissing:
            return OffsetsCheck(
                failure=f"{self.day}: Kafka has no topic {self.topic!r}, so there is nothing to land; the lake is "
                "unchanged. Create the topic (`daybook create-topic`), then clear wait_for_offsets"
            )
        except BrokerRejected as rejection:
            return OffsetsCheck(
                failure=f"{self.day}: Kafka {rejection}; nothing was frozen and the lake is unchanged. Fix that, "
                "then clear wait_for_offsets"
            )
        except BrokerUnavailable as error:
            return OffsetsCheck(lacks=f"Kafka does not answer ({error})")
        targets = {int(partition): offset for partition, offset in (self.targets or {}).items()}
        if unknown := sorted(set(targets) - set(ends)):
            return OffsetsCheck(
                failure=f"{self.day}: events were acknowledged in partition {unknown[0]} of topic {self.topic!r}, "
                f"which has {len(ends)} partitions now: it was recreated. The lake is unchanged; trigger the day again"
            )
        behind = [at for at, target in sorted(targets.items()) if ends[at] <= target]
        if behind:
            at = behind[0]
            return OffsetsCheck(lacks=f"partition {at} ends at {ends[at]}, offset {targets[at]} was acknowledged")
        opens_at = self.opens_at()
        if opens_at is not None and now < opens_at:
            return OffsetsCheck(lacks=f"the day stays open until {opens_at:%Y-%m-%d %H:%M} UTC")
        awaited = {int(at): end for at, end in self.log_ends.items()} if self.log_ends is not None else log
        if still := hidden(ends, awaited):
            hidden_text = ", ".join(f"{count} offsets from {ends[at]} of partition {at}" for at, count in still.items())
            return OffsetsCheck(
                lacks=f"an open transaction hides {hidden_text}",
                log_ends={str(at): end for at, end in sorted(awaited.items())},
            )
        return OffsetsCheck(offsets={str(partition): ends[partition] for partition in sorted(ends)})

    def timed_out(self, lacks: str) -> str:
        """Return the message for a wait that took too long."""
        return (
            f"{self.day}: waited too long for topic {self.topic!r}: {lacks}; nothing was frozen and the lake is "
            "unchanged. See `daybook status`, then clear wait_for_offsets"
        )
