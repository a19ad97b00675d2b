"""Reports failed tasks: always to the task's log, and to ``DAYBOOK_NOTIFY_URLS``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseNotifier, Context

from daybook.airflow_client import DAG
from daybook.errors import BadInput, NotNow
from daybook_airflow.macros import daybook_day
from daybook_airflow.messages import send
from daybook_airflow.refused import RefusedRun

_LONGEST_REASON = 1_000
"""Most characters of an error in the notification; the log has the full text."""


class FailureNotifier(BaseNotifier):
    """Reports a failed try as the last line of the task's log: what happened, what is safe and the next command.

    If Airflow retries the task, the failure is only logged. Otherwise it is also sent to ``DAYBOOK_NOTIFY_URLS``.

    :param safe: what the reader can rely on although the task failed, a sentence
    :param tries_again: whether this is the callback for tries that Airflow repeats
    """

    def __init__(self, *, safe: str, tries_again: bool = False) -> None:
        super().__init__()
        self.safe = safe
        self.tries_again = tries_again

    def notify(self, context: Context) -> None:
        """Send the text if there is no further retry, then log it."""
        text = failure_text(context, self.safe, tries_again=self.tries_again)
        if not self.tries_again:
            send(text)
        self.log.error("%s", text)


def failure_text(context: Mapping[str, Any], safe: str, *, tries_again: bool) -> str:
    """Return one line: day, task, reason, what is safe, what to do.

    Args:
        context: Airflow's context of the failed try.
        safe: what the reader can rely on.
        tries_again: whether Airflow will retry the task.
    """
    task, ti, dag_run = context["task"], context["ti"], context["dag_run"]
    day = getattr(task, "day", None) or daybook_day(dag_run, context["params"])
    reason = " ".join(str(context.get("exception") or "its process ended").split())[:_LONGEST_REASON].rstrip(".")
    reason = reason.removeprefix(f"{day}: ")
    text = f"{day}: {ti.task_id} failed at try {ti.try_number}: {reason}. {safe}"
    if tries_again:
        return f"{text} Airflow will retry it."
    error = context.get("exception")
    if isinstance(error, RefusedRun | BadInput) and not isinstance(error, NotNow):
        return text  # the reason already names the next step; running the same again would fail
    return f"{text} After fixing the cause: {_again(dag_run, day)}, or clear the task."


def _again(dag_run: Any, day: str) -> str:
    """Return the command that repeats a failed run; safe at any time."""
    conf = {**(dag_run.conf or {}), **({"day": day} if dag_run.dag_id == DAG else {})}
    given = f" -c {shlex.quote(json.dumps(conf))}" if conf else ""
    return f"`airflow dags trigger {dag_run.dag_id}{given}`"
