"""The marker of a state folder, and the cases that are refused before anything is read or written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daybook.cli.main import cli
from daybook.errors import BadInput, DaybookError, NonRetryableError, NotNow
from daybook.jobs.java import java
from daybook.lake import opening
from daybook.lake import state as state_module
from daybook.lake.catalog import load
from daybook.lake.config import sqlalchemy_uri
from daybook.lake.ledger import read_ledger
from daybook.lake.opening import open_state
from daybook.lake.state import State, check_state, marker_file, unfinished_file, who
from daybook.lake.tables import DAY_LEDGER, NAMESPACE, RAW_EVENTS
from daybook.settings import Settings, load_settings
from daybook.stack.lifecycle import bring_up
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)
NOW = datetime(2026, 6, 3, tzinfo=UTC)


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    """A lake with a published day, in a state folder without a marker."""
    lake = SmallLake(own_settings)
    lake.land({DAY: 12}, end={0: 112})
    lake.land({DAY: 1}, end={0: 113})
    lake.publish(DAY, {})
    return lake


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at(home: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    """The settings of another state folder, for this test and the code it calls."""
    for name, value in {"home": str(home), **values}.items():
        monkeypatch.setenv(f"DAYBOOK_{name.upper()}", value)
    load_settings.cache_clear()
    return load_settings()


def refusals(loaded: Settings, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The messages of a reader, a writer and ``up``; none of them may change a file."""
    before = files_of(loaded.home)
    message = set()

    def started(_: Settings) -> None:
        raise AssertionError("the stack was started")

    monkeypatch.setattr("daybook.stack.lifecycle._alone", started)
    for ask in (
        lambda: read_ledger(loaded),
        lambda: open_state(loaded),
        lambda: bring_up(loaded, lambda _line: None),
    ):
        with pytest.raises(NonRetryableError) as refused:
            ask()
        message.add(str(refused.value))
    # verbs that write: they must check the state first
    generating = ["generate", "--day", "2026-05-03", "--events", "1", "--seed", "1"]
    for line in (
        ["accept-loss", "--note", "gone"],
        ["forget-user", "user1", "--yes"],
        ["rebuild", "--from", "2026-05-03", "--to", "2026-05-03"],
    ):
        result = CliRunner().invoke(cli, line)
        assert isinstance(result.exception, NonRetryableError), line
        message.add(str(result.exception))
    if marker_file(loaded.home).exists() or unfinished_file(loaded.home).exists():  # verbs that use no table
        for line in (["env"], generating):
            result = CliRunner().invoke(cli, line)
            assert isinstance(result.exception, NonRetryableError), line
            message.add(str(result.exception))
    assert files_of(loaded.home) == before
    assert all("\n" not in one for one in message)
    return message


def test_a_new_folder_gets_a_marker_of_its_own_and_no_word(own_settings: Settings) -> None:
    assert check_state(own_settings) is None
    assert open_state(own_settings) == []
    state = check_state(own_settings)
    assert state is not None
    assert (state.home, state.made_by, state.format) == (str(own_settings.home), who(), state_module.FORMAT)
    assert state.made_at.endswith("+00:00")
    assert marker_file(own_settings.home).stat().st_mode & 0o777 == 0o600
    assert open_state(own_settings) == []
    assert State.create(own_settings) == state, "a second maker takes the first one's marker"
    assert [path.name for path in own_settings.home.iterdir()] == ["state.json"]


def test_a_folder_without_a_marker_is_adopted_when_its_tables_lie_in_it(lake: SmallLake) -> None:
    assert list(read_ledger(lake.settings).newest) == [DAY], "a reader needs no marker"
    assert not marker_file(lake.settings.home).exists()
    (line,) = open_state(lake.settings)
    assert line.startswith(f"adopted the state in {lake.settings.home}")
    assert open_state(lake.settings) == []
    assert list(read_ledger(lake.settings).newest) == [DAY]


