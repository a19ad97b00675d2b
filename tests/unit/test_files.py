"""Daybook writes private and complete files: with a usual umask, in folders that a user has created before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from daybook.cli.main import cli
from daybook.files import private_dir, state_dir, whole_file, write_private
from daybook.jobs.temp_files import remove_leftovers
from daybook.report.write import write_report
from daybook.settings import Settings
from event_generator.manifest import Request, write_manifest
from event_generator.progress import Progress
from tests.unit.manifests import a_manifest
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def home(own_settings: Settings) -> Path:
    """A state folder made by hand, with the folders that users know."""
    for name in ("", "airflow", "reports", "manifests", "drivers", "run"):
        (own_settings.home / name).mkdir(mode=0o755)
    return own_settings.home


def open_to_others(folder: Path) -> list[str]:
    """The entries of a folder that others may read, write or enter; empty if they cannot enter the folder."""
    found = [folder, *folder.rglob("*")]
    return [f"{path} {stat.filemode(path.stat().st_mode)}" for path in found if path.stat().st_mode & 0o077]


def published(settings: Settings) -> None:
    """A published day in a lake; PyIceberg makes the lake's folders as private as Spark does."""
    before = os.umask(0o077)
    lake = SmallLake(settings)
    lake.publish(DAY, {"provider_usage": lake.put("provider_usage", DAY, ("att", 6, 2, 0.6, 1.0))})
    os.umask(before)


def test_the_command_and_what_it_starts_write_for_the_user_alone(own_settings: Settings, tmp_path: Path) -> None:
    """With umask 022, by `daybook env`, before any `daybook up`."""
    own_settings.home.mkdir(mode=0o755)
    daybook = [str(Path(sys.executable).with_name("daybook")), "env"]
    subprocess.run(daybook, check=True, umask=0o022, capture_output=True)
    assert (own_settings.home / "airflow" / "passwords.json").exists()
    assert open_to_others(own_settings.home) == []
    code = "import os, daybook.cli.main as c; c.cli.main = lambda **_: print(oct(os.umask(0))); c.main()"
    shown = subprocess.run([sys.executable, "-c", code], check=True, umask=0o022, capture_output=True, text=True)
    assert shown.stdout == "0o77\n"


def test_each_writer_of_the_state_folder_closes_it(home: Path, own_settings: Settings) -> None:
    assert len(open_to_others(home)) == 6
    assert CliRunner().invoke(cli, ["env"], catch_exceptions=False).exit_code == 0
    assert [path for path in open_to_others(home) if "airflow" in path] == []
    published(own_settings)
    write_report(own_settings, str(DAY))
    write_manifest(own_settings, a_manifest(Request(DAY, 1, 1)), ["id"])
    Progress(own_settings, Request(DAY, 1, 1), 1)
    remove_leftovers(own_settings, datetime.now(UTC))
    state_dir(own_settings, "run")
    assert open_to_others(home) == []
    assert {path.name for path in (home / "reports").iterdir()} >= {"index.html", "2026-05-03.html"}


def test_an_export_is_private(own_settings: Settings, tmp_path: Path) -> None:
    published(own_settings)
    (tmp_path / "out" / "provider_usage").mkdir(parents=True, mode=0o755)
    result = CliRunner().invoke(
        cli, ["export", "--day", str(DAY), "--to", str(tmp_path / "out")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    [file] = (tmp_path / "out").rglob("*.parquet")
    assert open_to_others(file.parent) == []
    assert {path.name for path in file.parent.iterdir()} == {"part.parquet"}


def test_missing_folders_above_are_private_and_others_stay(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_dir(tmp_path / "a" / "b")
    assert open_to_others(tmp_path / "a") == []
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_file_that_cannot_be_filled_leaves_the_one_before(tmp_path: Path) -> None:
    path = write_private(tmp_path / "run" / "secret", "old")

    def fill() -> None:
        with whole_file(path) as beside:
            beside.write_text("half", encoding="utf-8")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_on_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes must survive a power cut after the move: the file is synced before it, the folder after it."""
    done: list[str] = []
    sync, move = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size} bytes")
        sync(descriptor)

    def moved(self: Path, target: Path) -> Path:
        done.append("move")
        return move(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", moved)
    write_private(tmp_path / "index", "12345")
    assert done == ["5 bytes", "move", "folder"]
