"""Backups of a small lake: what is taken, what is refused, and what a stopped one leaves behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pyiceberg.catalog.sql import SqlCatalog

from daybook.backup import backup, indexes
from daybook.errors import BadInput, DaybookError, NeedsDecision
from daybook.lake import ledger, load, read_answer
from daybook.lake_conf import sqlalchemy_uri
from daybook.lake_files import copy_catalog, path_of
from daybook.lake_names import CATALOG
from daybook.restore import restore
from daybook.settings import Settings, settings
from daybook.stack import postgres
from tests.integration.own_broker import free_ports
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)
NEXT = date(2026, 5, 4)


def publish(lake: SmallLake, day: date) -> None:
    mix = lake.put("provider_usage", day, ("att", 6, 2, 0.6, 1.0), ("cox", 4, 1, 0.4, 1.0))
    lake.publish(day, {"provider_usage": mix})


@pytest.fixture
def own_settings(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With a port that no broker listens on."""
    monkeypatch.setenv("DAYBOOK_KAFKA_PORT", str(free_ports(1)[0]))
    settings.cache_clear()
    return settings()


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    """A day is published; there are a report, a manifest and the login of Airflow."""
    made = SmallLake(own_settings)
    publish(made, DAY)
    for name, text in {"reports/index.html": "a report", "manifests/2026-05-03.json": "{}"}.items():
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
    before, answer = ledger(lake.settings), read_answer(lake.settings, "provider_usage", str(DAY))
    back_up(folder)
    publish(lake, NEXT)
    shutil.rmtree(lake.settings.home)
    assert bring_back(folder).exit_code == 0
    assert ledger(lake.settings).equals(before)
    assert read_answer(lake.settings, "provider_usage", str(DAY)).equals(answer)
    assert (lake.settings.home / "reports" / "index.html").read_text(encoding="utf-8") == "a report"
    assert (lake.settings.home / "airflow" / "passwords.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o077 == 0
    # the catalog can be written again; by who opens it anew, as every process does after a restore
    lake.catalog = SqlCatalog(CATALOG, uri=sqlalchemy_uri(lake.settings.catalog_uri), warehouse=lake.settings.warehouse)
    publish(lake, NEXT)
    assert len(ledger(lake.settings)) == 2


def test_another_state_folder_is_told_to_the_lake(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, answer = ledger(lake.settings), read_answer(lake.settings, "provider_usage", str(DAY))
    back_up(folder)
    shutil.rmtree(lake.settings.home)
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path / "a home with a longer name"))
    settings.cache_clear()
    elsewhere = settings()
    assert bring_back(folder).exit_code == 0
    assert not lake.settings.home.exists()
    assert ledger(elsewhere).equals(before)
    assert read_answer(elsewhere, "provider_usage", str(DAY)).equals(answer)
    for path in elsewhere.home.rglob("*.metadata.json"):
        assert str(lake.settings.home) + "/" not in path.read_text(encoding="utf-8")


