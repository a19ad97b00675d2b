"""Backfills on a running stack: create them with Airflow's own command, watch them to their end, analyse them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import click
import pytest

from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, Stack

TIMEOUT_SECONDS = 30 * 60


@dataclass
class Backfills:
    """The backfills of a stack, and their operator's commands."""

    stack: Stack

    def create(
        self,
        first: date,
        last: date,
        *,
        max_active_runs: int = 3,
        reprocess: str = "none",
        backwards: bool = False,
        **conf: Any,
    ) -> int:
        """Create a backfill with ``airflow backfill create``; return its id."""
        options = ["--run-backwards"] if backwards else []
        self.stack.airflow(
            *("backfill", "create", "--dag-id", DAG_ID, "--from-date", str(first), "--to-date", str(last)),
            *("--max-active-runs", str(max_active_runs), "--reprocess-behavior", reprocess),
            *("--dag-run-conf", json.dumps(conf), *options),
        )
        return self.newest()

    def newest(self) -> int:
        """Return the id of the newest backfill."""
        return max(int(one["id"]) for one in self._all())

    def _all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stack.api().call("GET", f"/backfills?dag_id={DAG_ID}&limit=100")["backfills"]
        return found

    def runs(self, first: date, last: date) -> dict[date, dict[str, Any]]:
        """Return day -> the run of its logical date, from Airflow's API."""
        query = f"run_type=backfill&logical_date_gte={first}T00:00:00Z&logical_date_lte={last}T00:00:00Z&limit=100"
        found = self.stack.api().call("GET", f"/dags/{DAG_ID}/dagRuns?{query}")["dag_runs"]
        return {datetime.fromisoformat(run["logical_date"]).date(): run for run in found}

    def wait(self, backfill_id: int) -> float:
        """Wait until it has ended; return its seconds, by Airflow's own clock."""
        until(lambda: bool(self._backfill(backfill_id)["completed_at"]), f"backfill {backfill_id}", TIMEOUT_SECONDS, 1)
        backfill = self._backfill(backfill_id)
        began, ended = (datetime.fromisoformat(backfill[name]) for name in ("created_at", "completed_at"))
        return (ended - began).total_seconds()

    def _backfill(self, backfill_id: int) -> dict[str, Any]:
        return next(one for one in self._all() if one["id"] == backfill_id)

    def cancel(self, backfill_id: int) -> None:
        """Cancel it: running runs continue, queued ones do not start."""
        self.stack.api().call("PUT", f"/backfills/{backfill_id}/cancel")

    def spark_start_seconds(self, runs: dict[date, dict[str, Any]]) -> list[float]:
        """Return the start-up time of each Spark step of the runs, from their logs."""
        seconds = []
        for run in runs.values():
            for task_id in ("land_events", "user_behaviour", "host_providers", "publish_day"):
                found = re.search(r"Spark was up ([\d.]+) s after", self.stack.task_log(run["dag_run_id"], task_id))
                seconds += [float(found[1])] if found else []
        return seconds


def days(first: date, count: int) -> list[date]:
    """Return this many consecutive days."""
    return [first + timedelta(days=at) for at in range(count)]


def print_figure(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Print a figure during the test run."""
    with capsys.disabled():
        click.echo(f"\n{line}")
