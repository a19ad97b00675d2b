"""What every task of Daybook's DAGs has in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from daybook_airflow.log_context import bind_log_context
from daybook_airflow.notifier import FailureNotifier


def told(safe: str) -> dict[str, Any]:
    """The callbacks of a task that say, when a try fails, what happened, what is safe and what to do.

    Args:
        safe: what the reader can rely on although the task failed, a sentence.
    """
    return {
        "on_failure_callback": FailureNotifier(safe=safe),
        "on_retry_callback": FailureNotifier(safe=safe, tries_again=True),
    }


TASK_DEFAULTS: dict[str, Any] = {
    "owner": "data-engineering",
    # Each task may be repeated at any time. Airflow's API can be away for a minute after a restart, and a task that
    # cannot reach it for ten seconds is lost: with one retry a day failed whose API was killed twice in three minutes
    # (table of faults). What would fail the same way again (NeedsDecision) is not tried again.
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "pre_execute": bind_log_context,
    **told("Readers see what they saw before: nothing is published before the balance is proved."),
}
