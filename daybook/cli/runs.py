"""A run of the daily DAG, shown while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from daybook.airflow_client import DAG, NoAnswer, seconds_of
from daybook.errors import DaybookError

if TYPE_CHECKING:
    from rich.console import Console

    from daybook.airflow_client import AirflowApi


_LONGEST_RUN_MINUTES = 30
_LOOK_EVERY_SECONDS = 0.5
_LONGEST_SILENCE_SECONDS = 120
"""How long Airflow may not answer while a run goes on, for example because the day needs the whole machine."""


def follow(client: AirflowApi, run_id: str, console: Console) -> list[dict[str, Any]]:
    """Show the run's steps until it ends; returns the steps as Airflow reports them, in the order they started.

    Raises:
        NoAnswer: Airflow has not answered for two minutes. The run may go on.
        DaybookError: it takes longer than half an hour.
    """
    shown: dict[str, str] = {}
    answered_at = time.monotonic()
    deadline = answered_at + _LONGEST_RUN_MINUTES * 60
    with console.status("") as spinner:
        while True:
            try:
                # asked first: a run that has ended has no step that could still change
                state = client.call("GET", f"/dags/{DAG}/dagRuns/{run_id}")["state"]
                reported = client.call("GET", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]
            except NoAnswer:
                if time.monotonic() - answered_at > _LONGEST_SILENCE_SECONDS:
                    raise
                spinner.update("waiting for Airflow's answer")
                time.sleep(_LOOK_EVERY_SECONDS)  # between two looks at the run
                continue
            answered_at = time.monotonic()
            # in the order they started; what has not started comes last
            steps = sorted(reported, key=lambda step: step["start_date"] or "9")
            for step in steps:
                name, now = step["task_id"], str(step["state"])
                if shown.get(name) == now:
                    continue
                shown[name] = now
                if now in {"success", "failed", "upstream_failed", "skipped", "up_for_retry"}:
                    console.print(f"{name:<18} {now:<15} {seconds_of(step):5.1f} s", highlight=False)
                elif now == "running" and not console.is_terminal:
                    console.print(f"{name:<18} ...", highlight=False)
            under_way = [step for step in steps if step["state"] in {"running", "deferred"}]
            spinner.update(
                ", ".join(f"{step['task_id']} {seconds_of(step):.0f} s" for step in under_way) or "waiting for Airflow"
            )
            if state in {"success", "failed"}:
                return steps
            if time.monotonic() > deadline:
                raise DaybookError(f"run {run_id} has not ended after {_LONGEST_RUN_MINUTES} minutes; look at it")
            time.sleep(_LOOK_EVERY_SECONDS)  # between two looks at the run
