"""``python -m benchmarks.cold_setup``: from an empty folder to a healthy stack, compared with ``airflow standalone``.

Daybook's part is ``daybook up``: Kafka with its topic, PostgreSQL, the intake and Airflow's four components are
healthy, and the DAGs are parsed. The other part is Airflow alone on SQLite, started as in its documentation for
laptops, without its examples, until its health page is green for all four components. Both have the code and the
virtual environment of this checkout, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import ROUNDS, Contestant, at_most, conclude, cost_of, parser, take_turns
from daybook.airflow_client import AirflowApi
from daybook.errors import DaybookError
from daybook.jobs.environment import job_environment, venv_bin
from daybook.settings import Settings
from daybook.stack import supervisor
from daybook.stack.environment import MARKER
from daybook.stack.lifecycle import take_down
from tests.integration.own_broker import free_ports, own_settings, until

TIMES_STANDALONE = 1.5
COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
TIMEOUT_SECONDS = 300


def cpu_seconds_of_stack(settings: Settings) -> float:
    """Return the processor time of the processes with a state folder's marker, and of their ended children."""
    return float(sum(sum(process.cpu_times()[:4]) for process in supervisor.processes(settings)))


def trouble(settings: Settings) -> str:
    """Return why Airflow's health page is not green for all components, or an empty text."""
    try:
        states = AirflowApi(settings, password="", timeout_seconds=5).health()
    except DaybookError as error:
        return str(error)
    return ", ".join(f"{name} {states[name]['status']}" for name in COMPONENTS if states[name]["status"] != "healthy")


def daybook_up(folder: Path) -> tuple[dict[str, float], str]:
    """Run ``daybook up`` in an empty state folder, then ``daybook down``.

    Returns:
        ``seconds`` and ``cpu_seconds`` until it is healthy, and the problems on Airflow's health page.
    """
    settings = own_settings(folder)
    try:
        cost = cost_of([str(venv_bin() / "daybook"), "up"], job_environment(settings), folder.with_suffix(".log"))
        cpu_seconds = cost.cpu_seconds + cpu_seconds_of_stack(settings)
        return {"seconds": cost.seconds, "cpu_seconds": cpu_seconds}, trouble(settings)
    finally:
        take_down(settings)


def standalone(folder: Path) -> tuple[dict[str, float], str]:
    """Run ``airflow standalone`` in an empty ``AIRFLOW_HOME``, then stop it; returns what :func:`daybook_up` does."""
    port, worker_log_port, trigger_log_port = free_ports(3)
    settings = Settings(home=folder, airflow_port=port)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DAYBOOK_", "PYTHON"))
    }
    environment = {
        **inherited,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # as in the embedded stack: a name server that does not know this machine takes seconds to answer
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        # another Airflow may use the default ports
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log_port),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log_port),
        # it finds its components in the PATH
        "PATH": os.pathsep.join([str(venv_bin()), os.environ.get("PATH", os.defpath)]),
        # finds the processes that it leaves behind; a process title written over the environment would hide it
        MARKER: str(folder),
        "SPT_NOENV": "1",
    }
    began = time.monotonic()
    with folder.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(
            [venv_bin() / "airflow", "standalone"],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: not trouble(settings), f"standalone healthy; see {log.name}", TIMEOUT_SECONDS, 0.4)
        seconds = time.monotonic() - began
        return {"seconds": seconds, "cpu_seconds": cpu_seconds_of_stack(settings)}, trouble(settings)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        supervisor.end_processes(settings)
        process.wait(30)


def contestant(name: str, start: Callable[[Path], tuple[dict[str, float], str]], folder: Path) -> Contestant:
    """One way to start, in a new folder for each round."""
    found: list[str] = []

    def run() -> dict[str, float]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        figures, problem = start(folder)
        found.append(problem)
        left = supervisor.processes(Settings(home=folder))
        assert not left, f"{name} left processes behind: {left}"
        return figures

    return Contestant(name, run, lambda: found[-1])


def measure(rounds: int, *, quick: bool) -> None:
    """Start both in turns, and store the measured times."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        ours = contestant("daybook up", daybook_up, Path(folder) / "daybook")
        theirs = contestant("airflow standalone, SQLite", standalone, Path(folder) / "standalone")
        take_turns([ours, theirs], rounds)
    times = ours.middle("seconds") / theirs.middle("seconds")
    text = "time to a healthy stack, times that of airflow standalone"
    goals = [at_most(text, times, TIMES_STANDALONE, ours, theirs)]
    conclude("cold_setup", "From an empty folder to healthy", [ours, theirs], goals, quick=quick)


def main() -> None:
    """Run the stage from the command line."""
    line = parser(__doc__, "one round, 2 minutes")
    line.add_argument("--rounds", type=int, default=ROUNDS)
    args = line.parse_args()
    measure(1 if args.quick else args.rounds, quick=args.quick)


if __name__ == "__main__":
    main()
