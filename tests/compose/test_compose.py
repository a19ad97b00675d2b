"""The Compose stack publishes the same days as the embedded stack, even with a killed worker."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from daybook.lake.answers import answer_rows
from daybook.lake.ledger import ledger_rows, read_ledger
from daybook.secret_names import names_a_secret
from daybook.settings import REPOSITORY
from daybook.sql.answers import answers
from tests.compose.compose_stack import ComposeStack, engine
from tests.figures import Figures
from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [
    pytest.mark.skipif(os.environ.get("DAYBOOK_COMPOSE") != "full", reason="`make test-compose`: a quarter of an hour"),
    pytest.mark.timeout(3_600),
]

DAY = date(2026, 3, 2)
BACKFILLED = [DAY + timedelta(days=number) for number in (1, 2, 3)]
CONF: dict[str, Any] = {"events": 2_000, "seed": 7, "duplicates": 0.05, "late": 0.05, "invalid": 0.05}
LONG_RUNNING = (
    *("kafka", "postgres", "game_api", "spark-master", "spark-worker"),
    *("airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"),
)


@pytest.fixture(scope="module")
def composed() -> Iterator[ComposeStack]:
    """Run the Compose stack with an empty lake; remove its volumes afterwards."""
    one = ComposeStack(engine(), f"daybook-test-{os.getpid()}")
    try:
        one.up()
        yield one
    finally:
        one.down()


def test_a_triggered_day_and_a_backfill_with_a_killed_worker_are_those_of_the_embedded_stack(
    composed: ComposeStack, stack: Stack, figures: Figures
) -> None:
    # in sequence on both stacks: late events restate earlier days, and the receipt depends on what has landed by then
    run = {"dag_run_id": "one-day", "logical_date": None, "conf": {"day": str(DAY), **CONF}}
    composed.airflow("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
    composed.airflow("POST", f"/dags/{DAG_ID}/dagRuns", run)
    assert set(composed.wait_for("one-day").values()) == {"success"}

    dates = ["--from-date", str(BACKFILLED[0]), "--to-date", str(BACKFILLED[-1])]
    backfill = ["backfill", "create", "--dag-id", DAG_ID, *dates, "--max-active-runs", "1"]
    composed.with_lake("airflow", *backfill, "--dag-run-conf", json.dumps(CONF))
    until(lambda: len(composed.runs("backfill")) == len(BACKFILLED), "the backfill's runs", 120, 3)
    runs = sorted(run["dag_run_id"] for run in composed.runs("backfill"))
    # the second of the three days: an executor runs its landing when the worker dies
    until(lambda: composed.states(runs[1])[1].get("land_events") == "running", "the second landing", 1_200, 1)
    until(lambda: executors(composed) == 1, "the landing's executor", 120, 0.5)
    drivers = listening(composed, "airflow-scheduler")
    assert drivers, "no Spark driver listens, so that nothing is shown"
    assert reached_by_the_intake(composed, "airflow-scheduler", drivers) == []
    composed.kill_executor_and_worker()
    until(lambda: executors(composed) == 0, "the end of the executor", 60, 0.5)
    for one in runs:
        assert set(composed.wait_for(one).values()) == {"success"}, one

    stack.trigger("compose-one-day", day=str(DAY), **CONF)
    for day in BACKFILLED:
        stack.trigger(f"compose-{day}", day=str(day), **CONF)
    days = [DAY, *BACKFILLED]
    shown = composed.lake(days)
    ledger = read_ledger(stack.settings)
    embedded = {str(day): {name: answer_rows(ledger, name, str(day)) for name in answers()} for day in days}
    assert shown["answers"] == embedded
    assert all(any(rows for rows in of_day.values()) for of_day in embedded.values())
    counts = ("landed", "events", "duplicates", "rejected", "late", "accepted", "sent", "balanced")
    published = [row for row in ledger_rows(ledger) if row["day"] in map(str, days)]
    assert compared(shown["ledger"], counts) == compared(published, counts)
    assert all(row["balanced"] for row in shown["ledger"])
    figures(
        {
            "days": len(days),
            "events": sum(row["events"] for row in shown["ledger"]),
            "answers of a day": len(answers()),
            "rows compared, all equal": sum(len(rows) for of_day in embedded.values() for rows in of_day.values()),
        }
    )


def test_only_loopback_is_reached_from_outside_and_the_intake_asks_for_a_key(composed: ComposeStack) -> None:
    url = f"http://127.0.0.1:{composed.api_port}"
    with urllib.request.urlopen(f"{url}/health/ready", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/events", data=b"{}", timeout=10)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{composed.airflow_port}/api/v2/dags", timeout=10)


def test_the_intake_reaches_kafkas_broker_and_neither_its_controller_nor_another_part(composed: ComposeStack) -> None:
    assert reached_by_the_intake(composed, "kafka", [9092, 9093]) == [9092]
    for service, port in (("postgres", 5432), ("spark-master", 7077), ("airflow-apiserver", 8080)):
        assert reached_by_the_intake(composed, service, [port]) == []
        assert port in listening(composed, service)


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_a_part_runs_unprivileged_and_writes_only_where_it_has_to(composed: ComposeStack, service: str) -> None:
    assert composed.inside(service, "id", "-u").stdout.strip() != "0"
    if service != "kafka":  # the image writes its configuration below /opt at each start
        assert composed.inside(service, "touch", "/opt/x", "/usr/x", check=False).returncode != 0


def test_no_part_knows_more_secrets_than_it_needs(composed: ComposeStack) -> None:
    assert composed.inside("game_api", "ls", "/run/intake").stdout.split() == ["api_keys"]
    assert composed.inside("game_api", "ls", "/run/secrets", check=False).stdout.split() == []
    assert composed.inside("spark-worker", "ls", "/run/secrets", check=False).stdout.split() == []
    for secret in ("pgpass", "generator_key"):
        text = composed.inside("airflow-scheduler", "cat", f"/run/secrets/{secret}").stdout.split()[0].split(":")[-1]
        seen = composed.inside("airflow-scheduler", "sh", "-c", "cat /proc/[0-9]*/cmdline 2> /dev/null").stdout
        assert text not in seen.replace("\0", " ")


def test_the_intake_knows_no_secret_of_another_part(composed: ComposeStack) -> None:
    output = composed.inside("game_api", "env").stdout
    names = {line.partition("=")[0] for line in output.splitlines()}
    assert "DAYBOOK_KAFKA_BOOTSTRAP_SERVERS" in names
    assert {name for name in names if name.startswith("AWS_") or names_a_secret(name)} == set()
    assert names.isdisjoint({"DAYBOOK_NOTIFY_URLS", "DAYBOOK_LAKE_CATALOG_URI", "DAYBOOK_KAFKA_SASL_USERNAME"})


def test_a_key_is_taken_and_revoked_by_an_editor_that_replaces_the_file(composed: ComposeStack) -> None:
    file = REPOSITORY / "docker" / "secrets" / "intake" / "api_keys"
    before = file.read_text(encoding="utf-8")

    def replace(text: str) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(file)

    def status() -> int:
        url = f"http://127.0.0.1:{composed.api_port}/metrics"
        request = urllib.request.Request(url, headers={"Authorization": "Bearer leaked"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    try:
        replace(f"{before}chess {hashlib.sha256(b'leaked').hexdigest()}\n")
        until(lambda: status() == 200, "the new key is taken", 20, 0.5)
    finally:
        replace(before)
    until(lambda: status() == 401, "the key is revoked", 20, 0.5)


def test_the_images_hold_what_their_role_needs(composed: ComposeStack) -> None:
    def importable(service: str, name: str) -> bool:
        return composed.inside(service, "python", "-c", f"import {name}", check=False).returncode == 0

    assert [importable("game_api", name) for name in ("flask", "pyspark", "airflow", "duckdb")] == [True] + [False] * 3
    assert [importable("spark-worker", name) for name in ("pyspark", "airflow", "flask")] == [True, False, False]
    assert not importable("airflow-scheduler", "pytest")


def executors(composed: ComposeStack) -> int:
    """Return how many executors run on Spark's master; 0 also while its worker is unavailable."""
    code = "import urllib.request as u; print(u.urlopen('http://spark-master:8081/json/', timeout=5).read().decode())"
    master: dict[str, Any] = json.loads(composed.inside("spark-master", "python", "-c", code).stdout)
    return sum(worker["coresused"] > 0 for worker in master["workers"] if worker["state"] == "ALIVE")


def listening(composed: ComposeStack, service: str) -> list[int]:
    """Return the TCP ports on which a container listens, loopback excluded."""
    ports = set()
    for line in composed.inside(service, "sh", "-c", "cat /proc/net/tcp /proc/net/tcp6").stdout.splitlines():
        address, port = line.split()[1].rsplit(":", 1) if " 0A " in line else ("", "")
        if port and not address.endswith("0100007F"):
            ports.add(int(port, 16))
    return sorted(ports)


def reached_by_the_intake(composed: ComposeStack, service: str, ports: list[int]) -> list[int]:
    """Return the TCP ports of a service that the intake's container can connect to, by service name."""
    code = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 3).close()
    except OSError:
        continue
    print(port)
"""
    output = composed.inside("game_api", "python", "-c", code, service, *map(str, ports)).stdout
    return [int(port) for port in output.split()]


def compared(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The part of the two ledgers that must be equal: without times and offsets."""
    return [{"day": row["day"], **{column: row[column] for column in columns}} for row in rows]
