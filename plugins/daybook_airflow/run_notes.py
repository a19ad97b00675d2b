"""A listener that writes the day of a run into its note, which Airflow's UI shows next to the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from daybook.airflow_client import DAG
from daybook_airflow.macros import daybook_day

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Write the day into the note when a run starts. An existing note is not changed.

    The run is an object of the scheduler's open session, which stores the note with the run's new state.
    """
    if dag_run.dag_id == DAG and not dag_run.note:
        dag_run.note = f"day {daybook_day(dag_run, dag_run.conf or {})}"
