"""Adds day and offsets to every line of a task's log, in addition to Airflow's own fields (DAG, task, run, try)."""

from __future__ import annotations

from typing import Any

from structlog.contextvars import bind_contextvars

from daybook_airflow.macros import daybook_day


def bind_log_context(context: Any) -> None:
    """Bind ``day``, and ``offsets`` if the task has them, to all later log lines of the task's process.

    For ``pre_execute`` of every task; Spark's lines go through the same log.

    Args:
        context: Airflow's context with the task rendered. ``day`` is the task's attribute, or follows the day rule;
            ``offsets`` is the frozen end of each partition, JSON.
    """
    task = context["task"]
    fields = {"day": getattr(task, "day", None) or daybook_day(context["dag_run"], context["params"])}
    if offsets := getattr(task, "offsets", None):
        fields["offsets"] = offsets
    bind_contextvars(**fields)
