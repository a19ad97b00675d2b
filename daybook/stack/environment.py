"""The environment that every part of the stack runs in, and that a user's shell gets from ``daybook env``."""

from __future__ import annotations

from daybook.jobs.environment import job_environment
from daybook.settings import Settings

MARKER = "DAYBOOK_STACK_OF"
"""Carried by the processes of a stack and all they start, never by a user's shell: how ``down`` finds orphans."""


def process_environment(settings: Settings) -> dict[str, str]:
    """The whole environment of the stack's processes: :func:`job_environment` and the marker."""
    return {
        **job_environment(settings),
        MARKER: str(settings.home),
        # setproctitle (gunicorn, Airflow) would write the title over the environment that the marker is read from
        "SPT_NOENV": "1",
    }
