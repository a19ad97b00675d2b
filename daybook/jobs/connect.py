"""Runs a job as a client of the Spark Connect server, which :mod:`daybook.stack.spark_connect` runs."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from daybook.files import run_dir
from daybook.jobs.config import JOBS_DIR
from daybook.jobs.environment import venv_bin
from daybook.settings import Settings

DRIVER_POOL, DRIVER_POOL_SLOTS = "spark", 1
"""Airflow's pool for steps with a Spark driver of their own: one slot on a laptop, more where a cluster has room."""
SERVER_POOL, SERVER_POOL_SLOTS = "spark_server", 2
"""Airflow's pool for the answers on the server: a day is answered while the next one lands."""

RESTARTED_WITHIN_SECONDS = 120
"""How long a step waits for the server. Supervisor restarts a server that has ended, which takes ten seconds, or half
a minute on a busy machine."""


def token_file(settings: Settings) -> Path:
    """Return the path of the clients' authentication token; only the user may read the file."""
    return run_dir(settings) / "spark-connect.token"


def client_command(job: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of one of ``spark/jobs`` as a client of the server, without its own JVM."""
    return [str(venv_bin() / "python"), str(JOBS_DIR / f"{job}.py"), *arguments]


def trouble(settings: Settings) -> str | None:
    """Explain why the server cannot be used; None if it listens, which it does once its Spark is up."""
    try:
        socket.create_connection(("127.0.0.1", settings.spark_connect_port), timeout=2).close()
    except OSError as error:
        return f"nothing answers on port {settings.spark_connect_port} ({error.strerror or error})"
    return None


def wait_for_server(settings: Settings, seconds: float = RESTARTED_WITHIN_SECONDS) -> str | None:
    """Wait until the server listens; return None, or why it still cannot be used after this time."""
    deadline = time.monotonic() + seconds
    while (reason := trouble(settings)) and time.monotonic() < deadline:
        time.sleep(0.5)  # between two checks of the condition above: a server that is up is known by its port alone
    return reason


def client_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that connects a job's session to the server; it holds the token."""
    # exactly the name localhost: for any other, Spark's client requires TLS to send a token
    return {
        "SPARK_REMOTE": f"sc://localhost:{settings.spark_connect_port}",
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token_file(settings).read_text(encoding="utf-8"),
    }
