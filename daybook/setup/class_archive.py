"""Creates the class archive that :mod:`daybook.jobs.class_archive` describes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from daybook.jobs.class_archive import NAME, TAKEN_BY, archive_file
from daybook.jobs.java import java, version
from daybook.settings import load_settings, sqlite_uri


def install() -> None:
    """Create the archive if it is missing, and remove previous ones; print a line if it cannot be created."""
    file = archive_file()
    if file.exists() or version(java()) not in TAKEN_BY:
        return
    started = time.monotonic()
    for previous in file.parent.glob(NAME.format("*")):
        previous.unlink()
    # the base archive of Java's own classes, which some Javas lack; the archive of more classes builds on it
    base = file.with_suffix(".base.jsa")
    _, message = _run([str(java()), "-Xshare:dump", f"-XX:SharedArchiveFile={base}"])
    if base.exists():
        message = _rehearse(file, base)
    outcome = "" if file.exists() else f"  no archive, drivers start slower: {message}"
    sys.stdout.write(f"{'classes':<9}{time.monotonic() - started:4.0f} s{outcome}\n")


def _rehearse(file: Path, base: Path) -> str:
    """Run a one-event day in a temporary state folder; return the driver's last line of output."""
    from daybook.jobs.environment import job_environment
    from daybook.jobs.submit import submit_command

    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=file.parent) as folder:
        home, half = Path(folder), Path(folder) / file.name
        # override the shell's settings: a rehearsal must not touch a real lake or broker
        chosen = load_settings().model_copy(
            update={
                "home": home,
                "lake_catalog_uri": sqlite_uri(home / "catalog.db"),
                "lake_warehouse": f"file://{home / 'warehouse'}",
                "spark_master": "local[2]",
                # a rehearsal is short: it takes half the time without the second compiler
                "spark_driver_java_options": "-XX:TieredStopAtLevel=1 "
                f'"-XX:SharedArchiveFile={base}" "-XX:ArchiveClassesAtExit={half}"',
            }
        )
        arguments = ["--day", "2019-11-01", "--run-id", "rehearsal", "--summary", str(home / "summary.json")]
        status, message = _run(submit_command(chosen, "rehearse_day", arguments), env=job_environment(chosen), cwd=home)
        if status == 0 and half.exists():
            half.replace(file)
    return message


def _run(command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> tuple[int, str]:
    """Run a command; return its exit status and its last line of output."""
    done = subprocess.run(
        command,
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    # Java ends its output with a line for each skipped class; the cause of a failed driver is before those lines
    lines = [line for line in done.stdout.strip().splitlines() if "][cds" not in line]
    return done.returncode, (lines or ["no output"])[-1]
