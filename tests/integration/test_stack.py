"""The embedded stack: it starts once, heals, refuses taken ports, protects its secrets and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from daybook.settings import Settings
from daybook.stack import airflow, lifecycle, parts, postgres, scheduler, status, supervisor
from daybook.stack.environment import MARKER, process_environment
from daybook.stack.folders import short_dir
from tests.integration.own_broker import free_ports
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [pytest.mark.integration, pytest.mark.long]

BIN = Path(sys.executable).parent


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for a condition; fail the test if it does not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s"
        time.sleep(0.2)  # between two checks


def pids(settings: Settings) -> dict[str, int]:
    return {name: state.pid for name, state in (supervisor.states(settings) or {}).items()}


def plain_environment(user_home: Path, **settings: object) -> dict[str, str]:
    """The environment of a user's shell without Daybook, plus the given settings."""
    return {
        "PATH": os.defpath,
        "HOME": str(user_home),
        **{f"DAYBOOK_{name.upper()}": str(v) for name, v in settings.items()},
    }


def test_every_part_is_healthy(stack: Stack) -> None:
    states = {name: state for name, state, _detail in status.stack_lines(stack.settings)}
    assert states == dict.fromkeys(
        (
            "kafka",
            "postgres",
            "api",
            "airflow-api-server",
            "airflow-scheduler",
            "airflow-dag-processor",
            "airflow-triggerer",
            "spark-connect",
        ),
        "healthy",
    )


def test_the_spark_server_starts_before_the_parts_that_wait_for_airflows_database(stack: Stack) -> None:
    """It takes as long as the migration of that database, which runs at the same time."""
    # only the first start of each counts: earlier tests kill parts, which start again
    log = (stack.settings.logs_dir / "supervisord.log").read_text(encoding="utf-8")
    order = re.findall(r"spawned: '([^']+)'", log)
    assert order.index("spark-connect") < order.index("airflow-scheduler")


def test_up_twice_changes_nothing(stack: Stack) -> None:
    before = pids(stack.settings)
    assert "already up" in stack.daybook("up").stdout
    assert pids(stack.settings) == before


def test_up_with_other_settings_asks_for_down_first(stack: Stack) -> None:
    other = Stack(stack.settings, {**stack.env, "DAYBOOK_SPARK_MASTER": "local[1]"}, stack.webhook)
    done = other.daybook("up", check=False)
    assert done.returncode == 2
    assert "daybook down" in done.stderr


def test_a_killed_part_comes_back(stack: Stack) -> None:
    before = pids(stack.settings)["api"]
    for process in [psutil.Process(before), *psutil.Process(before).children()]:
        process.kill()
    until(lambda: {name: state for name, state, _ in status.stack_lines(stack.settings)}["api"] == "healthy")
    assert pids(stack.settings)["api"] != before


def test_a_killed_scheduler_leaves_no_workers_with_its_connections(stack: Stack) -> None:
    """Such a worker's open transaction can hold the lock that every task start needs."""
    until(lambda: bool(scheduler.workers(stack.settings)))
    left = scheduler.workers(stack.settings)
    psutil.Process(pids(stack.settings)["airflow-scheduler"]).kill()
    until(lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in left))
    until(
        lambda: {name: state for name, state, _ in status.stack_lines(stack.settings)}["airflow-scheduler"] == "healthy"
    )
    until(lambda: bool(scheduler.workers(stack.settings)))


