"""Finds in the tasks' logs why a run does not continue, for the run's tab in Airflow's UI.

Airflow stores the text of a failure only in the log, where it is the last line of the try
(:mod:`daybook_airflow.notifier`). A deferred wait logs what it waits for. The logs are read in the same way as
Airflow's own log view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.log.log_reader import TaskLogReader
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session

from daybook.airflow_client import DAG

WAITING = "waiting: "
"""Start of the line in which a wait for Kafka logs what is missing."""


@dataclass(frozen=True)
class Trouble:
    """A task that failed or waits, and the reason."""

    task_id: str
    message: str | None
    """The line of its log; None if there is no such line, for example because the process was killed."""
    is_over: bool
    """Whether the task has failed for good; otherwise Airflow retries it, or it is waiting."""


def troubles(session: Session, run_id: str) -> list[Trouble]:
    """Return the tasks of a run that failed, will be retried, or wait; in the order of their start."""
    query = select(TaskInstance).where(TaskInstance.dag_id == DAG, TaskInstance.run_id == run_id)
    found = [_trouble(session, task) for task in session.scalars(query.order_by(TaskInstance.start_date))]
    return [one for one in found if one is not None]


def _trouble(session: Session, task: TaskInstance) -> Trouble | None:
    failed = f" {task.task_id} failed at try "
    if task.state == TaskInstanceState.DEFERRED:
        line = _last_line(task, task.try_number, lambda text: text.startswith(WAITING))
        return Trouble(task.task_id, line, is_over=False) if line else None
    if task.state in (TaskInstanceState.FAILED, TaskInstanceState.UP_FOR_RETRY):
        line = _last_line(task, task.try_number, lambda text: failed in text)
        return Trouble(task.task_id, line, is_over=task.state == TaskInstanceState.FAILED)
    if task.state == TaskInstanceState.SUCCESS or task.try_number < 2:
        return None
    # a later try is running or about to start: the previous one is in Airflow's history
    before = select(TaskInstanceHistory).filter_by(
        dag_id=DAG, run_id=task.run_id, task_id=task.task_id, try_number=task.try_number - 1
    )
    history = session.scalar(before)
    line = history and _last_line(history, history.try_number, lambda text: failed in text)
    return Trouble(task.task_id, line, is_over=False) if line else None


def _last_line(task: TaskInstance | TaskInstanceHistory, try_number: int, is_it: Any) -> str | None:
    """Return the last matching line of a try's log; None if no line matches or there is no log."""
    lines: Iterable[Any]
    lines, _ = TaskLogReader().read_log_chunks(task, try_number, {"end_of_log": False})
    texts = [line.event for line in lines if is_it(str(line.event))]
    return str(texts[-1]) if texts else None
