"""Registers Airflow components for runs: the note with the day, and the reference of the deadline."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from daybook_airflow import run_notes
from daybook_airflow.deadline import EndOfScheduledDay

LISTENERS: list[Any] = [run_notes]
DEADLINE_REFERENCES: list[Any] = [EndOfScheduledDay]


class DaybookRunsPlugin(AirflowPlugin):
    """A plugin; Airflow reads its class attributes."""

    name = "daybook_runs"
    listeners = LISTENERS
    deadline_references = DEADLINE_REFERENCES
