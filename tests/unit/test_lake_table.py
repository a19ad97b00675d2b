"""An unreadable file of the lake gives one line with its name and the next command, for every reader."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from daybook.cli.main import COMMANDS, cli
from daybook.errors import DaybookError, NonRetryableError
from daybook.lake.answers import read_answer
from daybook.lake.catalog import broken_file, load
from daybook.lake.ledger import read_ledger
from daybook.lake.state import State
from daybook.lake.tables import DAY_LEDGER, EVENTS, NAMESPACE, RAW_EVENTS
from daybook.operations.exporter import read_lake
from daybook.report.write import write_report
from daybook.settings import Settings
from tests.unit.small_lake import BuiltOnce, SmallLake

DAY = date(2026, 5, 3)
RUNNER = CliRunner()


def a_day(lake: SmallLake) -> None:
    lake.land({DAY: 12}, end={0: 112})
    events = lake.put(EVENTS, DAY, *[(f"user{number}", "att", "purchase_item", "sword") for number in range(10)])
    popularity = lake.put("event_popularity", DAY, ("purchase_item", "sword", 10, 10, 1.0, 1))
    lake.publish(DAY, {EVENTS: events, "event_popularity": popularity})


@pytest.fixture
def lake(built_once: BuiltOnce) -> SmallLake:
    return built_once(a_day)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def garble(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(file.stat().st_size))


def garble_inside(file: Path) -> None:
    """Damage as by a bad disk block: length, head and tail are right."""
    whole = file.read_bytes()
    half = len(whole) // 2
    file.write_bytes(whole[:8] + random.Random(1).randbytes(half - 8) + whole[half:])


BREAKS = [empty, cut, garble, Path.unlink]
KINDS = {
    "metadata file": "*.metadata.json",
    "manifest list": "snap-*.avro",
    "manifest": "*-m[0-9].avro",
    "data file": "*.parquet",
}


def broken(lake: SmallLake, table: str, kind: str, damage: Callable[[Path], None]) -> None:
    folder = Path(f"{lake.settings.warehouse}/{NAMESPACE}/{table}".removeprefix("file://"))
    files = list(folder.rglob(KINDS[kind]))
    assert files
    for file in files:
        damage(file)


def assert_one_line(error: BaseException | None, lake: SmallLake, table: str, kind: str) -> None:
    assert isinstance(error, DaybookError), repr(error)
    message = str(error)
    folder = f"{lake.settings.warehouse}/{NAMESPACE}/{table}/".removeprefix("file://")
    assert message.startswith(folder), message
    assert f", a {kind} of the lake's table {table}, is " in message
    assert "daybook restore" in message
    assert "\n" not in message


READS: dict[str, Callable[[Settings], object]] = {
    DAY_LEDGER: read_ledger,
    "event_popularity": lambda settings: read_answer(settings, "event_popularity", str(DAY)),
    EVENTS: lambda _: RUNNER.invoke(cli, ["query", "SELECT COUNT(*) FROM events"], catch_exceptions=False),
}
"""Table -> its reader, by PyIceberg or by DuckDB."""


@pytest.mark.parametrize("damage", BREAKS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", READS)
def test_readers_name_the_file(lake: SmallLake, table: str, kind: str, damage: Callable[[Path], None]) -> None:
    broken(lake, table, kind, damage)
    with pytest.raises(DaybookError) as raised:
        READS[table](lake.settings)
    assert_one_line(raised.value, lake, table, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_and_task_reports_it_in_one_line(lake: SmallLake, kind: str) -> None:
    broken(lake, DAY_LEDGER, kind, cut)
    day = ["--day", str(DAY)]
    for line in (
        ["status"],
        ["answer", "event_popularity", *day],
        ["query", "SELECT 1 FROM day_ledger"],
        ["compare", *day],
        ["trace", "event_popularity", *day],
        ["verify", *day],
        ["export", *day, "--to", str(lake.settings.home / "out")],
        ["receipts", *day],
    ):
        assert line[0] in COMMANDS
        result = RUNNER.invoke(cli, line)
        assert_one_line(result.exception, lake, DAY_LEDGER, kind)
    with pytest.raises(DaybookError) as raised:
        write_report(lake.settings, str(DAY), [])
    assert_one_line(raised.value, lake, DAY_LEDGER, kind)
    with pytest.raises(DaybookError) as raised:
        read_lake(lake.settings, read_ledger(lake.settings))
    assert_one_line(raised.value, lake, DAY_LEDGER, kind)
    assert_one_line(broken_file(lake.settings), lake, DAY_LEDGER, kind)


@pytest.mark.parametrize("damage", BREAKS)
def test_every_verb_that_reads_data_files_names_the_one(lake: SmallLake, damage: Callable[[Path], None]) -> None:
    broken(lake, EVENTS, "data file", damage)
    day = ["--day", str(DAY)]
    for line in (
        ["query", "SELECT COUNT(*) FROM events"],
        ["compare", *day],
        ["trace", "event_popularity", *day],
        ["verify", *day],
        ["export", *day, "--to", str(lake.settings.home / "out")],
    ):
        result = RUNNER.invoke(cli, line)
        assert_one_line(result.exception, lake, EVENTS, "data file")


@pytest.mark.parametrize("kind", ["metadata file", "manifest list", "manifest"])
def test_counts_out_of_the_metadata_name_the_file(lake: SmallLake, kind: str) -> None:
    from daybook.lake.snapshots import partition_counts

    broken(lake, RAW_EVENTS, kind, garble)
    with pytest.raises(DaybookError) as raised:
        partition_counts(load(lake.settings, RAW_EVENTS))
    assert_one_line(raised.value, lake, RAW_EVENTS, kind)


def test_a_bad_block_inside_a_data_file_is_found_by_reading_it(lake: SmallLake) -> None:
    broken(lake, "event_popularity", "data file", garble_inside)
    with pytest.raises(NonRetryableError) as raised:
        read_answer(lake.settings, "event_popularity", str(DAY))
    assert_one_line(raised.value, lake, "event_popularity", "data file")


def test_a_whole_lake_has_no_broken_file_and_other_errors_stay(lake: SmallLake) -> None:
    assert broken_file(lake.settings) is None
    table = load(lake.settings, EVENTS)
    assert table is not None
    with pytest.raises(ValueError, match="nowhere"):
        table.scan(row_filter="nowhere = 1").to_arrow()


def test_a_moved_lake_without_a_marker_is_known_by_its_metadata(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daybook.settings import load_settings

    moved = lake.settings.home.rename(lake.settings.home.with_name("moved"))
    monkeypatch.setenv("DAYBOOK_HOME", str(moved))
    load_settings.cache_clear()
    with pytest.raises(NonRetryableError, match="outside the configured warehouse"):
        read_ledger(load_settings())


@pytest.mark.parametrize("damage", [empty, cut, garble])
def test_a_broken_catalog_is_one_line(lake: SmallLake, damage: Callable[[Path], None]) -> None:
    file = Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:"))
    damage(file)
    with pytest.raises(NonRetryableError, match=f"the (lake's )?catalog {file} is (damaged|empty)") as raised:
        read_ledger(lake.settings)
    assert "daybook restore" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_catalog_locked_by_another_program_is_reported_as_locked(lake: SmallLake) -> None:
    file = Path(lake.settings.catalog_uri.removeprefix("jdbc:sqlite:"))
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DaybookError, match="another program has locked the lake's catalog") as raised:
            read_ledger(lake.settings)
        other.execute("ROLLBACK")
    assert "server" not in str(raised.value)


@pytest.mark.parametrize("uri", ["file:///data/x.parquet", "file:/data/x.parquet", "/data/x.parquet"])
def test_a_file_is_named_by_its_path_however_its_writer_spelled_it(uri: str) -> None:
    from daybook.lake.lake_table import unreadable

    assert str(unreadable(EVENTS, "data file", uri, FileNotFoundError())).startswith("/data/x.parquet, a data file")
    assert str(unreadable(EVENTS, "data file", "s3://bucket/x.parquet", OSError("no"))).startswith("s3://bucket/")


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_spark_fails_in_names_the_file(
    lake: SmallLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from daybook_spark import job

    broken(lake, RAW_EVENTS, kind, cut)
    monkeypatch.setattr(job, "spark_session", lambda *_: Mock())
    monkeypatch.setattr(job, "_seconds_since_launch", lambda _: 1.0)
    summary = tmp_path / "summary.json"
    monkeypatch.setattr("sys.argv", ["job", "--run-id", "r", "--summary", str(summary)])

    def work(*_: object) -> dict[str, object]:
        raise RuntimeError("An error occurred while calling o91.collectToPython: Job aborted")

    # with a new marker, `up` and the first job check the tables and would find the damage before Spark
    State.create(lake.settings)
    with pytest.raises(SystemExit):
        job.run("land_events", job.arguments("x", of_a_day=False), work)
    payload = json.loads(summary.read_text(encoding="utf-8"))
    assert f", a {kind} of the lake's table {RAW_EVENTS}, is damaged" in payload["error"]
    assert not payload["try_again"]
