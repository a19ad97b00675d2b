"""The schedule on a separate stack: days are generated without a user, and problems are reported."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from daybook import airflow_client
from daybook.airflow_client import USER
from daybook.settings import DAILY_EVENTS
from daybook.stack import supervisor
from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, RUN_TIMEOUT_SECONDS, Stack

pytestmark = pytest.mark.integration

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
FIRST, LAST = YESTERDAY - timedelta(days=151), YESTERDAY - timedelta(days=150)
"""Days for this module alone, far from those of other modules."""


def runs_of(stack: Stack, kind: str) -> list[dict[str, Any]]:
    """Return the runs of a kind, from Airflow's API."""
    found: list[dict[str, Any]] = stack.api().call("GET", f"/dags/{DAG_ID}/dagRuns?run_type={kind}&limit=100")[
        "dag_runs"
    ]
    return found


def tab(stack: Stack, run_id: str) -> str:
    """Return the text of a run's tab."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    login = json.dumps({"username": USER, "password": airflow_client.password(stack.settings)}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack.settings.airflow_url}/auth/token", data=login, headers=headers)
    token = json.load(opener.open(request, timeout=30))["access_token"]
    address = f"{stack.settings.airflow_url}/daybook/run?{urlencode({'dag_id': DAG_ID, 'run_id': run_id})}"
    asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    try:
        answer = opener.open(asked, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return html.unescape(answer.read().decode())


def test_unpausing_builds_yesterday_of_generated_events(stack: Stack) -> None:
    stack.airflow("dags", "unpause", DAG_ID, "-y")

    def ended() -> bool:
        return [run["state"] for run in runs_of(stack, "scheduled")] in (["success"], ["failed"])

    until(ended, "the scheduled run", RUN_TIMEOUT_SECONDS, 1)
    row = stack.ledger_row(YESTERDAY)
    assert (row["sent"], row["events"], row["balanced"]) == (DAILY_EVENTS, DAILY_EVENTS, True)
    assert stack.answers(YESTERDAY) == stack.manifest(YESTERDAY)["expected"]


def test_a_backfill_that_is_asked_for_nothing_builds_its_days(stack: Stack) -> None:
    """One of the days was generated before, with other numbers: they still apply."""
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    stack.daybook("generate", "--day", str(LAST), "--events", "300", "--seed", "9")
    plan = stack.json("plan", "--from", str(FIRST), "--to", str(LAST))
    assert [row["does"].partition(",")[0] for row in plan["days"]] == [
        f"generates {DAILY_EVENTS} events of the day and publishes it",
        "publishes its first revision",
    ]

    printed = stack.airflow(
        *("backfill", "create", "--dag-id", DAG_ID, "--from-date", str(FIRST), "--to-date", str(LAST))
    )

    assert "[info" not in printed.stdout

    def ended() -> bool:
        states = [
            run["state"] for run in runs_of(stack, "backfill") if run["logical_date"][:10] in (str(FIRST), str(LAST))
        ]
        return len(states) == 2 and set(states) <= {"success", "failed"}

    until(ended, "the backfill", RUN_TIMEOUT_SECONDS, 1)
    assert [stack.ledger_row(day)["events"] for day in (FIRST, LAST)] == [DAILY_EVENTS, 300]
    assert [stack.ledger_row(day)["revision"] for day in (FIRST, LAST)] == [1, 1]
    assert stack.answers(FIRST) == stack.manifest(FIRST)["expected"]
    assert stack.answers(FIRST) != stack.answers(YESTERDAY), "days differ though the seed is the same"


@pytest.mark.long
@pytest.mark.parametrize(
    ("run_id", "conf", "message"),
    [
        ("typo", {"date": "2026-05-03", "events": 300}, "'date' (did you mean 'day'?), which is not a parameter;"),
        ("to-come", {"day": "2999-01-01"}, "2999-01-01 has not begun (UTC)"),
    ],
)
def test_an_impossible_run_fails_at_once_and_its_tab_gives_the_reason(
    stack: Stack, run_id: str, conf: dict[str, Any], message: str
) -> None:
    waiting = stack.json("status")
    states = stack.trigger(run_id, **conf)
    assert (states["generate_events"], states["land_events"]) == ("failed", "upstream_failed")
    assert stack.tries(run_id, "generate_events") == 1
    text = tab(stack, run_id)
    assert message in text
    assert f'href="../dags/{DAG_ID}/runs/{run_id}/tasks/generate_events"' in text
    assert "airflow dags trigger" not in text
    assert stack.json("status") == waiting


@pytest.fixture
def frozen_broker(stack: Stack) -> Iterator[None]:
    """Freeze the broker: it answers no request."""
    pid = (supervisor.states(stack.settings) or {})["kafka"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.long
def test_the_tab_of_a_run_reports_that_kafka_is_unavailable(stack: Stack, frozen_broker: None) -> None:
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    body = {"dag_run_id": "away", "logical_date": None, "conf": {"day": str(FIRST), "events": 0}}
    stack.api().call("POST", f"/dags/{DAG_ID}/dagRuns", body)
    until(lambda: "wait_for_offsets is waiting: Kafka does not answer" in tab(stack, "away"), "the tab", 120, 1)


@pytest.mark.long
def test_a_step_that_was_marked_as_success_is_named_by_the_next_one(stack: Stack) -> None:
    """The run is paused before it starts, as by an operator who wants to skip a step."""
    api, path = stack.api(), f"/dags/{DAG_ID}/dagRuns/marked"
    stack.airflow("dags", "pause", DAG_ID, "-y")
    api.call("POST", f"/dags/{DAG_ID}/dagRuns", {"dag_run_id": "marked", "logical_date": None, "conf": {"events": 0}})
    for task in ("generate_events", "wait_for_offsets", "land_events"):
        api.call("PATCH", f"{path}/taskInstances/{task}?update_mask=new_state", {"new_state": "success"})
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    until(lambda: api.call("GET", path)["state"] == "failed", "the run's end", 180, 1)
    assert stack.tries("marked", "user_behaviour") == 1
    assert "clear land_events" in stack.task_log("marked", "user_behaviour")
    assert "clear land_events" in tab(stack, "marked")


@pytest.mark.long
def test_airflows_command_line_prints_json(stack: Stack) -> None:
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    for command in (("dags", "list"), ("dags", "list-runs", DAG_ID), ("pools", "list"), ("dags", "details", DAG_ID)):
        printed = stack.airflow(*command, "-o", "json").stdout
        assert json.loads(printed), command


@pytest.mark.long
def test_a_waiting_generator_reports_that_it_waits(stack: Stack, frozen_broker: None) -> None:
    """Its output is a pipe here, and nothing is acknowledged."""
    command = [
        str(Path(sys.executable).with_name("daybook")),
        "generate",
        "--day",
        str(LAST - timedelta(days=9)),
        "--events",
        "20",
    ]
    printed = subprocess.Popen(command, env=stack.env, stdout=subprocess.PIPE, text=True)
    try:
        assert printed.stdout is not None
        assert "the intake has not acknowledged yet (status 503)" in printed.stdout.readline()
    finally:
        printed.terminate()
        printed.wait(30)
