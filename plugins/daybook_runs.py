"""Registers with Airflow what belongs to runs: the note with the day, and the reference of the deadline."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from daybook_airflow import run_notes
from daybook_airflow.deadline import EndOfScheduledDay


class DaybookRunsPlugin(AirflowPlugin):
    """Airflow reads the class attributes."""

    name = "daybook_runs"
    listeners = [run_notes]  # noqa: RUF012  # Airflow's form
    deadline_references = [EndOfScheduledDay]  # noqa: RUF012
