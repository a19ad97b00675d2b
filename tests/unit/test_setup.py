"""Set-up: a jar that is not the one in the list is named, and never stays; and no test is left out of a run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bootstrap
from daybook import jars
from daybook.settings import REPOSITORY


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    """Two jars, as a set-up leaves them."""
    for name in ("kafka/broker-1.jar", "spark/lake-2.jar"):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    return tmp_path / "lib"


def test_jars_as_listed_are_right(lib: Path) -> None:
    assert jars.problems(lib, jars.sums_of(lib)) == []


def test_a_changed_jar_is_named(lib: Path) -> None:
    listed = jars.sums_of(lib)
    (lib / "spark/lake-2.jar").write_bytes(b"something else")
    assert jars.problems(lib, listed) == ["spark/lake-2.jar has another SHA-256"]


def test_a_missing_jar_is_named(lib: Path) -> None:
    listed = jars.sums_of(lib)
    (lib / "kafka/broker-1.jar").unlink()
    assert jars.problems(lib, listed) == ["kafka/broker-1.jar is missing"]


def test_an_extra_jar_is_named(lib: Path) -> None:
    listed = jars.sums_of(lib)
    (lib / "kafka/broker-0.jar").write_bytes(b"the last version, left behind")
    assert jars.problems(lib, listed) == ["kafka/broker-0.jar is not in the list"]


def test_all_of_them_are_missing_from_a_fresh_checkout(tmp_path: Path) -> None:
    assert len(jars.problems(tmp_path / "lib", jars.listed_sums())) == len(jars.listed_sums()) > 0


def test_the_installed_jars_are_the_listed_ones() -> None:
    assert jars.problems(jars.LIB_DIR, jars.listed_sums()) == []


def test_ivy_is_told_of_every_listed_jar() -> None:
    told = (jars.JARS_DIR / "ivy.xml").read_text(encoding="utf-8")
    for name in [*jars.listed_sums(), *jars.listed_sums(jars.S3_SHA256_FILE)]:
        folder, _, file = name.partition("/")
        assert any(f'conf="{folder}->default"' in line and file in _file_names(line) for line in told.splitlines()), (
            f"{name} is in its list and not in ivy.xml"
        )


def _file_names(dependency: str) -> list[str]:
    words = dependency.split('"')
    return [f"{words[3]}-{words[5]}.jar"] if len(words) > 6 else []


def test_wrong_jars_from_the_repository_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch_wrong_ones(into: Path, jar_set: jars.JarSet) -> None:
        for name in jars.listed_sums():
            path = into / "lib" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"tampered with")

    # the one thing that a test does not run: a repository on the network that hands out wrong files
    monkeypatch.setattr(jars, "fetch", fetch_wrong_ones)
    monkeypatch.setattr(jars, "LIB_DIR", tmp_path / "lib")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert jars.main([]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(f"{name} has another SHA-256" in error for name in jars.listed_sums())
    assert list(tmp_path.rglob("*.jar")) == []


def test_an_old_python_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(bootstrap.SetupError, match=r"^this is Python 3\.10; Daybook needs 3\.11 to 3\.13.*$"):
        bootstrap.use_supported_python()


def test_the_installer_comes_with_its_hashes() -> None:
    first, *rest = bootstrap.uv_requirement().splitlines()
    assert first.startswith("uv==")
    assert rest
    assert all("--hash=sha256:" in line for line in rest)


def test_the_lock_names_no_index() -> None:
    assert "://" not in bootstrap.LOCK.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", ["airflow", "pandas", "pyiceberg.table", "pyspark.sql.session"])
def test_packages_are_installed_compiled(module: str) -> None:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    # not by the first import alone: where bytecode may not be written, each task would compile what it imports
    assert Path(importlib.util.cache_from_source(found.origin)).is_file()


def test_every_test_and_every_example_is_run() -> None:
    """The order of the folders is written down, so a new one would be passed over."""
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"][
        "ini_options"
    ]
    run = [one for pattern in options["testpaths"] for one in REPOSITORY.glob(pattern)]
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    holding = [path for path in tracked if path.split("/")[-1].startswith("test_")]
    example = re.compile(r"^ *>>> ", re.MULTILINE)
    holding += [path for path in tracked if example.search((REPOSITORY / path).read_text(encoding="utf-8"))]
    assert len(holding) > 50
    assert [path for path in holding if not any((REPOSITORY / path).is_relative_to(one) for one in run)] == []
