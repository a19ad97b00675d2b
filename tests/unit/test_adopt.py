"""A copied or moved state folder becomes a state of its own; the original is neither read nor changed."""

from __future__ import annotations

import os
import shutil
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daybook.cli.main import cli
from daybook.errors import BadInput, NonRetryableError
from daybook.lake.answers import read_answer
from daybook.lake.catalog import broken_file, load
from daybook.lake.ledger import read_ledger
from daybook.lake.opening import open_state
from daybook.lake.state import State, marker_file, unfinished_file
from daybook.lake.tables import EVENTS, TABLES
from daybook.settings import Settings, load_settings
from daybook.stack import postgres
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)


def fill(lake: SmallLake) -> None:
    lake.land({DAY: 12}, end={0: 112})
    events = lake.put(EVENTS, DAY, *[(f"user{number}", "att", "purchase_item", "sword") for number in range(10)])
    popularity = lake.put("event_popularity", DAY, ("purchase_item", "sword", 10, 10, 1.0, 1))
    lake.publish(DAY, {EVENTS: events, "event_popularity": popularity})


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    lake = SmallLake(own_settings)
    fill(lake)
    open_state(own_settings)
    return lake


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at(home: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in {"home": str(home), **values}.items():
        monkeypatch.setenv(f"DAYBOOK_{name.upper()}", value)
    load_settings.cache_clear()
    return load_settings()


def adopt() -> Result:
    return CliRunner().invoke(cli, ["adopt"], catch_exceptions=False)


def assert_is_whole(loaded: Settings) -> None:
    """Every file of the lake is in the folder itself."""
    assert list(read_ledger(loaded).newest) == [DAY]
    assert read_answer(loaded, "event_popularity", str(DAY))["events"].tolist() == [10]
    for name in (*TABLES, "event_popularity"):
        if (table := load(loaded, name)) is not None:
            assert table.location().startswith(f"{loaded.warehouse}/")
            assert all(task.file.file_path.startswith(f"{loaded.warehouse}/") for task in table.scan().plan_files())
    assert broken_file(loaded) is None
    assert open_state(loaded) == []


@pytest.mark.parametrize("by", [shutil.copy2, os.link])
def test_a_copy_gets_a_lake_of_its_own(lake: SmallLake, monkeypatch: pytest.MonkeyPatch, by: object) -> None:
    original, copy = lake.settings.home, lake.settings.home.with_name("a b é copy")
    shutil.copytree(original, copy, copy_function=by)  # type: ignore[arg-type]  # both take two paths
    before = content(original)
    loaded = at(copy, monkeypatch)
    result = adopt()
    assert f" to {copy}/lake/warehouse: " in result.output
    assert content(original) == before, "the original was written to"
    shutil.move(original, original.with_name("away"))
    assert_is_whole(loaded)
    state, former = State.read(copy), State.read(original.with_name("away"))
    assert state is not None
    assert former is not None
    assert state.id != former.id
    assert "was already a state of its own" in adopt().output


def test_a_moved_folder_and_one_without_a_marker(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, has_marker in (("moved", True), ("further", False)):
        moved = load_settings().home.rename(lake.settings.home.with_name(name))
        if not has_marker:
            marker_file(moved).unlink()
        loaded = at(moved, monkeypatch)
        with pytest.raises(NonRetryableError, match="daybook adopt"):
            read_ledger(loaded)
        adopt()
        assert_is_whole(loaded)


def test_a_lake_next_to_the_folder_is_moved_into_it(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home = own_settings.home.with_name("my home")
    fill(SmallLake(at(home, monkeypatch, lake_warehouse=(home / "lake" / "warehouse").as_uri())))
    loaded = at(home, monkeypatch, lake_warehouse="")
    assert (home.parent / "my%20home").is_dir()
    adopt()
    assert_is_whole(loaded)
    assert not (home.parent / "my%20home" / "lake" / "warehouse").exists()


def test_an_adoption_that_was_stopped_is_repeated(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = lake.settings.home.rename(lake.settings.home.with_name("moved"))
    loaded = at(moved, monkeypatch)

    def stop(_source: object, _target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("daybook.operations.adopt.os.replace", stop)
        assert CliRunner().invoke(cli, ["adopt"]).exit_code == 1
    with pytest.raises(NonRetryableError, match="daybook adopt"):
        read_ledger(loaded)
    adopt()
    assert_is_whole(loaded)


def test_two_catalogs_over_one_warehouse_are_refused(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = at(own_settings.home, monkeypatch, lake_warehouse=f"file://{tmp_path}/shared")
    fill(SmallLake(shared))
    open_state(shared)
    copy = shared.home.with_name("copy")
    shutil.copytree(shared.home, copy)
    before = content(tmp_path)
    at(copy, monkeypatch)
    with pytest.raises(BadInput, match="Two catalogs over one warehouse delete each other's files"):
        adopt()
    assert content(tmp_path) == before


def test_half_a_copy_an_unfinished_restore_and_a_running_stack_are_refused(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = lake.settings.home.rename(lake.settings.home.with_name("moved"))
    at(moved, monkeypatch)
    events = moved / "lake" / "warehouse" / "game" / EVENTS
    events.rename(moved / "events")
    before = content(moved)
    with pytest.raises(BadInput, match="the files of events are not in"):
        adopt()
    with monkeypatch.context() as patched:
        patched.setattr("daybook.stack.supervisor.states", lambda _settings: {})
        with pytest.raises(BadInput, match="run `daybook down` first"):
            adopt()
    assert content(moved) == before
    unfinished_file(moved).write_text("/mnt/backup\n", encoding="utf-8")
    with pytest.raises(BadInput, match="repeat that restore"):
        adopt()


def test_the_server_of_a_copied_folder_is_not_the_copys(own_settings: Settings) -> None:
    """`up` and `down` end their folder's processes. A copied PID file would make them end the original's database."""
    note = postgres.data_dir(own_settings) / "postmaster.pid"
    note.parent.mkdir(parents=True)
    note.write_text(f"4711\n{postgres.data_dir(own_settings)}\n1777777777\n5432\n", encoding="utf-8")
    assert postgres.server_pid(own_settings) == 4711
    postgres.remove_other_pid_file(own_settings)
    assert note.exists()
    note.write_text("4711\n/elsewhere/postgres\n1777777777\n5432\n", encoding="utf-8")
    assert postgres.server_pid(own_settings) is None
    postgres.remove_other_pid_file(own_settings)
    assert not note.exists(), "it would keep the copy's own server from starting"
