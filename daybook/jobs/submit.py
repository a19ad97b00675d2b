"""Runs one of ``spark/jobs`` from the command line, as Airflow's operator does from a task."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daybook.errors import DaybookError
from daybook.jobs.config import JOBS_DIR, jars, submit_conf
from daybook.lake.opening import open_state
from daybook.settings import Settings


def run_job(
    settings: Settings, job: str, arguments: list[str], files: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Any]:
    """Submit a job, copy its log to standard error, and return the summary that it writes.

    Args:
        settings: where master, lake and brokers are.
        job: file name in ``spark/jobs``, without ``.py``.
        arguments: the job's arguments without ``--summary``.
        files: further arguments, by name, whose values must not appear on a command line, such as a player's name. Each
            is passed as a private JSON file, which is removed when the job has ended.

    Raises:
        DaybookError: the job failed (with the job's own message, if it left one), or :func:`open_state` raised it.
    """
    from daybook.jobs.environment import job_environment

    for line in open_state(settings):  # also here, to fail before Spark starts
        sys.stderr.write(f"{line}\n")
    with tempfile.TemporaryDirectory(prefix="daybook-") as folder:
        summary_file = Path(folder) / "summary.json"
        given = [*arguments, "--summary", str(summary_file)]
        for name, content in (files or {}).items():
            file = Path(folder) / f"{name.removeprefix('--')}.json"  # only its owner can enter the folder
            file.write_text(json.dumps(content), encoding="utf-8")
            given += [name, str(file)]
        command = submit_command(settings, job, given)
        with subprocess.Popen(
            command,
            env=job_environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None  # it is a pipe
            for line in process.stdout:
                sys.stderr.write(f"{line.rstrip()}\n")
        summary: dict[str, Any] = json.loads(summary_file.read_text("utf-8")) if summary_file.exists() else {}
    if process.returncode != 0 or not summary:
        raise DaybookError(summary.get("error") or f"{job} ended with status {process.returncode}; its log is above")
    return summary


def submit_command(settings: Settings, job: str, arguments: list[str]) -> list[str]:
    """Return the command line that submits one of ``spark/jobs``."""
    from daybook.jobs.environment import venv_bin

    conf = [part for key, value in submit_conf(settings).items() for part in ("--conf", f"{key}={value}")]
    return [
        *(str(venv_bin() / "spark-submit"), "--master", settings.spark_master, "--name", job),
        *("--jars", jars(settings), *conf),
        *(str(JOBS_DIR / f"{job}.py"), *arguments),
    ]
