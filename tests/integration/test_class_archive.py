"""Spark's Java accepts the class archive that set-up created."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daybook.jobs import class_archive
from daybook.jobs.config import FEW, MANY
from daybook.jobs.environment import job_environment, venv_bin
from daybook.jobs.java import java, version
from daybook.jobs.submit import submit_command
from daybook.settings import Settings

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("options", ["-XX:+UseG1GC", FEW, MANY])
def test_a_driver_reads_its_classes_from_the_archive(tmp_path: Path, options: str) -> None:
    if version(java()) not in class_archive.TAKEN_BY:
        pytest.skip("set-up makes no archive for a Java that refuses it; the reason stands beside TAKEN_BY")
    log = tmp_path / "classes.log"
    settings = Settings(home=tmp_path, spark_driver_java_options=f"{options} -Xlog:class+load:file={log}")
    command = submit_command(settings, "land_events", [])
    conf = command[: command.index("--jars")] + [part for part in command if part.startswith("spark.driver.extraJava")]
    assert conf[0] == str(venv_bin() / "spark-submit")
    subprocess.run(
        [conf[0], "--conf", conf[-1], "--version"],
        env={**os.environ, **job_environment(settings)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    loaded = log.read_text(encoding="utf-8").splitlines()
    shared = [line for line in loaded if "shared objects file (top)" in line]
    assert sum("org.apache.spark." in line for line in shared) > 50, loaded[-1]