def test_a_second_backup_takes_only_what_is_new(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    first = {path: path.stat().st_mtime_ns for path in (folder / "lake").rglob("*.parquet")}
    assert first
    assert "2 files" in back_up(folder)  # the catalog's copy and Kafka's absence change nothing in the lake
    publish(lake, NEXT)
    back_up(folder)
    now = {path: path.stat().st_mtime_ns for path in (folder / "lake").rglob("*.parquet")}
    assert len(now) == len(first) + 2  # the answer and the ledger of the next day
    assert first.items() <= now.items()


def test_only_the_kept_backups_and_their_files_stay(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    (folder / "backups" / "2020-01-01T000000.000000Z").mkdir()  # one that was stopped
    publish(lake, NEXT)
    assert "2 older or stopped backups" in back_up(folder, "--keep", "1")
    whole, stopped = indexes(folder)
    assert (len(whole), stopped) == (1, [])
    shutil.rmtree(lake.settings.home)
    assert bring_back(folder).exit_code == 0
    assert len(ledger(lake.settings)) == 2
    kept = {one.stored for one in whole[0][1].files}
    found = {str(path.relative_to(folder)) for part in ("lake", "content") for path in (folder / part).rglob("*.*")}
    assert {one for one in found if (folder / one).is_file()} <= kept


def test_no_state_is_written_over(lake: SmallLake, folder: Path) -> None:
    back_up(folder)
    before = (lake.settings.home / "lake" / "catalog.db").read_bytes()
    with pytest.raises(BadInput, match=r"there is a state: .*manifests.*Nothing was changed"):
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
    with pytest.raises(DaybookError, match=rf"{victim.name} (is missing|holds other bytes).*Nothing was changed"):
        bring_back(folder)
    assert not lake.settings.home.exists()


def test_a_backup_that_was_killed_is_none(lake: SmallLake, folder: Path) -> None:
    """Killed for real, between two files; the one before it stands."""
    code = (
        "import sys, time, daybook.backup as b\n"
        "copy, left = b._Copier._copy, [5]\n"
        "def slow(self, source, part):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: print('half', flush=True); time.sleep(60)\n"
        "    return copy(self, source, part)\n"
        "b._Copier._copy = slow\n"
        f"b.backup(['--to', {str(folder)!r}])\n"
    )

    def killed() -> str:
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "half\n"
            process.send_signal(signal.SIGKILL)
        return max(path.name for path in (folder / "backups").iterdir())

    first = killed()
    with pytest.raises(BadInput, match="was stopped before its end and is none"):
        bring_back(folder)
    with pytest.raises(BadInput, match="was stopped before its end and is none"):
        bring_back(folder, "--at", first)
    back_up(folder)
    publish(lake, NEXT)
    time.sleep(0.001)  # the folders' names are moments
    second = killed()
    shutil.rmtree(lake.settings.home)
    done = bring_back(folder)
    assert f"The later backup {second} was stopped before its end: it is passed over" in done.output
    assert len(ledger(lake.settings)) == 1


def test_a_restore_that_was_stopped_is_begun_again(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(folder)
    before = ledger(lake.settings)
    shutil.rmtree(lake.settings.home)

    def stop(source: str, target: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("daybook.restore.os.replace", stop)
        CliRunner().invoke(restore, ["--from", str(folder)])
    with pytest.raises(NeedsDecision, match=f"Repeat the restore: daybook restore --from {folder}"):
        load(lake.settings, "day_ledger")
    assert bring_back(folder).exit_code == 0
    assert ledger(lake.settings).equals(before)
    with pytest.raises(BadInput, match="there is a state"):
        bring_back(folder)


def test_a_file_that_is_deleted_meanwhile_is_told(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the upkeep's deletion of files would, or an erasure's, once the catalog was copied."""
    copied = copy_catalog

    def then_delete(source: Path, target: Path) -> None:
        copied(source, target)
        next(path_of(lake.settings.warehouse).rglob("*.parquet")).unlink()

    monkeypatch.setattr("daybook.backup.copy_catalog", then_delete)
    with pytest.raises(DaybookError, match=r"\.parquet went away .* lake_maintenance or .*This backup is none"):
        back_up(folder)
    assert indexes(folder)[0] == []


def test_what_is_elsewhere_is_told_and_the_rest_is_taken(
    lake: SmallLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_LAKE_CATALOG_URI", "jdbc:postgresql://db/lake")
    monkeypatch.setenv("DAYBOOK_LAKE_WAREHOUSE", "s3a://bucket/lake")
    monkeypatch.setenv("DAYBOOK_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    settings.cache_clear()
    said = back_up(folder)
    assert "Not in it: the lake: its catalog is in PostgreSQL. Dump that database first (pg_dump)" in said
    assert "s3a://bucket/lake" in said
    assert "Not in it: records that are not landed yet: they are in Kafka at kafka:9092" in said
    [(_, index)] = indexes(folder)[0]
    assert {one.path for one in index.files} == {
        "airflow/passwords.json",
        "manifests/2026-05-03.json",
        "reports/index.html",
    }


def test_a_backup_does_not_lie_in_what_it_saves(lake: SmallLake) -> None:
    with pytest.raises(BadInput, match="lies in the state folder"):
        back_up(lake.settings.home / "backups")


def test_the_history_of_runs_comes_back(own_settings: Settings, folder: Path) -> None:
    """Airflow's database, by a real PostgreSQL; also where it is not up."""
    with postgres.serving(own_settings):
        postgres.query(own_settings, "CREATE TABLE dag_run (run_id TEXT)")
        postgres.query(own_settings, "INSERT INTO dag_run VALUES ('manual__1')")
    back_up(folder)
    shutil.rmtree(own_settings.home)
    assert bring_back(folder).exit_code == 0
    with postgres.serving(own_settings):
        assert postgres.query(own_settings, "SELECT run_id FROM dag_run") == [("manual__1",)]
