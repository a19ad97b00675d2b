"""Common defaults of all tasks in Daybook's DAGs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from daybook.errors import may_pass
from daybook_airflow.log_context import bind_log_context
from daybook_airflow.notifier import FailureNotifier


class RetryWhatMayPass(RetryPolicy):
    """Fails a task at once if a retry would end with the same error."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide only by the error's class."""
        return RetryDecision.default() if may_pass(exception) else RetryDecision.fail()


def notify_on_failure(safe: str) -> dict[str, Any]:
    """Return task callbacks that report, when a try fails, what happened, what is safe and what to do.

    Args:
        safe: what the reader can rely on although the task failed, a sentence.
    """
    return {
        "on_failure_callback": FailureNotifier(safe=safe),
        "on_retry_callback": FailureNotifier(safe=safe, tries_again=True),
    }


TASK_DEFAULTS: dict[str, Any] = {
    "owner": "data-engineering",
    # Each task may be repeated at any time. Airflow's API can be unavailable for a minute after a restart, and a task
    # that cannot reach it for ten seconds is lost. With one retry, a day failed when the API was killed twice in three
    # minutes (table of faults).
    "retries": 3,
    "retry_policy": RetryWhatMayPass(),
    "retry_delay": timedelta(seconds=30),
    "pre_execute": bind_log_context,
    **notify_on_failure("Readers see what they saw before: nothing is published before the balance is proved."),
}
