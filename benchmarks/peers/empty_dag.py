"""A DAG of the shape of ``game_events_daily`` whose tasks do nothing: it measures Airflow's own share of such a run.

The benchmark copies it into a separate DAG folder. As in the original, the sensor could defer but has no reason to,
four tasks take slots of Spark's pools, and each task passes a small value to the next.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, BaseSensorOperator, Context, dag, task

from daybook.sql.answers import AREAS


class Satisfied(BaseSensorOperator):
    """Checks once; it would defer until a moment in the past."""

    moment = datetime(2019, 11, 1, tzinfo=UTC)

    def execute(self, context: Context, event: Any = None) -> dict[str, int]:
        """Return at once."""
        if datetime.now(UTC) < self.moment:
            self.defer(trigger=DateTimeTrigger(self.moment), method_name="execute")
        return {"0": 1}


class Nothing(BaseOperator):
    """Replaces a task that starts a Spark driver."""

    def execute(self, context: Context) -> dict[str, int]:
        """Return at once."""
        return {"rows": 0}


@dag(schedule=None, max_active_runs=4)
def empty_day() -> None:
    """Seven tasks and seven edges."""

    @task
    def generate_events() -> dict[str, int]:
        return {"sent": 0}

    @task
    def write_report(published: Any) -> list[str]:
        return [str(published)]

    wait_for_offsets = Satisfied(task_id="wait_for_offsets", poke_interval=5)
    land_events, *answers, publish_day = (
        Nothing(task_id=name, pool="spark_server" if name in AREAS else "spark")
        for name in ("land_events", *AREAS, "publish_day")
    )
    report = write_report(publish_day.output)
    generate_events() >> wait_for_offsets >> land_events >> answers >> publish_day >> report


empty_day()
