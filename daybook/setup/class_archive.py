"""Makes the archive of classes that :mod:`daybook.jobs.class_archive` describes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from daybook.jobs.class_archive import NAME, TAKEN_BY, archive_file
from daybook.jobs.java import java, version
from daybook.settings import settings


def install() -> None:
    """Make the archive if it is not there, and remove former ones. If none can be made, a line says so."""
    file = archive_file()
    if file.exists() or version(java()) not in TAKEN_BY:
        return
    started = time.monotonic()
    for former in file.parent.glob(NAME.format("*")):
        former.unlink()
    # of Java's own classes; most Javas bring it, some do not; an archive of more classes stands on it
    base = file.with_suffix(".base.jsa")
    _, said = _run([str(java()), "-Xshare:dump", f"-XX:SharedArchiveFile={base}"])
    if base.exists():
        said = _rehearse(file, base)
    outcome = "" if file.exists() else f"  none made, drivers start slower: {said}"
    sys.stdout.write(f"{'classes':<9}{time.monotonic() - started:4.0f} s{outcome}\n")


def _rehearse(file: Path, base: Path) -> str:
    """Let a driver rehearse a day, in a state folder that is thrown away; the last line that it said."""
    from daybook.jobs.environment import job_environment
    from daybook.jobs.submit import submit_command

    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=file.parent) as folder:
        home, half = Path(folder), Path(folder) / file.name
        # whatever the shell's settings name: a rehearsal touches no lake and no broker of anybody
        chosen = settings().model_copy(
            update={
                "home": home,
                "lake_catalog_uri": f"jdbc:sqlite:{home / 'catalog.db'}",
                "lake_warehouse": f"file://{home / 'warehouse'}",
                "spark_master": "local[2]",
                # a rehearsal is short: without the second compiler it takes half the time
                "spark_driver_java_options": "-XX:TieredStopAtLevel=1 "
                f'"-XX:SharedArchiveFile={base}" "-XX:ArchiveClassesAtExit={half}"',
            }
        )
        arguments = ["--day", "2019-11-01", "--run-id", "rehearsal", "--summary", str(home / "summary.json")]
        status, said = _run(submit_command(chosen, "rehearse_day", arguments), env=job_environment(chosen), cwd=home)
        if status == 0 and half.exists():
            half.replace(file)
    return said


def _run(command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> tuple[int, str]:
    """Run a command; its exit status and the last line that it said."""
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
    # of each class that it leaves out Java says so at its end; why a driver died stands before
    said = [line for line in done.stdout.strip().splitlines() if "][cds" not in line]
    return done.returncode, (said or ["no output"])[-1]
