"""Describes the state of each part of the stack."""

from __future__ import annotations

import time

from daybook import airflow_client
from daybook.errors import DaybookError, NonRetryableError
from daybook.settings import Settings
from daybook.stack.parts import Part, log_of, parts


def stack_lines(settings: Settings) -> list[tuple[str, str, str]]:
    """Return every part's name, state and a detail for the reader; empty if the stack is not up.

    The state is ``healthy``, ``starting`` (running but not usable yet, within the time that `up` would wait), ``late``
    (that time has passed) or supervisor's own term, such as ``backoff``. For an externally managed stack only Airflow's
    parts are listed, with Airflow's own states.
    """
    if settings.airflow_server_url:
        try:
            health = airflow_client.api(settings, 5).health()
        except DaybookError as error:
            return [("airflow", "late", str(error))]
        return [
            (f"airflow {name}", str(part["status"]), str(part.get(f"latest_{name}_heartbeat") or ""))
            for name, part in health.items()
        ]
    from daybook.stack import supervisor

    states = supervisor.states(settings)
    if states is None:
        return []
    lines: list[tuple[str, str, str]] = []
    for part in parts(settings):
        state = states.get(part.name)
        if state is None or state.name != "running":
            lines.append((part.name, state.name if state else "unknown", f"log: {log_of(settings, part.name)}"))
        elif reason := _reason(part, settings, state.started):
            is_new = time.time() - state.started < settings.up_timeout_seconds
            state_name = "starting" if is_new else "late"
            lines.append((part.name, state_name, f"{reason}; log: {log_of(settings, part.name)}"))
        else:
            lines.append((part.name, "healthy", f"pid {state.pid}"))
    return lines


def _reason(part: Part, settings: Settings, started: float) -> str | None:
    try:
        return part.trouble(settings, started)
    except NonRetryableError as error:
        return str(error)
