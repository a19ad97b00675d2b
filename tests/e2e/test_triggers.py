"""Every way to trigger a run selects the right day, and succeeds."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.environ.get("DAYBOOK_E2E") != "full", reason="`make test-e2e`: five minutes"),
]

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
ASKED, LOGICAL = YESTERDAY - timedelta(days=300), YESTERDAY - timedelta(days=310)


def by_command(stack: Stack, run_id: str, *options: str) -> None:
    stack.airflow("dags", "trigger", DAG_ID, "--run-id", run_id, *options)


def by_api(stack: Stack, run_id: str, logical_date: str | None, **conf: Any) -> None:
    body = {"dag_run_id": run_id, "logical_date": logical_date, "conf": conf}
    stack.api().call("POST", f"/dags/{DAG_ID}/dagRuns", body)


def test_each_way_to_trigger_names_its_day(stack: Stack) -> None:
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    asked = json.dumps({"day": str(ASKED), "events": 100, "seed": 2})
    now = datetime.now(UTC).isoformat()
    by_command(stack, "command")
    by_command(stack, "command-c", "-c", asked)
    by_command(stack, "command-l", "-l", f"{LOGICAL}T00:00:00+00:00")
    by_command(stack, "command-l-c", "-l", f"{LOGICAL}T06:30:00+00:00", "-c", asked)
    by_api(stack, "api", None)
    by_api(stack, "api-conf", None, day=str(ASKED), events=100, seed=2)
    by_api(stack, "api-now", now)
    wanted: dict[str, date] = {
        "command": YESTERDAY,
        "command-c": ASKED,
        "command-l": LOGICAL,
        "command-l-c": ASKED,
        "api": YESTERDAY,
        "api-conf": ASKED,
        "api-now": YESTERDAY,
    }

    def runs() -> dict[str, dict[str, Any]]:
        return {run_id: stack.api().call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}") for run_id in wanted}

    until(lambda: {run["state"] for run in runs().values()} <= {"success", "failed"}, "all have ended", 550, 2)
    ended = runs()
    assert {run_id: run["note"] for run_id, run in ended.items()} == {
        name: f"day {day}" for name, day in wanted.items()
    }
    assert {run["state"] for run in ended.values()} == {"success"}
    assert stack.ledger_row(ASKED)["events"] == 100
