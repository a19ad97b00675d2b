"""What every line of a task's log carries besides Airflow's own fields (DAG, task, run, try): day and offsets."""

from __future__ import annotations

from typing import Any

from structlog.contextvars import bind_contextvars

from daybook_airflow.macros import daybook_day


def bind_log_context(context: Any) -> None:
    """Bind ``day``, and ``offsets`` where the task has them, to all that the task's process logs from now on.

    For ``pre_execute`` of every task; Spark's lines come through the same log.

    Args:
        context: Airflow's context, its task rendered. Tasks with a ``day`` of their own are asked for it, others follow
            the day rule; ``offsets`` is the frozen end of each partition, JSON.
    """
    task = context["task"]
    fields = {"day": getattr(task, "day", None) or daybook_day(context["dag_run"], context["params"])}
    if offsets := getattr(task, "offsets", None):
        fields["offsets"] = offsets
    bind_contextvars(**fields)