def test_a_copy_is_refused_and_names_the_original(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    open_state(lake.settings)
    copy = lake.settings.home.with_name("copy")
    shutil.copytree(lake.settings.home, copy)
    (message,) = refusals(at(copy, monkeypatch), monkeypatch)
    assert message.startswith(f"{copy} is a copy of the state in {lake.settings.home}")
    assert "`daybook adopt`" in message


def test_a_moved_folder_is_refused_and_names_the_old_place(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    open_state(lake.settings)
    moved = lake.settings.home.rename(lake.settings.home.with_name("moved"))
    (message,) = refusals(at(moved, monkeypatch), monkeypatch)
    assert message.startswith(f"the state in {moved} was moved or copied from {lake.settings.home}")


def test_a_folder_that_holds_neither_lake_nor_broker_may_have_several_paths(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, the machines of a cluster that share the folder."""
    open_state(lake.settings)
    elsewhere = {
        "kafka_bootstrap_servers": "broker:9092",
        "lake_catalog_uri": "jdbc:postgresql://db/lake?user=lake",
        "lake_warehouse": "s3://bucket/lake",
    }
    moved = lake.settings.home.rename(lake.settings.home.with_name("moved"))
    assert check_state(at(moved, monkeypatch, **elsewhere)) is not None
    for name in elsewhere:
        with pytest.raises(NonRetryableError):
            check_state(at(moved, monkeypatch, **{**elsewhere, name: ""}))


def _copied(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> Settings:
    copy = lake.settings.home.with_name("copy")
    shutil.copytree(lake.settings.home, copy)
    return at(copy, monkeypatch)


def _without_catalog(lake: SmallLake, _: pytest.MonkeyPatch) -> Settings:
    Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:")).unlink()
    return lake.settings


@pytest.mark.parametrize("has_marker", [True, False])
@pytest.mark.parametrize("make", [_copied, _without_catalog])
def test_no_step_on_spark_gets_as_far_as_spark(
    lake: SmallLake,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[SmallLake, pytest.MonkeyPatch], Settings],
    has_marker: bool,
) -> None:
    """A step that used Spark before the check would write to the original's tables, or remove their files."""
    from daybook_spark import building, erasing, landing, maintenance, publishing, rebuilding

    if has_marker:
        open_state(lake.settings)
    original = lake.settings.home
    loaded = make(lake, monkeypatch).model_copy(update={"raw_retention_days": 90})
    before = files_of(original)
    spark: Any = None
    stage = building.Stage("r", "w", [DAY], {DAY: 1}, 1, 1, {0: 112}, {}, 1, 1)
    steps: list[Callable[[], object]] = [
        lambda: building.create_tables(spark, loaded),
        lambda: landing.land(spark, loaded, {0: 113}, DAY, "r"),
        lambda: landing.keep_position(loaded),
        lambda: building.build_days(spark, loaded, [DAY], "r", []),
        lambda: publishing.publish_days(spark, loaded, stage, {}, DAY, None),
        lambda: rebuilding.rebuild(spark, loaded, DAY, DAY, "r", dry_run=False),
        lambda: erasing.forget(spark, loaded, "user1", "r", ""),
        *(lambda step=step: step(spark, loaded, NOW) for step in maintenance.STEPS.values()),
    ]
    for step in steps:
        with pytest.raises(NonRetryableError):
            step()
    assert files_of(original) == before


def test_a_prompt_gets_no_session_of_a_copy(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    from daybook_spark import session

    open_state(lake.settings)
    loaded = _copied(lake, monkeypatch)
    monkeypatch.setattr(session, "submit_conf", lambda _settings: pytest.fail("Spark was asked for"))
    with pytest.raises(NonRetryableError, match="is a copy of the state"):
        session.spark_session("look", loaded)


def test_a_copy_without_a_marker_is_known_by_its_tables(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = lake.settings.home.with_name("copy")
    shutil.copytree(lake.settings.home, copy)
    for message in refusals(at(copy, monkeypatch), monkeypatch):
        assert f"is in file://{lake.settings.home}/lake/warehouse/game/" in message
        assert f"({lake.settings.warehouse})" in message, "what to set"


def test_an_unfinished_restore_is_refused(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished_file(lake.settings.home).write_text("/mnt/backup\n", encoding="utf-8")
    (message,) = refusals(lake.settings, monkeypatch)
    assert message.endswith("daybook restore --from /mnt/backup")


def test_a_state_of_a_newer_version_is_refused(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    open_state(lake.settings)
    file = marker_file(lake.settings.home)
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99, "made_with": "9.9"}), encoding="utf-8")
    (message,) = refusals(lake.settings, monkeypatch)
    assert "has format 99 and belongs to a newer Daybook (9.9)" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": 1}', "\x00" * 40, '{"format": "1"}'])
def test_a_broken_marker_is_one_line(lake: SmallLake, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    marker_file(lake.settings.home).write_text(text, encoding="utf-8")
    (message,) = refusals(lake.settings, monkeypatch)
    assert message.startswith(f"{marker_file(lake.settings.home)} cannot be read")


def test_a_folder_of_another_user_is_reported_as_such(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)  # tests run as root, who may read everything
    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(NonRetryableError, match="belongs to another user"):
        check_state(own_settings)


def test_an_older_format_is_brought_forward_once(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    open_state(lake.settings)
    before = check_state(lake.settings)
    for module in (state_module, opening):
        monkeypatch.setattr(module, "FORMAT", 2)
    assert check_state(lake.settings) == before, "a reader needs no new format"
    (line,) = open_state(lake.settings)
    assert line.startswith("migrated the state in ")
    assert line.endswith(" from format 1 to 2")
    after = check_state(lake.settings)
    assert before is not None
    assert after is not None
    assert (after.id, after.format) == (before.id, 2)
    assert open_state(lake.settings) == []


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _new(file: Path) -> None:
    file.unlink()
    SmallLake(Settings(home=file.parent / "other"))
    shutil.copy(file.parent / "other" / "lake" / "catalog.db", file)
    shutil.rmtree(file.parent / "other")


@pytest.mark.parametrize(
    ("lose", "message"), [(_emptied, "is empty (0 bytes)"), (Path.unlink, "is missing"), (_new, "has no table")]
)
@pytest.mark.parametrize("has_marker", [True, False])
def test_an_empty_catalog_with_existing_tables_is_not_a_new_lake(
    lake: SmallLake, lose: Callable[[Path], None], message: str, has_marker: bool
) -> None:
    if has_marker:
        open_state(lake.settings)
    file = Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:"))
    lose(file)
    before = files_of(lake.settings.home)
    for ask in (lambda: read_ledger(lake.settings), lambda: load(lake.settings, RAW_EVENTS)):
        with pytest.raises(NonRetryableError, match="restore a backup") as refused:
            ask()
        assert f"the catalog {file} {message}" in str(refused.value)
    for start in (lambda: open_state(lake.settings), lambda: bring_up(lake.settings, lambda _line: None)):
        with pytest.raises(NonRetryableError, match="restore a backup"):
            start()
    assert files_of(lake.settings.home) == before


def test_another_catalog_for_the_same_warehouse_is_not_a_new_lake(
    lake: SmallLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_state(lake.settings)
    other = at(lake.settings.home, monkeypatch, lake_catalog_uri=f"jdbc:sqlite:{tmp_path / 'elsewhere.db'}")
    with pytest.raises(NonRetryableError, match="Set DAYBOOK_LAKE_CATALOG_URI to the catalog of this warehouse"):
        read_ledger(other)


def test_a_catalog_that_was_put_back_alone_is_refused(lake: SmallLake, tmp_path: Path) -> None:
    open_state(lake.settings)
    catalog = Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:"))
    older = shutil.copy(catalog, tmp_path / "older.db")
    lake.land({DAY: 1}, end={0: 114})
    newest = shutil.copy(catalog, tmp_path / "newest.db")
    shutil.copy(older, catalog)
    assert open_state(lake.settings) == [], "one version ahead is what a commit leaves that was stopped"
    shutil.copy(newest, catalog)
    lake.land({DAY: 1}, end={0: 115})
    shutil.copy(older, catalog)
    before = files_of(lake.settings.home)
    with pytest.raises(NonRetryableError, match=r"is older than its tables: it names version \d of raw_events"):
        open_state(lake.settings)
    assert files_of(lake.settings.home) == before


def test_files_of_a_writer_killed_before_its_first_commit_are_not_a_table(lake: SmallLake) -> None:
    """Iceberg writes a table's first metadata file before its catalog knows the table."""
    raw = Path(f"{lake.settings.warehouse}/{NAMESPACE}/{RAW_EVENTS}".removeprefix("file://"))
    for file in (raw / "metadata").iterdir():
        if not file.name.startswith("00000-"):
            file.unlink()
    shutil.rmtree(raw.parent / DAY_LEDGER)
    Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:")).unlink()
    assert load(lake.settings, RAW_EVENTS) is None


def test_a_lake_next_to_the_folder_under_its_quoted_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_settings: Settings
) -> None:
    home = tmp_path / "my home"
    old = at(home, monkeypatch, lake_warehouse=(home / "lake" / "warehouse").as_uri())
    lake = SmallLake(old)
    lake.land({DAY: 12}, end={0: 112})
    lake.publish(DAY, {})
    now = at(home, monkeypatch, lake_warehouse="")
    for message in refusals(now, monkeypatch):
        assert f"is next to it, in {tmp_path}/my%20home/lake/warehouse" in message
        setting = message.partition("DAYBOOK_LAKE_WAREHOUSE=")[2].strip('"')
    again = at(home, monkeypatch, lake_warehouse=setting)
    assert list(read_ledger(again).newest) == [DAY], "the advice works"
    assert open_state(again)[0].startswith("adopted")


@pytest.mark.parametrize(
    ("warehouse", "location", "is_ours"),
    [
        ("file:///data/lake", "file:/data/lake/game/events", True),
        ("file:///data/lake", "/data/lake/game/events", True),
        ("file:///data/lake", "file:///data/lake-2/game/events", False),
        ("s3://bucket/lake", "s3a://bucket/lake/game/events", True),
        ("s3a://bucket/lake/", "s3://bucket/lake/game/events", True),
        ("s3://bucket/lake", "s3://other/lake/game/events", False),
        ("hdfs://one:8020/lake", "hdfs://ha/lake/game/events", True),
        ("hdfs://one:8020/lake", "hdfs://one:8020/other/game/events", False),
    ],
)
def test_one_place_has_several_names(tmp_path: Path, warehouse: str, location: str, is_ours: bool) -> None:
    from daybook.lake.place import refuse_elsewhere

    loaded = Settings(home=tmp_path, lake_warehouse=warehouse)
    if is_ours:
        refuse_elsewhere(loaded, "events", location)
    else:
        with pytest.raises(NonRetryableError, match="outside the configured warehouse"):
            refuse_elsewhere(loaded, "events", location)


def test_a_bucket_is_looked_into_as_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
    from pyiceberg.io.pyarrow import PyArrowFileIO

    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    monkeypatch.setattr(PyArrowFileIO, "_initialize_fs", lambda *_: store)
    loaded = Settings(home=tmp_path / "home", lake_warehouse="s3://bucket/lake")
    assert load(loaded, RAW_EVENTS) is None, "the bucket is empty"
    metadata = tmp_path / "bucket" / "lake" / NAMESPACE / RAW_EVENTS / "metadata"
    metadata.mkdir(parents=True)
    (metadata / "00000-a.metadata.json").touch()
    assert load(loaded, RAW_EVENTS) is None
    (metadata / "00001-b.metadata.json").touch()
    with pytest.raises(NonRetryableError, match=r"is missing, but the warehouse s3://bucket/lake holds its files"):
        load(loaded, RAW_EVENTS)

    def away(*_: object) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(PyArrowFileIO, "_initialize_fs", away)
    with pytest.raises(NotNow, match=r"s3://bucket/lake cannot be listed .AWS Error NETWORK_CONNECTION"):
        load(loaded, RAW_EVENTS)


def test_a_rest_catalog_chooses_places_itself(tmp_path: Path) -> None:
    from daybook.lake.place import refuse_elsewhere

    loaded = Settings(home=tmp_path, lake_catalog_uri="https://catalog/iceberg", lake_warehouse="game")
    refuse_elsewhere(loaded, "events", "s3://bucket/game_1f/events_2c")


def test_only_a_catalog_without_tables_is_new(lake: SmallLake) -> None:
    file = Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:"))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE TABLE iceberg_tables (' WHERE name = 'iceberg_tables'"
        )
    with pytest.raises(NonRetryableError, match=f"{file} is damaged .malformed database schema"):
        read_ledger(lake.settings)


def test_a_user_id_without_a_name_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert who() == f"uid {os.getuid()}"


def test_sqlite_and_its_readers_open_the_same_file(tmp_path: Path) -> None:
    """SQLAlchemy unquotes a path: with %20 or ? in it, the URL would name another file."""
    from sqlalchemy import create_engine

    file = tmp_path / "a b é%20?x#&y'" / "catalog.db"
    file.parent.mkdir()
    with create_engine(sqlalchemy_uri(f"jdbc:sqlite:{file}")).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE here (x INTEGER)")
    assert file.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [file.parent.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a#b", "a #"),
        ("a?b", "a ?"),
        ("a,b", "a comma"),
        ("a ;b", "a ; after a space"),
        ("a\\b", "a backslash"),
        ('a"b', 'a "'),
        ("a\nb", "a non-printable character"),
        ("a ", "a trailing space"),
    ],
)
def test_a_path_that_some_part_cannot_take_is_refused_by_name(
    tmp_path: Path, own_settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    loaded = at(tmp_path / name, monkeypatch)
    for start in (lambda: open_state(loaded), lambda: bring_up(loaded, lambda _line: None)):
        with pytest.raises(BadInput) as refused:
            start()
        assert f"the path of DAYBOOK_HOME contains {message}: {str(loaded.home)!r}" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert not loaded.home.exists()


def test_a_warehouse_is_held_to_the_same(
    tmp_path: Path, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match="the path of DAYBOOK_LAKE_WAREHOUSE contains a #"):
        open_state(at(tmp_path / "home", monkeypatch, lake_warehouse=f"file://{tmp_path}/a#b"))


ODD = "a b é %20'x;y+&=${HOME}%(here)s"


def test_supervisor_reads_the_paths_that_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisor.options import ServerOptions

    from daybook.stack import supervisor
    from daybook.stack.parts import parts

    odd = Settings(home=tmp_path / ODD)
    odd.logs_dir.mkdir(parents=True)
    monkeypatch.chdir(odd.home)  # supervisord starts there
    read = ServerOptions()
    read.configfile = str(supervisor.write_config(odd, parts(odd)))
    read.process_config(do_usage=False)
    section = read.configroot.supervisord
    assert section.directory == str(odd.home)
    assert section.logfile == str(odd.logs_dir / "supervisord.log")
    groups = section.process_group_configs
    commands = {group.name: shlex.split(group.process_configs[0].command) for group in groups}
    assert commands == {part.name: part.command(odd) for part in parts(odd)}


def test_kafka_reads_the_path_that_was_written(tmp_path: Path) -> None:
    """Java's own parser of properties: Latin-1, with backslashes as escapes."""
    from daybook.stack.kafka import _as_java_reads

    read = tmp_path / "Read.java"
    read.write_text(
        "import java.io.*; public class Read { public static void main(String[] a) throws Exception {"
        " var p = new java.util.Properties(); p.load(new FileInputStream(a[0]));"
        ' System.out.write(p.getProperty("log.dirs").getBytes("UTF-8")); } }',
        encoding="utf-8",
    )
    value = f"/home/{ODD}/\N{GRINNING FACE}/a\\b"
    (tmp_path / "p").write_text(f"log.dirs={_as_java_reads(value)}\n", encoding="ascii")
    done = subprocess.run([java(), read, tmp_path / "p"], capture_output=True, check=False, timeout=60)
    assert done.stdout.decode() == value, done.stderr


def test_a_log_that_an_earlier_version_wrote_elsewhere_is_found(tmp_path: Path) -> None:
    from daybook.stack import kafka

    loaded = Settings(home=tmp_path / "josé")
    loaded.logs_dir.mkdir(parents=True)
    former = tmp_path / "josÃ©" / "kafka"
    former.mkdir(parents=True)
    (former / "meta.properties").touch()
    with pytest.raises(NonRetryableError, match=f"Move that folder to {loaded.home}/kafka"):
        kafka.prepare(loaded)
    assert not (loaded.home / "kafka").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_password_file_is_one_line(own_settings: Settings, text: str) -> None:
    from daybook import airflow_client
    from daybook.stack import airflow

    airflow.write_config(own_settings)
    assert airflow_client.password(own_settings)
    airflow_client.password_file(own_settings).write_text(text, encoding="utf-8")
    with pytest.raises(DaybookError, match=f"{airflow_client.password_file(own_settings)}, .*Remove it") as raised:
        airflow_client.password(own_settings)
    assert "\n" not in str(raised.value)


def test_a_database_that_is_gone_was_one(own_settings: Settings) -> None:
    from daybook import airflow_client
    from daybook.stack import airflow, postgres

    airflow.write_config(own_settings)  # a new folder: keys are created
    version = postgres.version_file(own_settings)
    version.write_text("3.3.2", encoding="utf-8")
    with pytest.raises(NonRetryableError, match="it held Airflow's history of runs"):
        postgres.prepare(own_settings)
    assert not postgres.data_dir(own_settings).exists()
    for lose in (Path.unlink, _emptied):
        lose(airflow_client.airflow_home(own_settings) / "secrets.json")
        with pytest.raises(NonRetryableError, match="it has the keys of the connections"):
            airflow.write_config(own_settings)
        _emptied(airflow_client.airflow_home(own_settings) / "secrets.json")
