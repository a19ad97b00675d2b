"""Why a run does not go on, as its tasks' logs say it: for the run's tab in Airflow's UI.

Airflow keeps no text of a failure but the log. There it is the last line of the try (:mod:`daybook_airflow.notifier`);
a wait that is deferred logs what it waits for. The logs are read as Airflow's own log view reads them.
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
"""How the line begins by which a wait for Kafka logs what is missing."""


@dataclass(frozen=True)
class Trouble:
    """A task that failed, or waits, and why."""

    task_id: str
    says: str | None
    """The line of its log; none if it left none, as a process does that was killed."""
    is_over: bool
    """Whether the task has failed for good; else Airflow tries it again, or it waits, by itself."""


def troubles(session: Session, run_id: str) -> list[Trouble]:
    """The tasks of a run that failed, that are to be tried again, or that wait; in the order they started."""
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
    # a later try is under way, or about to start: Airflow has the one before in the history
    before = select(TaskInstanceHistory).filter_by(
        dag_id=DAG, run_id=task.run_id, task_id=task.task_id, try_number=task.try_number - 1
    )
    history = session.scalar(before)
    line = history and _last_line(history, history.try_number, lambda text: failed in text)
    return Trouble(task.task_id, line, is_over=False) if line else None


def _last_line(task: TaskInstance | TaskInstanceHistory, try_number: int, is_it: Any) -> str | None:
    """The last line of a try's log that is of a kind; none if there is none, or no log."""
    lines: Iterable[Any]
    lines, _ = TaskLogReader().read_log_chunks(task, try_number, {"end_of_log": False})
    texts = [line.event for line in lines if is_it(str(line.event))]
    return str(texts[-1]) if texts else None
