"""A running stack and its user's commands."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from daybook import airflow_client
from daybook.airflow_client import AirflowApi
from daybook.settings import Settings
from daybook.sql.answers import answers
from tests.integration.own_broker import until
from tests.webhook import Webhook

DAG_ID = "game_events_daily"
RUN_TIMEOUT_SECONDS = 600


@dataclass
class Stack:
    """A running stack and its user's commands."""

    settings: Settings
    env: dict[str, str]
    """Environment for programs that work with this stack, as ``daybook env`` prints it for a shell."""
    webhook: Webhook
    """Receives the notifications of failures and late days."""

    def daybook(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the ``daybook`` command; unless ``check`` is false, another exit status than 0 fails the test."""
        return self._run("daybook", arguments, check)

    def airflow(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the ``airflow`` command in the same way."""
        return self._run("airflow", arguments, check)

    def _run(self, program: str, arguments: tuple[str, ...], check: bool) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        done = subprocess.run(
            command,
            env=self.env,
            cwd=self.settings.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            umask=0,  # the most permissive umask: private files must be private without its help
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """Return the output of ``daybook ... --json``."""
        return json.loads(self.daybook(*arguments, "--json").stdout)

    def api(self) -> AirflowApi:
        """The running Airflow's REST API."""
        return airflow_client.api(self.settings)

    def trigger(self, run_id: str, *, dag_id: str = DAG_ID, **conf: Any) -> dict[str, str]:
        """Trigger a run with Airflow's own command and wait for its end; return task -> state."""
        self.airflow("dags", "unpause", dag_id, "-y")
        self.airflow("dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps(conf))
        api, path = self.api(), f"/dags/{dag_id}/dagRuns/{run_id}"
        until(lambda: api.call("GET", path)["state"] in ("success", "failed"), run_id, RUN_TIMEOUT_SECONDS, 1)
        tasks = api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in tasks}

    def tries(self, run_id: str, task_id: str) -> int:
        """Return how often a task was tried."""
        return int(self.api().call("GET", _task_path(run_id, task_id))["try_number"])

    def log_lines(self, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """Return the log lines of a task's last try: ``event`` is the text, the rest are its fields."""
        path = f"{_task_path(run_id, task_id)}/logs/{self.tries(run_id, task_id)}"
        content = self.api().call("GET", path)["content"]
        return [line if isinstance(line, dict) else {"event": str(line)} for line in content]

    def task_log(self, run_id: str, task_id: str) -> str:
        """Return the log text of a task's last try."""
        return "\n".join(str(line["event"]) for line in self.log_lines(run_id, task_id))

    def manifest(self, day: date) -> dict[str, Any]:
        """Return the generator's manifest of a day."""
        content: dict[str, Any] = json.loads((self.settings.manifests_dir / f"{day}.json").read_text(encoding="utf-8"))
        return content

    def answers(self, day: date) -> dict[str, Any]:
        """Return all answers of a day that name no players, read as by ``daybook answer`` but in this process.

        Answers that name players are in no manifest.
        """
        from daybook.lake.answers import answer_rows
        from daybook.lake.ledger import read_ledger

        ledger = read_ledger(self.settings)
        return {
            name: answer_rows(ledger, name, day.isoformat())
            for name, answer in answers().items()
            if not answer.names_players
        }

    def ledger_row(self, day: date) -> dict[str, Any]:
        """Return the entry of a day in ``daybook status --json``."""
        rows: list[dict[str, Any]] = self.json("status")
        return next(row for row in rows if row["day"] == day.isoformat())


def _task_path(run_id: str, task_id: str) -> str:
    return f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}"
