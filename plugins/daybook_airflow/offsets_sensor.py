"""The wait that freezes a run's range: from here on, the end of the range is an offset, not a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from daybook_airflow.offsets_goal import OffsetsGoal
from daybook_airflow.offsets_hook import KafkaOffsetsHook
from daybook_airflow.offsets_trigger import KafkaOffsetsTrigger


class KafkaOffsetsSensor(BaseSensorOperator):
    """Waits until Kafka's end offsets have passed the acknowledged ones, then returns and so freezes them.

    Checks once in the worker; if the offsets are not reached, it defers and holds no worker slot. If the broker does
    not answer, it waits until the time-out. A missing topic fails the task at once, without a retry. It uses no
    consumer group and commits nothing.

    :param topic: the topic (templated)
    :param day: the run's day, ``YYYY-MM-DD``, for messages (templated)
    :param targets: partition -> highest acknowledged offset, as a mapping or its JSON text; None, ``"null"`` or an
        empty text for live traffic (templated)
    :param not_before: time before which nothing is frozen, ISO 8601 with a time zone; None or empty = any time
        (templated)
    :param kafka_config_id: the Airflow connection whose extra is the client's configuration
    :param poke_interval: time between two checks
    :param timeout: how long to wait, counted from ``not_before`` if that is in the future
    :return: end offset of every partition, as ``{"0": 123}``: the offset after the last record
    """

    template_fields: Sequence[str] = ("topic", "day", "targets", "not_before")

    def __init__(
        self,
        *,
        topic: str,
        day: str,
        targets: Mapping[str, int] | str | None = None,
        not_before: str | None = None,
        kafka_config_id: str = "kafka_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.day = day
        self.targets = targets
        self.not_before = not_before
        self.kafka_config_id = kafka_config_id

    def execute(self, context: Context) -> dict[str, int]:
        """Check once; return the offsets or defer.

        Raises:
            AirflowFailException: waiting cannot help; the message names the next step.
        """
        goal = self.goal()
        look = goal.look(KafkaOffsetsHook(self.kafka_config_id))
        if look.offsets is not None:
            return self._frozen(look.offsets)
        if look.failure is not None:
            raise AirflowFailException(look.failure)
        self.log.info("waiting: %s", look.lacks)
        now = datetime.now(UTC)
        deadline = max(now, goal.opens_at() or now) + timedelta(seconds=self.timeout)
        self.defer(
            trigger=KafkaOffsetsTrigger(
                **replace(goal, log_ends=look.log_ends).as_kwargs(),
                deadline=deadline.isoformat(),
                poll_seconds=self.poke_interval,
            ),
            method_name="resume",
            # the trigger enforces the deadline itself and reports what was missing; this covers a dead triggerer
            timeout=deadline - now + timedelta(minutes=10),
        )

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, int]:
        """Handle the trigger's event.

        Raises:
            AirflowFailException: waiting cannot help; the message names the next step.
            AirflowSensorTimeout: the time-out has passed; the message names what was missing.
        """
        if "timeout" in event:
            raise AirflowSensorTimeout(event["timeout"])
        if "error" in event:
            raise AirflowFailException(event["error"])
        offsets: dict[str, int] = event["offsets"]
        return self._frozen(offsets)

    def goal(self) -> OffsetsGoal:
        """Return the condition to wait for, from the rendered arguments."""
        targets = json.loads(self.targets or "null") if isinstance(self.targets, str) else self.targets
        return OffsetsGoal(
            topic=self.topic,
            day=self.day,
            targets=dict(targets) if targets is not None else None,
            not_before=self.not_before or None,
            kafka_config_id=self.kafka_config_id,
        )

    def _frozen(self, offsets: dict[str, int]) -> dict[str, int]:
        self.log.info("%s: frozen end offsets of topic %s: %s", self.day, self.topic, offsets)
        return offsets
