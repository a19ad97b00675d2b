"""Backups of a small lake: their content, the refused cases, and the leftovers of an interrupted backup."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result
from pyiceberg.catalog.sql import SqlCatalog

from daybook.cli.operations import backup, restore
from daybook.cli.stack import up
from daybook.errors import BadInput, DaybookError, NonRetryableError
from daybook.files import digest_of, state_dir
from daybook.lake.answers import read_answer
from daybook.lake.catalog import load
from daybook.lake.config import sqlalchemy_uri
from daybook.lake.files import copy_catalog
from daybook.lake.ledger import Revision, read_ledger
from daybook.lake.state import State, check_state
from daybook.lake.tables import CATALOG
from daybook.lake.uris import path_of
from daybook.operations.backup import indexes
from daybook.settings import Settings, load_settings
from daybook.stack import postgres, supervisor
from daybook.stack.parts import parts
from tests.integration.own_broker import free_ports
from tests.unit.small_lake import SmallLake
from tests.unit.test_files import open_to_others

DAY = date(2026, 5, 3)
NEXT = date(2026, 5, 4)


def publish(lake: SmallLake, day: date) -> None:
    mix = lake.put("provider_usage", day, ("att", 6, 2, 0.6, 1.0), ("cox", 4, 1, 0.4, 1.0))
    lake.publish(day, {"provider_usage": mix})


@pytest.fixture
def own_settings(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a port on which no broker listens."""
    monkeypatch.setenv("DAYBOOK_KAFKA_PORT", str(free_ports(1)[0]))
    load_settings.cache_clear()
    return load_settings()


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    """A published day, a report, a manifest and Airflow's login."""
    made = SmallLake(own_settings)
    publish(made, DAY)
    texts = {"reports/index.html": "a report", "manifests/2026-05-03.json": "{}", "dismissed_days.json": "{}"}
    for name, text in texts.items():
        (own_settings.home / name).parent.mkdir(exist_ok=True)
        (own_settings.home / name).write_text(text, encoding="utf-8")
    secret = own_settings.home / "airflow" / "passwords.json"
    secret.parent.mkdir()
    secret.write_text('{"admin": "s3cret"}', encoding="utf-8")
    secret.chmod(0o600)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def back_up(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(backup, ["--to", str(folder), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def bring_back(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(restore, ["--from", str(folder), *more], catch_exceptions=False)


def test_a_destroyed_state_comes_back_as_it_was(lake: SmallLake, folder: Path) -> None:
    before, answer = read_ledger(lake.settings).revisions, read_answer(lake.settings, "provider_usage", str(DAY))
    back_up(folder)
    publish(lake, NEXT)
    shutil.rmtree(lake.settings.home)
    assert bring_back(folder).exit_code == 0
    assert read_ledger(lake.settings).revisions == before
    assert read_answer(lake.settings, "provider_usage", str(DAY)).equals(answer)
    assert (lake.settings.home / "reports" / "index.html").read_text(encoding="utf-8") == "a report"
    assert (lake.settings.home / "dismissed_days.json").read_text(encoding="utf-8") == "{}"
    assert (lake.settings.home / "airflow" / "passwords.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o077 == 0
    # the catalog is writable again once it is reopened, as every process does after a restore
    lake.catalog = SqlCatalog(CATALOG, uri=sqlalchemy_uri(lake.settings.catalog_uri), warehouse=lake.settings.warehouse)
    publish(lake, NEXT)
    assert len(read_ledger(lake.settings).revisions) == 2


def test_a_restore_to_another_state_folder_rewrites_the_paths_in_the_lake(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, answer = read_ledger(lake.settings).revisions, read_answer(lake.settings, "provider_usage", str(DAY))
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path / "a home with a longer name"))
    load_settings.cache_clear()
    elsewhere = load_settings()
    assert bring_back(folder).exit_code == 0
    assert not lake.settings.home.exists()
    assert read_ledger(elsewhere).revisions == before
    assert read_answer(elsewhere, "provider_usage", str(DAY)).equals(answer)
    for path in elsewhere.home.rglob("*.metadata.json"):
        assert str(lake.settings.home) + "/" not in path.read_text(encoding="utf-8")


def test_a_second_backup_takes_only_what_is_new(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    first = {path: path.stat().st_mtime_ns for path in (folder / "lake").rglob("*.parquet")}
    assert first
    assert "; 0 files, 0.0 MB, were new" in back_up(folder)  # not even a new copy of the catalog
    publish(lake, NEXT)
    back_up(folder)
    now = {path: path.stat().st_mtime_ns for path in (folder / "lake").rglob("*.parquet")}
    assert len(now) == len(first) + 2  # files of the next day: the answer and the ledger
    assert first.items() <= now.items()


def test_only_the_kept_backups_and_their_files_stay(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    (folder / "backups" / "2020-01-01T000000.000000Z").mkdir()  # an interrupted backup
    publish(lake, NEXT)
    assert "2 older or incomplete backups" in back_up(folder, "--keep", "1")
    whole, stopped = indexes(folder)
    assert (len(whole), stopped) == (1, [])
    shutil.rmtree(lake.settings.home)
    assert bring_back(folder).exit_code == 0
    assert len(read_ledger(lake.settings).revisions) == 2
    kept = {one.stored for one in whole[0][1].files}
    found = {str(path.relative_to(folder)) for part in ("lake", "content") for path in (folder / part).rglob("*.*")}
    assert {one for one in found if (folder / one).is_file()} <= kept


def test_no_state_is_written_over(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    before = (lake.settings.home / "lake" / "catalog.db").read_bytes()
    with pytest.raises(BadInput, match=r"a state exists already: .*manifests.*Nothing was changed"):
        bring_back(folder)
    assert (lake.settings.home / "lake" / "catalog.db").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_backup_is_refused_before_anything_is_written(lake: SmallLake, folder: Path, damage: str) -> None:
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    victim = next((folder / "lake").rglob("*.parquet"))
    if damage == "missing":
        victim.unlink()
    else:
        held = bytearray(victim.read_bytes())
        held[len(held) // 2] ^= 1
        victim.write_bytes(held)
    with pytest.raises(
        DaybookError, match=rf"{victim.name} (is missing|does not contain what was written).*Nothing was changed"
    ):
        bring_back(folder)
    assert not lake.settings.home.exists()


def test_a_killed_backup_does_not_count_as_a_backup(lake: SmallLake, folder: Path) -> None:
    """A real kill, between two files; the previous backup is unaffected."""
    code = (
        "import sys, time, daybook.operations.backup as b\n"
        "from daybook.cli.operations import backup\n"
        "copy, left = b._Copier._copy, [5]\n"
        "def slow(self, source, part):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: print('half', flush=True); time.sleep(60)\n"
        "    return copy(self, source, part)\n"
        "b._Copier._copy = slow\n"
        f"backup(['--to', {str(folder)!r}])\n"
    )

    def killed() -> str:
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "half\n"
            process.send_signal(signal.SIGKILL)
        return max(path.name for path in (folder / "backups").iterdir())

    first = killed()
    with pytest.raises(BadInput, match="was interrupted and is incomplete"):
        bring_back(folder)
    with pytest.raises(BadInput, match="was interrupted and is incomplete"):
        bring_back(folder, "--at", first)
    back_up(folder)
    publish(lake, NEXT)
    time.sleep(0.001)  # the folders' names are timestamps
    second = killed()
    shutil.rmtree(lake.settings.home)
    done = bring_back(folder)
    assert f"The later backup {second} is incomplete and was skipped" in done.output
    assert len(read_ledger(lake.settings).revisions) == 1


def killed_restore(folder: Path, function: str, call: int) -> None:
    """Really kill a restore at the n-th call of a function of its module; half of a file is written."""
    owner, _, name = f"r.{function}".rpartition(".")
    code = (
        "import pathlib, shutil, time, daybook.operations.restore as r\n"
        "from daybook.cli import operations\n"
        f"original, left = {owner}.{name}, [{call}]\n"
        "def stop(*arguments):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0:\n"
        "        if original is shutil.copyfile: pathlib.Path(arguments[1]).write_bytes(b'half')\n"
        "        print('here', flush=True); time.sleep(60)\n"
        "    return original(*arguments)\n"
        f"{owner}.{name} = stop\n"
        f"operations.restore(['--from', {str(folder)!r}])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "here\n" in lines, "the restore did not come so far"
        process.send_signal(signal.SIGKILL)


PLACES = [
    ("_refuse_state", 1),
    ("_put", 1),
    ("shutil.copyfile", 1),
    ("_put", 6),
    ("shutil.copyfile", 8),
    ("state_of", 1),
]
"""Before the marker, before and in the first file, later, and when everything except the marker is written."""


@pytest.mark.parametrize(("function", "call"), PLACES)
def test_a_restore_that_was_killed_is_begun_again(lake: SmallLake, folder: Path, function: str, call: int) -> None:
    back_up(folder)
    before = read_ledger(lake.settings).revisions
    shutil.rmtree(lake.settings.home)
    killed_restore(folder, function, call)
    if function != "_refuse_state":
        with pytest.raises(NonRetryableError, match=f"Repeat the restore: daybook restore --from {folder}"):
            load(lake.settings, "day_ledger")
        with pytest.raises(NonRetryableError, match="Repeat the restore"):
            back_up(folder)
        with pytest.raises(NonRetryableError, match="Repeat the restore"):
            CliRunner().invoke(up, catch_exceptions=False)
    assert bring_back(folder).exit_code == 0
    assert read_ledger(lake.settings).revisions == before
    left = [path.name for path in lake.settings.home.rglob("*") if path.name.startswith(".") or "restore" in path.name]
    assert left == []
    with pytest.raises(BadInput, match="a state exists already"):
        bring_back(folder)


@pytest.mark.parametrize(
    "made", ["kafka/events-0/0.log", "lake/warehouse/game/raw_events/data/live.parquet", "postgres/PG_VERSION"]
)
def test_files_written_after_a_killed_restore_are_not_removed(lake: SmallLake, folder: Path, made: str) -> None:
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    killed_restore(folder, "_put", 8)
    live = lake.settings.home / made
    live.parent.mkdir(parents=True, exist_ok=True)
    live.write_text("live", encoding="utf-8")
    before = sorted(path for path in lake.settings.home.rglob("*") if path.is_file())
    with pytest.raises(BadInput, match=rf"a state exists already: {live}\. Nothing was changed"):
        bring_back(folder)
    assert sorted(path for path in lake.settings.home.rglob("*") if path.is_file()) == before
    live.unlink()
    assert bring_back(folder).exit_code == 0


def test_a_file_of_a_killed_restore_that_was_changed_since_is_not_removed(lake: SmallLake, folder: Path) -> None:
    """For example, a report that a run has rewritten."""
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    killed_restore(folder, "state_of", 1)
    report = lake.settings.home / "reports" / "index.html"
    report.write_text("b report", encoding="utf-8")
    with pytest.raises(BadInput, match=rf"a state exists already: {report}\. Nothing was changed"):
        bring_back(folder)
    assert report.read_text(encoding="utf-8") == "b report"


def test_the_lake_may_be_on_another_disk_by_a_link(lake: SmallLake, folder: Path, tmp_path: Path) -> None:
    before = read_ledger(lake.settings).revisions
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    (tmp_path / "disk").mkdir()
    (lake.settings.home / "lake").mkdir(parents=True)
    (lake.settings.home / "lake" / "warehouse").symlink_to(tmp_path / "disk")
    killed_restore(folder, "_put", 8)
    assert bring_back(folder).exit_code == 0
    assert read_ledger(lake.settings).revisions == before
    assert [*(tmp_path / "disk").iterdir()] != []
    with pytest.raises(BadInput, match="a state exists already"):
        bring_back(folder)


def test_a_lake_that_cannot_move_leaves_nothing_behind(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    back_up(folder)
    elsewhere = at(tmp_path / "elsewhere", monkeypatch)

    def refuse(*_: object) -> None:  # PyIceberg cannot write position delete files
        raise DaybookError("position delete files")

    monkeypatch.setattr("daybook.operations.restore.move", refuse)
    with pytest.raises(DaybookError, match="position delete files"):
        bring_back(folder)
    assert [*elsewhere.home.iterdir()] == []


def test_nothing_is_restored_below_a_stack_that_is_up(own_settings: Settings, lake: SmallLake, folder: Path) -> None:
    """With a real supervisor, which has not started any part yet."""
    back_up(folder)
    shutil.rmtree(own_settings.home)
    state_dir(own_settings, "logs")
    supervisor.launch(own_settings, parts(own_settings))
    try:
        with pytest.raises(BadInput, match=r"the stack of .* is running. Nothing was changed. Run `daybook down`"):
            bring_back(folder)
    finally:
        supervisor.shut_down(own_settings)
    assert not (own_settings.home / "lake").exists()
    assert bring_back(folder).exit_code == 0


def at(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with another state folder, for all later calls."""
    monkeypatch.setenv("DAYBOOK_HOME", str(home))
    load_settings.cache_clear()
    return load_settings()


def opened(loaded: Settings) -> SmallLake:
    """A lake that exists already."""
    made = object.__new__(SmallLake)
    made.settings = loaded
    made.catalog = SqlCatalog(CATALOG, uri=sqlalchemy_uri(loaded.catalog_uri), warehouse=loaded.warehouse)
    return made


def test_no_later_backup_touches_an_earlier_one(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Restored twice, to homes with paths of equal length, and backed up to one folder.

    So the files have the same names and sizes.
    """
    known: dict[str, object] = {}

    def revisions_of(lake: Settings) -> list[Revision]:
        return [replace(one, snapshots={}) for one in read_ledger(lake).revisions]

    def keep() -> None:
        back_up(folder)
        [new] = {name for name, _ in indexes(folder)[0]} - known.keys()
        known[new] = revisions_of(load_settings())

    State.create(lake.settings)
    keep()
    for number, day in enumerate((date(2026, 5, 4), date(2026, 5, 5), date(2026, 5, 6)), 1):
        elsewhere = at(tmp_path / f"hom{number}", monkeypatch)
        assert bring_back(folder).exit_code == 0
        keep()
        publish(opened(elsewhere), day)
        keep()
    assert len({index.state_id for _, index in indexes(folder)[0]}) == 1, "a state keeps its id"
    assert len({index.home for _, index in indexes(folder)[0]}) == 4
    for home in tmp_path.glob("hom?"):
        shutil.rmtree(home)
    for name, before in known.items():
        assert "is complete" in bring_back(folder, "--at", name, "--check").output
        restored = at(tmp_path / f"again {name}", monkeypatch)
        assert bring_back(folder, "--at", name).exit_code == 0
        assert revisions_of(restored) == before
        assert len(read_answer(restored, "provider_usage", str(DAY))) == 2
        assert State.read(restored.home) == check_state(restored)


def test_bytes_that_changed_under_a_name_of_the_same_size_are_another_file(lake: SmallLake, folder: Path) -> None:
    report = lake.settings.home / "reports" / "index.html"
    data = next(path_of(lake.settings.warehouse).rglob("*.parquet"))
    first, times = data.read_bytes(), (data.stat().st_atime_ns, data.stat().st_mtime_ns)
    back_up(folder)
    changed = bytearray(first)
    changed[len(changed) // 2] ^= 1
    data.write_bytes(changed)
    os.utime(data, ns=times)
    report.write_text("b report", encoding="utf-8")
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    (earlier, _), (_, _) = indexes(folder)[0]
    assert bring_back(folder, "--at", earlier).exit_code == 0
    assert (data.read_bytes(), report.read_text(encoding="utf-8")) == (first, "a report")
    shutil.rmtree(lake.settings.home)
    assert bring_back(folder).exit_code == 0
    assert (data.read_bytes(), report.read_text(encoding="utf-8")) == (bytes(changed), "b report")


def test_only_backups_of_the_same_state_folder_are_counted(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    back_up(folder)
    other = SmallLake(at(tmp_path / "other", monkeypatch))
    publish(other, NEXT)
    back_up(folder)
    message = back_up(folder, "--keep", "1")
    assert "1 older or incomplete backups" in message
    assert f"This folder also has backups of {lake.settings.home}; they remain" in message
    ours, theirs = (name for name, _ in indexes(folder)[0])
    for name in (ours, theirs):
        assert "is complete" in bring_back(folder, "--at", name, "--check").output


def test_files_that_no_backup_wrote_are_not_removed(lake: SmallLake, folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "lake").mkdir(parents=True)
    (disk / "lake" / "photo.jpg").touch()
    with pytest.raises(BadInput, match=f"{disk} has a folder lake with files that no backup wrote"):
        back_up(disk)
    assert [path.name for path in disk.iterdir()] == ["lake"]
    back_up(folder)
    for name in ("content/mine", "lake/mine.parquet", "lake/game/mine.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "content" / ("0" * 64)).touch()  # an interrupted backup leaves such a file
    (folder / ".lock").unlink()  # a copy has no lock file
    assert "1 older or incomplete backups and 1 files" in back_up(folder, "--keep", "1")
    assert {path.name for path in folder.rglob("*mine*")} == {"mine", "mine.parquet"}
    assert len([*folder.rglob("*mine*")]) == 3


def test_a_copy_that_cannot_be_written_is_checked_and_restored(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, a snapshot of another machine, mounted read-only."""
    back_up(folder)
    shutil.rmtree(lake.settings.home)

    def read_only(path: str, flags: int) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr("daybook.operations.backup.private_opener", read_only)
    assert "is complete" in bring_back(folder, "--check").output
    assert bring_back(folder).exit_code == 0


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The newest index, edited by hand."""
    file = max((folder / "backups").glob("*/index.json"))
    index = json.loads(file.read_text(encoding="utf-8"))
    change(index)
    file.write_text(json.dumps(index), encoding="utf-8")
    return file


def test_a_folder_of_the_older_layout_is_read_and_left_as_it_is(lake: SmallLake, folder: Path) -> None:
    """Older versions stored lake files under their own names."""
    before = read_ledger(lake.settings).revisions
    back_up(folder)

    def older(index: dict[str, Any]) -> None:
        del index["state_id"]
        for one in index["files"]:
            if one["kind"]:
                stored = one["path"].replace("lake/warehouse/", "lake/")
                (folder / stored).parent.mkdir(parents=True, exist_ok=True)
                (folder / one["stored"]).rename(folder / stored)
                one["stored"] = stored

    older_index = edited(folder, older)
    held = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    back_up(folder)
    assert {path: path.read_bytes() for path in held} == held
    assert len([path for path in (folder / "lake").iterdir() if path.is_file()]) == 8, "nothing is taken for known"
    shutil.rmtree(lake.settings.home)
    assert bring_back(folder, "--at", older_index.parent.name).exit_code == 0
    assert read_ledger(lake.settings).revisions == before
    back_up(folder, "--keep", "1")
    assert not (folder / "lake" / "game").exists() or not [*(folder / "lake" / "game").rglob("*.parquet")]


def test_check_follows_the_catalog_of_the_backup(lake: SmallLake, folder: Path) -> None:
    back_up(folder)

    def lose(index: dict[str, Any]) -> None:
        index["files"] = [one for one in index["files"] if one["kind"] != "data"]

    missing = edited(folder, lose)
    with pytest.raises(DaybookError, match=r"its catalog refers to file:.*\.parquet, which is not in the backup"):
        bring_back(folder, "--check")
    shutil.rmtree(missing.parent)
    back_up(folder)

    def of_another_home(index: dict[str, Any]) -> None:
        index["warehouse"] = index["warehouse"].replace("/home/", "/hoME/")

    edited(folder, of_another_home)
    with pytest.raises(DaybookError, match=r"its catalog refers to file:.*metadata\.json, which is not in the backup"):
        bring_back(folder, "--check")


def test_check_sees_a_manifest_of_another_length(lake: SmallLake, folder: Path) -> None:
    """This happened when another home's file with the same name was stored in its place."""
    back_up(folder)

    def swap(index: dict[str, Any]) -> None:
        first, second = [one for one in index["files"] if one["kind"] == "manifest"][:2]
        short, long = sorted((first, second), key=lambda one: one["bytes"])
        if short["bytes"] == long["bytes"]:
            (folder / long["stored"]).write_bytes((folder / long["stored"]).read_bytes() + b" ")
            long["bytes"] += 1
            long["sha256"] = digest_of(folder / long["stored"])
        short["path"], long["path"] = long["path"], short["path"]

    edited(folder, swap)
    with pytest.raises(DaybookError, match=r"is not the file that its catalog refers to"):
        bring_back(folder, "--check")


def _odd(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(index: dict[str, Any]) -> None:
        one = next(one for one in index["files"] if one["path"] == "reports/index.html")
        one[name] = value

    return change


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    *(_odd("path", path) for path in ("../out", "/out", "reports/../../out", "reports//../../out", "out", ".bashrc")),
    *(_odd("path", path) for path in ("state.json", "airflow/airflow.cfg", "kafka/x", "reports", "reports/a\0b", 7)),
    *(_odd("mode", mode) for mode in (0o4755, 0o2755, 0o1777, -1, 1 << 40, "755", None)),
    *(_odd("stored", path) for path in ("../out", "/etc/passwd", "content/../../out", "backups/x", None)),
    *(_odd("kind", kind) for kind in ("data", "odd", None)),
    _odd("bytes", -1),
    _odd("bytes", "many"),
    lambda index: index["files"].append(index["files"][0]),
    lambda index: index.pop("files"),
    lambda index: index.update(files=7),
    lambda index: index.update(state_id="../x"),
    lambda index: index.update(home=7),
]


def test_an_index_that_leads_elsewhere_is_refused_before_anything_is_written(
    lake: SmallLake, folder: Path, tmp_path: Path
) -> None:
    back_up(folder)
    [file] = (folder / "backups").glob("*/index.json")
    as_it_was = file.read_text(encoding="utf-8")
    shutil.rmtree(lake.settings.home)
    before = sorted(tmp_path.rglob("*"))
    for change in CHANGES:
        edited(folder, change)
        with pytest.raises(
            DaybookError, match=rf"{file} (cannot be read|differs from what).*Nothing was changed"
        ) as refused:
            bring_back(folder)
        assert "\n" not in str(refused.value)
        file.write_text(as_it_was, encoding="utf-8")
    assert sorted(tmp_path.rglob("*")) == before
    assert bring_back(folder).exit_code == 0


def test_links_that_lead_elsewhere_are_refused(lake: SmallLake, folder: Path, tmp_path: Path) -> None:
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    outside = tmp_path / "outside"
    outside.mkdir()
    lake.settings.home.mkdir()
    (lake.settings.home / "reports").symlink_to(outside)
    with pytest.raises(BadInput, match=rf"resolves to {outside}.*outside {lake.settings.home}. Nothing was changed"):
        bring_back(folder)
    assert [*outside.iterdir()] == []
    (lake.settings.home / "reports").unlink()
    [(_, index)] = indexes(folder)[0]
    held = index.named("reports/index.html")
    assert held is not None
    (folder / held.stored).rename(tmp_path / "elsewhere")
    (folder / held.stored).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DaybookError, match=f"{held.stored} is not a file in this folder. Nothing was changed"):
        bring_back(folder)
    assert [*lake.settings.home.iterdir()] == []


@pytest.mark.parametrize("name", ["my home", "jürgen", "a%20b", "o'brien", "a%2Fb and more"])
def test_a_home_of_any_name_is_backed_up_and_restored(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lake = SmallLake(at(tmp_path / name, monkeypatch))
    publish(lake, DAY)
    before, folder = read_ledger(lake.settings).revisions, tmp_path / f"backups of {name}"
    back_up(folder)
    (tmp_path / name).rename(tmp_path / "was")
    assert bring_back(folder).exit_code == 0
    assert read_ledger(lake.settings).revisions == before
    elsewhere = at(tmp_path / f"{name} elsewhere", monkeypatch)
    shutil.rmtree(tmp_path / name)
    assert bring_back(folder).exit_code == 0
    assert read_ledger(elsewhere).revisions == before
    assert len(read_answer(elsewhere, "provider_usage", str(DAY))) == 2


def test_a_backup_and_what_is_restored_are_private(lake: SmallLake, folder: Path, tmp_path: Path) -> None:
    """With a usual umask and folders made by hand; files readable by others in the state become private."""
    before = os.umask(0o022)
    try:
        folder.mkdir(mode=0o755)
        lake.settings.home.chmod(0o755)
        (lake.settings.home / "airflow" / "passwords.json").chmod(0o644)
        back_up(folder)
        assert open_to_others(folder) == []
        shutil.rmtree(lake.settings.home)
        lake.settings.home.mkdir(mode=0o755)
        assert bring_back(folder).exit_code == 0
        assert open_to_others(lake.settings.home) == []
        disk = tmp_path / "disk"
        disk.mkdir(mode=0o755)
        (disk / "somebody's").mkdir(mode=0o755)
        back_up(disk)
        assert {path.split("/")[-1] for path in open_to_others(disk)} == {"disk drwxr-xr-x", "somebody's drwxr-xr-x"}
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["keys", "/no/such/keys"])
def test_a_keys_file_that_is_not_there_is_named(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DAYBOOK_API_KEYS_FILE", name)
    load_settings.cache_clear()
    with pytest.raises(BadInput, match=rf"DAYBOOK_API_KEYS_FILE is {name}.*there is no such file") as refused:
        back_up(folder)
    assert ("relative path" in str(refused.value)) == (not name.startswith("/"))
    assert "lake_maintenance" not in str(refused.value)
    assert not folder.exists()


@pytest.mark.parametrize("pattern", ["*.parquet", "*-m0.avro", "snap-*.avro", "*.metadata.json", "catalog.db"])
@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_a_damaged_lake_is_named_and_not_backed_up(lake: SmallLake, folder: Path, pattern: str, damage: str) -> None:
    victim = max((lake.settings.home / "lake").rglob(pattern))
    held = victim.read_bytes()
    victim.write_bytes(held[: len(held) // 2] if damage == "cut" else bytes(reversed(held)))
    if (pattern, damage) == ("*.parquet", "garbled"):
        return  # a backup does not open data files; the length is right
    with pytest.raises(DaybookError, match=rf"{victim}.*(damaged|cannot be read)") as refused:
        back_up(folder)
    assert "\n" not in str(refused.value)
    assert indexes(folder)[0] == []


def test_a_damaged_index_hides_no_other_backup(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    good, _ = indexes(folder)[0][0]
    back_up(folder)
    max((folder / "backups").glob("*/index.json")).write_text("{", encoding="utf-8")
    back_up(folder)  # goes on: it needs no other index
    with pytest.raises(DaybookError, match=r"index.json cannot be read"):
        back_up(folder, "--keep", "1")  # nothing else lists the files of its backup
    assert "is complete" in bring_back(folder, "--at", good, "--check").output


def test_a_file_that_is_deleted_meanwhile_is_reported(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintenance or an erasure may delete files after the catalog was copied."""
    copied = copy_catalog

    def then_delete(source: Path, target: Path) -> None:
        copied(source, target)
        next(path_of(lake.settings.warehouse).rglob("*.parquet")).unlink()

    monkeypatch.setattr("daybook.operations.backup.copy_catalog", then_delete)
    with pytest.raises(DaybookError, match=r"\.parquet disappeared .* lake_maintenance or .*This backup is incomplete"):
        back_up(folder)
    assert indexes(folder)[0] == []


def test_state_kept_elsewhere_is_reported_and_the_rest_is_backed_up(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_LAKE_CATALOG_URI", "jdbc:postgresql://db/lake")
    monkeypatch.setenv("DAYBOOK_LAKE_WAREHOUSE", "s3a://bucket/lake")
    monkeypatch.setenv("DAYBOOK_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    load_settings.cache_clear()
    message = back_up(folder)
    assert "Not in the backup: the lake: its catalog is in PostgreSQL. Dump that database first (pg_dump)" in message
    assert "s3a://bucket/lake" in message
    assert "Not in the backup: records that are not landed yet: they are in Kafka at kafka:9092" in message
    [(_, index)] = indexes(folder)[0]
    assert {one.path for one in index.files} == {
        "airflow/passwords.json",
        "dismissed_days.json",
        "manifests/2026-05-03.json",
        "reports/index.html",
    }


def test_a_backup_does_not_lie_in_what_it_saves(lake: SmallLake) -> None:
    with pytest.raises(BadInput, match="is inside the state folder"):
        back_up(lake.settings.home / "backups")


def test_the_history_of_runs_comes_back(own_settings: Settings, folder: Path) -> None:
    """Airflow's database, with a real PostgreSQL; also when it is not running."""
    with postgres.serving(own_settings):
        postgres.query(own_settings, "CREATE TABLE dag_run (run_id TEXT)")
        postgres.query(own_settings, "INSERT INTO dag_run VALUES ('manual__1')")
    back_up(folder)
    shutil.rmtree(own_settings.home)
    killed_restore(folder, "postgres.load_dump", 1)  # its server keeps running
    [work] = own_settings.home.glob(".restoring-*")
    server = postgres.server_pid(own_settings.model_copy(update={"home": work}))
    assert server is not None
    assert psutil.pid_exists(server)
    assert bring_back(folder).exit_code == 0
    assert not psutil.pid_exists(server)
    shutil.rmtree(own_settings.home)
    killed_restore(folder, "state_of", 1)
    assert postgres.data_dir(own_settings).exists()
    assert bring_back(folder).exit_code == 0
    with postgres.serving(own_settings):
        assert postgres.query(own_settings, "SELECT run_id FROM dag_run") == [("manual__1",)]
