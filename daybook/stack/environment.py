"""The environment of every part of the stack; ``daybook env`` gives it to a user's shell."""

from __future__ import annotations

from daybook.jobs.environment import job_environment
from daybook.settings import Settings

MARKER = "DAYBOOK_STACK_OF"
"""Set in the processes of a stack and their children, never in a user's shell: ``down`` finds orphans by it."""


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the full environment of the stack's processes: :func:`job_environment` and the marker."""
    return {
        **job_environment(settings),
        MARKER: str(settings.home),
        # setproctitle (gunicorn, Airflow) would overwrite the environment, from which the marker is read
        "SPT_NOENV": "1",
    }