def test_only_this_machine_is_listened_to(stack: Stack) -> None:
    addresses = {
        connection.laddr.ip
        for process in supervisor.processes(stack.settings)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert addresses


def test_a_shell_with_env_runs_airflow_from_any_folder(stack: Stack, tmp_path: Path) -> None:
    script = f'eval "$({BIN}/daybook env)" && cd / && airflow dags list -o plain && env'
    ports = {name: getattr(stack.settings, name) for name in ("home", "api_port", "airflow_port", "kafka_port")}
    ports |= {name: getattr(stack.settings, name) for name in ("kafka_controller_port", "spark_connect_port")}
    done = subprocess.run(
        ["bash", "-c", script], env=plain_environment(tmp_path, **ports), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert DAG_ID in done.stdout
    assert f"PYICEBERG_CATALOG__LAKE__URI=sqlite:///{stack.settings.home}/lake/catalog.db" in done.stdout
    # `down` ends the processes with the marker: a user's shell must not have it
    assert MARKER not in done.stdout


def test_secrets_are_for_the_user_alone(stack: Stack) -> None:
    for file in airflow.secret_files(stack.settings):
        assert f"{file.stat().st_mode & 0o777:o}" == "600", file
    # with access to the database's socket one can read and write all of it
    assert f"{postgres.socket_dir(stack.settings).stat().st_mode & 0o777:o}" == "700"


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    api_port, airflow_port, kafka_port = free_ports(3)
    environment = plain_environment(
        tmp_path,
        home=tmp_path / "home",
        api_port=api_port,
        airflow_port=airflow_port,
        kafka_port=kafka_port,
        spark_connect_port=0,
    )
    with socket.create_server(("127.0.0.1", airflow_port)):
        done = subprocess.run([BIN / "daybook", "up"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"port {airflow_port} (airflow-api-server) is in use; set DAYBOOK_AIRFLOW_PORT to another one" in done.stderr
    assert done.stderr.count("\n") == 1
    assert supervisor.processes(Settings(home=tmp_path / "home")) == []


def test_one_port_for_two_parts_is_refused(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = plain_environment(tmp_path, home=tmp_path / "home", api_port=port, kafka_port=port)
    done = subprocess.run([BIN / "daybook", "up"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"DAYBOOK_KAFKA_PORT and DAYBOOK_API_PORT are both {port}" in done.stderr


def test_a_part_that_is_late_is_named_with_its_log(tmp_path: Path) -> None:
    api_port, airflow_port, kafka_port = free_ports(3)
    home = tmp_path / "home"
    environment = plain_environment(
        tmp_path,
        home=home,
        api_port=api_port,
        airflow_port=airflow_port,
        kafka_port=kafka_port,
        spark_connect_port=0,
        up_timeout_seconds=1,
    )
    try:
        done = subprocess.run([BIN / "daybook", "up"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert " in time" in done.stderr
        assert f"its log: {home}/logs/" in done.stderr
    finally:
        down = subprocess.run([BIN / "daybook", "down"], env=environment, capture_output=True, text=True, check=True)
    assert down.stdout.startswith("stopped ")
    again = subprocess.run([BIN / "daybook", "down"], env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == "nothing was up\n"


@pytest.fixture
def far_away(tmp_path: Path) -> Iterator[Settings]:
    """A state folder whose path is too long for a socket, in a folder that only its user can enter."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    settings = Settings(home=closed / ("a folder of 100% " + "x" * 90))
    yield settings
    lifecycle.take_down(settings)


def test_down_ends_what_outlived_the_process_manager(far_away: Settings) -> None:
    (database,) = (part for part in parts.parts(far_away) if part.name == "postgres")
    far_away.logs_dir.mkdir(parents=True)
    postgres.prepare(far_away)
    supervisor.launch(far_away, [database])
    supervisor.start(far_away, database)
    until(lambda: postgres.trouble(far_away) is None)
    # like a Spark driver: started by a task, in its own session, its parent has ended
    task = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", task], env=process_environment(far_away), check=True)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        manager = next(process for process in supervisor.processes(far_away) if "supervisord" in process.cmdline()[1])
        manager.send_signal(signal.SIGKILL)
        until(lambda: not manager.is_running() or manager.status() == psutil.STATUS_ZOMBIE)
        assert supervisor.states(far_away) is None
        assert {process.name() for process in supervisor.processes(far_away)} == {"postgres", "sleep"}

        assert lifecycle.take_down(far_away) == 2

        assert supervisor.processes(far_away) == []
        assert not short_dir(far_away).exists()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
