"""A test lab on the running stack: Airflow runs days while faults hit its parts."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psutil

from daybook.errors import DaybookError
from daybook.stack import supervisor
from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, Stack

RUN_TIMEOUT_SECONDS = 1_500
"""Airflow notices a killed scheduler's task after a minute; a day may have seven of them."""

PARTS: dict[str, str] = {
    "scheduler": "airflow-scheduler",
    "triggerer": "airflow-triggerer",
    "DAG processor": "airflow-dag-processor",
    "Airflow's API": "airflow-api-server",
    "broker": "kafka",
    "intake": "api",
    "Spark server": "spark-connect",
}
"""Part of the stack in the table of faults -> its name in supervisor."""
TASK_RUNNER = "task runner"
"""The process that runs a task's code; a Spark driver that it started continues without it."""

Fault = Callable[[dict[str, Any]], None]
"""Called when a step is first seen running, with the task instance from Airflow's API."""


@dataclass
class AirflowLab:
    """The stack and its operator's commands."""

    stack: Stack
    accepted: dict[str, date] = field(default_factory=dict)
    """Acknowledged id -> the day it happened."""
    injected: int = 0
    """Number of faults that hit."""
    given_up: int = 0
    """No fault here loses an acknowledged event."""

    def __post_init__(self) -> None:
        self.client = self.stack.api()

    def trigger(self, run_id: str, day: date, events: int) -> None:
        """Trigger a generated day."""
        conf = {"day": day.isoformat(), "events": events, "seed": 11}
        self.call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
        self.call("POST", f"/dags/{DAG_ID}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return Airflow's answer; retry until there is one: its API may be the part that is down."""
        answers: list[Any] = []

        def answered() -> bool:
            try:
                answers.append(self.client.call(method, path, body))
            except DaybookError as error:
                if getattr(error, "status", 503) < 500:
                    raise
                return False
            return True

        until(answered, f"{method} {path}", 120)
        return answers[0]

    def follow(self, run_ids: list[str], faults: Mapping[str, Fault] | None = None) -> None:
        """Wait until the runs have succeeded; inject each step's fault once, when the step is first seen running."""
        waiting, still_to_do = dict.fromkeys(run_ids), dict(faults or {})
        deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
        while waiting:
            for run_id in list(waiting):
                path = f"/dags/{DAG_ID}/dagRuns/{run_id}"
                state = self.call("GET", path)["state"]
                instances = self.call("GET", f"{path}/taskInstances")["task_instances"]
                for task in instances:
                    if task["task_id"] in still_to_do and task["state"] in {"running", "deferred"}:
                        still_to_do.pop(task["task_id"])(task)
                if state in {"success", "failed"}:
                    del waiting[run_id]
                    states = {task["task_id"]: task["state"] for task in instances}
                    assert state == "success", f"{run_id}: {states}"
            assert time.monotonic() < deadline, f"{list(waiting)} have not ended within {RUN_TIMEOUT_SECONDS} s"
            time.sleep(0.5)  # between two checks of the conditions above

    def kill(self, *parts: str) -> Fault:
        """Kill parts of the stack as the kernel would when memory is short: only their own processes."""

        def fault(task: dict[str, Any]) -> None:
            states = supervisor.states(self.stack.settings) or {}
            for part in parts:
                if part == TASK_RUNNER:
                    pid = task["pid"] if task["state"] == "running" else None
                else:
                    pid = states[PARTS[part]].pid
                if pid and psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)
                    self.injected += 1

        return fault

    @contextmanager
    def broker_frozen(self) -> Iterator[None]:
        """Freeze the broker, so that the wait for offsets continues."""
        pid = (supervisor.states(self.stack.settings) or {})["kafka"].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def acknowledged(self, day: date) -> None:
        """Add the generator's ids of a day to the acknowledged ones."""
        ids = (self.stack.settings.manifests_dir / f"{day}.ids").read_text(encoding="utf-8").split()
        self.accepted |= dict.fromkeys(ids, day)

    def settle(self) -> None:
        """Wait until every part is healthy again and the drivers of killed tasks have ended."""
        self.stack.daybook("up")

        def no_driver() -> bool:
            return not any(
                "/spark/jobs/" in " ".join(_command(one)) for one in supervisor.processes(self.stack.settings)
            )

        until(no_driver, "the last driver's end", 180)

    def tasks(self, run_id: str) -> dict[str, str]:
        """Return task -> state."""
        instances = self.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in instances}

    def runs(self, prefix: str) -> list[str]:
        """Return the ids of the runs with this prefix."""
        dag_runs = self.call("GET", f"/dags/{DAG_ID}/dagRuns?limit=100")["dag_runs"]
        return sorted(run["dag_run_id"] for run in dag_runs if run["dag_run_id"].startswith(prefix))

    def clear(self, run_id: str, step: str) -> None:
        """Clear a step and all steps after it, as an operator does in the UI."""
        body = {
            "dag_run_id": run_id,
            "task_ids": [step],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
            "dry_run": False,
        }
        self.call("POST", f"/dags/{DAG_ID}/clearTaskInstances", body)

    def backfill(self, first: date, last: date, events: int, *more: str) -> str:
        """Run ``airflow backfill create``; return its output, also if it fails."""
        conf = json.dumps({"events": events, "seed": 11})
        command = ["backfill", "create", "--dag-id", DAG_ID, "--from-date", str(first), "--to-date", str(last)]
        done = self.stack.airflow(*command, "--dag-run-conf", conf, *more, check=False)
        return done.stdout + done.stderr

    def backfill_when_free(self, first: date, last: date, events: int, *more: str) -> None:
        """Create a backfill as soon as Airflow accepts one: it may still count the last one as unfinished."""
        until(lambda: "AlreadyRunning" not in self.backfill(first, last, events, *more), "the last backfill's end", 120)

    def wait_until_deferred(self, run_id: str) -> None:
        """Wait until the triggerer has taken over a run's wait for offsets."""
        until(lambda: self.tasks(run_id)["wait_for_offsets"] == "deferred", f"{run_id} waiting", 120)


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command
