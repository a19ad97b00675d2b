"""The deferred half of the wait: runs in the triggerer, holds no worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from structlog.contextvars import bind_contextvars

from daybook_airflow.offsets_goal import OffsetsGoal
from daybook_airflow.offsets_hook import KafkaOffsetsHook


class KafkaOffsetsTrigger(BaseTrigger):
    """Checks a topic's end offsets at regular intervals until they are reached; fires one event.

    The event's payload is ``{"offsets": {"0": 123}}``, or ``{"error": "..."}`` when waiting cannot help, or
    ``{"timeout": "..."}`` when the deadline has passed.

    :param topic: the topic
    :param day: the run's day, for messages
    :param targets: partition -> highest acknowledged offset, or None
    :param not_before: time before which nothing is frozen, ISO 8601, or None
    :param kafka_config_id: the Airflow connection
    :param log_ends: partition -> the log's end that must become readable, or None
    :param deadline: time to give up, ISO 8601; not a duration, so that a restart of the triggerer does not
        restart the wait
    :param poll_seconds: time between two checks
    """

    def __init__(
        self,
        *,
        topic: str,
        day: str,
        targets: dict[str, int] | None,
        not_before: str | None,
        kafka_config_id: str,
        deadline: str,
        poll_seconds: float,
        log_ends: dict[str, int] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.goal = OffsetsGoal(
            topic=topic,
            day=day,
            targets=targets,
            not_before=not_before,
            kafka_config_id=kafka_config_id,
            log_ends=log_ends,
        )
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and JSON-serializable arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {**self.goal.as_kwargs(), "deadline": self.deadline, "poll_seconds": self.poll_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event."""
        yield TriggerEvent(await self._wait())  # type: ignore[no-untyped-call]  # Airflow's

    async def _wait(self) -> dict[str, Any]:
        bind_contextvars(day=self.goal.day)  # only for this trigger's lines: each is a task with its own context
        loop = asyncio.get_running_loop()
        hook, goal = KafkaOffsetsHook(self.goal.kafka_config_id), self.goal
        deadline = datetime.fromisoformat(self.deadline)
        next_look_at = loop.time()
        logged = None
        while True:
            # looking up the connection and the client's calls block: a thread keeps the triggerer's other waits running
            look = await asyncio.to_thread(goal.look, hook)
            if look.offsets is not None:
                return {"offsets": look.offsets}
            if look.lacks is None:
                return {"error": look.failure}
            if datetime.now(UTC) >= deadline:
                return {"timeout": goal.timed_out(look.lacks)}
            goal = replace(goal, log_ends=look.log_ends)
            if look.lacks != logged:  # log once per change, not once per check
                self.log.info("waiting: %s", look.lacks)
                logged = look.lacks
            next_look_at = max(next_look_at + self.poll_seconds, loop.time())
            await asyncio.sleep(next_look_at - loop.time())
