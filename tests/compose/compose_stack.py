"""The stack of docker-compose.yaml under the available engine, on separate ports and volumes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from datetime import date
from typing import Any

from daybook.settings import REPOSITORY
from tests.integration.own_broker import free_ports, until
from tests.integration.running_stack import DAG_ID

UP_TIMEOUT_SECONDS = 1_500
"""Enough to build all images from scratch and wait until everything is healthy."""
RUN_TIMEOUT_SECONDS = 1_200

_SHOW_ANSWERS = """
import json, sys
from daybook.sql.answers import answers
from daybook.lake.answers import answer_rows
from daybook.lake.ledger import ledger_rows, read_ledger
from daybook.settings import load_settings
days = sys.argv[1:]
ledger = read_ledger(load_settings())
shown = {day: {name: answer_rows(ledger, name, day) for name in answers()} for day in days}
json.dump({"answers": shown, "ledger": [row for row in ledger_rows(ledger) if row["day"] in days]}, sys.stdout)
"""


@dataclass
class ComposeStack:
    """The commands of a user of the Compose stack."""

    engine: list[str]
    """The command that replaces ``docker compose``."""
    project: str

    def __post_init__(self) -> None:
        self.api_port, self.airflow_port = free_ports(2)

    def compose(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a compose command in the checkout; unless ``check`` is false, its failure fails the test."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DAYBOOK_", "AIRFLOW"))},
            "COMPOSE_PROJECT_NAME": self.project,
            "DAYBOOK_API_PORT": str(self.api_port),
            "DAYBOOK_AIRFLOW_PORT": str(self.airflow_port),
        }
        done = subprocess.run(
            [*self.engine, *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{arguments}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done

    def up(self) -> None:
        """Build what has changed, start everything, wait until everything is healthy."""
        self.compose("up", "-d", "--build", "--force-recreate", "--wait", timeout=UP_TIMEOUT_SECONDS)

    def down(self) -> None:
        """Stop everything and remove its volumes."""
        self.compose("down", "-v", check=False)

    def inside(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in a running container."""
        return self.compose("exec", "-T", service, *command, check=check)

    def with_lake(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command where Airflow's tasks run, with their environment."""
        return self.inside("airflow-scheduler", "/opt/daybook/docker/with-lake.sh", *command, check=check)

    def airflow(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer of Airflow's API, called from inside a container."""
        code = (
            "import json, sys; from daybook.settings import load_settings; from daybook.airflow_client import api; "
            "json.dump(api(load_settings()).call(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])), sys.stdout)"
        )
        output = self.inside("airflow-scheduler", "python", "-c", code, method, path, json.dumps(body)).stdout
        return json.loads(output)

    def states(self, run_id: str) -> tuple[str, dict[str, str]]:
        """Return a run's state, and task -> state."""
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}"
        state = self.airflow("GET", path)["state"]
        tasks = self.airflow("GET", f"{path}/taskInstances")["task_instances"]
        return state, {task["task_id"]: str(task["state"]) for task in tasks}

    def runs(self, run_type: str) -> list[dict[str, Any]]:
        """Return the runs of a kind: ``manual`` or ``backfill``."""
        dag_runs: list[dict[str, Any]] = self.airflow("GET", f"/dags/{DAG_ID}/dagRuns?limit=100")["dag_runs"]
        return [run for run in dag_runs if run["run_type"] == run_type]

    def wait_for(self, run_id: str) -> dict[str, str]:
        """Wait until a run has ended; return task -> state."""
        until(lambda: self.states(run_id)[0] in {"success", "failed"}, run_id, RUN_TIMEOUT_SECONDS, 3)
        return self.states(run_id)[1]

    def lake(self, days: list[date]) -> dict[str, Any]:
        """Return ``answers`` (day -> answer -> rows) and ``ledger`` (rows of ``daybook status``) of published days."""
        output = self.with_lake("python", "-c", _SHOW_ANSWERS, *map(str, days)).stdout
        shown: dict[str, Any] = json.loads(output)
        return shown

    def kill_executor_and_worker(self) -> None:
        """Kill every Java process in the Spark worker's container: the worker and its executor."""
        self.inside("spark-worker", "pkill", "-KILL", "java", check=False)


def engine() -> list[str]:
    """Return the command that ``make test-compose`` chose: ``COMPOSE`` in the environment."""
    return shlex.split(os.environ.get("COMPOSE", "docker compose"))
