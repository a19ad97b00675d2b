"""How a job becomes a client of the Spark Connect server, which :mod:`daybook.stack.spark_connect` runs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from daybook.files import run_dir
from daybook.jobs.config import JOBS_DIR
from daybook.jobs.environment import venv_bin
from daybook.settings import Settings

POOL, POOL_SLOTS = "spark_server", 2
"""Airflow's pool of the answers, beside the one of all other steps: a day is answered while the next one is landed."""


def token_file(settings: Settings) -> Path:
    """The file of the token that the server asks its clients for; only the user may read it."""
    return run_dir(settings) / "spark-connect.token"


def client_command(job: str, arguments: Sequence[str]) -> list[str]:
    """The command line of one of ``spark/jobs`` as a client of the server: no JVM of its own."""
    return [str(venv_bin() / "python"), str(JOBS_DIR / f"{job}.py"), *arguments]


def trouble(settings: Settings) -> str | None:
    """Why the server cannot be used, or none if it listens: it does once its Spark is up."""
    try:
        socket.create_connection(("127.0.0.1", settings.spark_connect_port), timeout=2).close()
    except OSError as error:
        return f"nothing answers on port {settings.spark_connect_port} ({error.strerror or error})"
    return None


def client_environment(settings: Settings) -> dict[str, str]:
    """What makes a job's session one of the server's; holds the token."""
    # by this name: Spark's client takes a token over loopback alone, and asks for TLS at any other
    return {
        "SPARK_REMOTE": f"sc://localhost:{settings.spark_connect_port}",
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token_file(settings).read_text(encoding="utf-8"),
    }
