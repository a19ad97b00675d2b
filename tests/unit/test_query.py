"""The lake in DuckDB: the readable tables, and no access to anything else."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from daybook.cli.main import cli
from daybook.errors import BadInput
from daybook.lake.answers import answer_rows
from daybook.lake.ledger import read_ledger
from daybook.lake.query import query_rows
from daybook.settings import Settings
from tests.unit.small_lake import SmallLake

DAY, NEXT_DAY = date(2026, 5, 3), date(2026, 5, 4)
SWORD = ("purchase_item", "sword", 7, 4, 0.7, 1)
JOIN = ("join_guild", None, 3, 2, 0.3, 2)
COUNTS = "SELECT event_date, SUM(events) AS events FROM event_popularity GROUP BY ALL ORDER BY ALL"


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    """Two published days of event popularity: ten events, then seven."""
    lake = SmallLake(own_settings)
    for day, rows in ((DAY, [SWORD, JOIN]), (NEXT_DAY, [SWORD])):
        lake.publish(day, {"event_popularity": lake.put("event_popularity", day, *rows)})
    return lake


def counts(settings: Settings) -> dict[date, int]:
    return {row["event_date"]: int(row["events"]) for row in query_rows(settings, COUNTS)}


def test_a_query_sees_the_published_days(lake: SmallLake) -> None:
    assert counts(lake.settings) == {DAY: 10, NEXT_DAY: 7}


@pytest.mark.parametrize("few", [0, 40], ids=["of all files", "of the days' files"])
def test_a_day_that_was_never_published_is_not_seen(lake: SmallLake, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook.lake.snapshots.FEW_DAYS", few)
    lake.put("event_popularity", date(2026, 5, 5), SWORD)
    assert counts(lake.settings) == {DAY: 10, NEXT_DAY: 7}


def test_a_day_that_is_published_by_half_is_seen_as_its_page_has_it(lake: SmallLake) -> None:
    restated = lake.put("event_popularity", DAY, SWORD)
    assert counts(lake.settings) == {DAY: 10, NEXT_DAY: 7}
    lake.publish(DAY, {"event_popularity": restated}, revision=2)
    assert counts(lake.settings) == {DAY: 7, NEXT_DAY: 7}


def test_a_day_whose_pinned_snapshot_was_expired_is_still_seen(lake: SmallLake) -> None:
    table = lake.table("event_popularity")
    current = table.current_snapshot()
    assert current is not None
    older = [one.snapshot_id for one in table.metadata.snapshots if one.snapshot_id != current.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(older).commit()
    assert counts(lake.settings) == {DAY: 10, NEXT_DAY: 7}


def test_a_table_that_a_page_does_not_know_has_no_rows_of_it(lake: SmallLake) -> None:
    lake.put("provider_usage", DAY, ("att", 10, 4, 1.0, 1.0))
    assert query_rows(lake.settings, "SELECT * FROM provider_usage") == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY event_popularity TO '/tmp/stolen.csv'", "read-only, COPY is not allowed"),
        ("DROP TABLE event_popularity", "read-only, DROP is not allowed"),
        ("SELECT * FROM read_csv('/etc/passwd')", "file system operations are disabled"),
        ("SET enable_external_access = true", "configuration has been locked"),
        ("ATTACH '/tmp/other.db'", "disabled"),
        ("INSERT INTO event_popularity VALUES (1)", "read-only, INSERT is not allowed"),
        ("SELECT 1; DELETE FROM event_popularity", "read-only, DELETE is not allowed"),
        ("SELECT * FROM event_popularitys", 'Did you mean "event_popularity"?'),
        ("SELECT * FROM lake", "lake does not exist"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM event_popularity", '"nothing" not found'),
    ],
)
def test_nothing_can_be_written_and_nothing_else_be_read(lake: SmallLake, sql: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        query_rows(lake.settings, sql)
    assert message in str(refused.value)


def test_an_error_points_at_its_place(lake: SmallLake) -> None:
    with pytest.raises(BadInput) as refused:
        query_rows(lake.settings, "SELECT item,\n  nothing FROM event_popularity")
    line, caret = str(refused.value).splitlines()[-2:]
    assert line[caret.index("^") :].startswith("nothing")


def test_a_pivot_which_duckdb_runs_as_several_statements_is_taken(lake: SmallLake) -> None:
    [row] = query_rows(lake.settings, "PIVOT event_popularity ON item USING SUM(events) GROUP BY event_type LIMIT 1")
    assert "sword" in row


TWICE = "SELECT e.item, o.item, e.item AS item_1, o.events FROM event_popularity e, event_popularity o LIMIT 1"


def test_columns_of_the_same_name_are_all_there(lake: SmallLake) -> None:
    columns = ["item", "item_2", "item_1", "events"]
    assert CliRunner().invoke(cli, ["query", TWICE]).output.splitlines()[2].split() == columns
    assert CliRunner().invoke(cli, ["query", TWICE, "--csv"]).output.splitlines()[0] == ",".join(columns)
    [row] = json.loads(CliRunner().invoke(cli, ["query", TWICE, "--json"]).output)
    assert list(row) == columns
    assert row["item"] == row["item_1"]


def test_csv_without_a_row_has_its_header(lake: SmallLake) -> None:
    nothing = "SELECT item, events FROM event_popularity WHERE FALSE"
    assert CliRunner().invoke(cli, ["query", nothing, "--csv"]).output == "item,events\n"


def test_rows_that_memory_cannot_hold_are_written_nowhere(
    lake: SmallLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect
    monkeypatch.setattr("duckdb.connect", lambda config: connect(config={**config, "memory_limit": "20MB"}))
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match="no temporary directory is specified"):
        query_rows(lake.settings, "SELECT range AS a, repeat('x', 1000) || range AS b FROM range(100_000) ORDER BY b")
    assert set(tmp_path.rglob("*")) == before


def test_without_a_published_day_it_reports_that(own_settings: Settings) -> None:
    with pytest.raises(BadInput, match="no day is published yet"):
        query_rows(own_settings, "SELECT 1")


def test_rows_come_as_a_table_as_json_and_as_csv(lake: SmallLake) -> None:
    sql = "SELECT event_date, item, events FROM event_popularity WHERE event_date = '2026-05-03' ORDER BY events DESC"
    shown = CliRunner().invoke(cli, ["query", sql]).output
    assert shown.startswith("2 rows\n")
    assert json.loads(CliRunner().invoke(cli, ["query", sql, "--json"]).output) == [
        {"event_date": "2026-05-03", "item": "sword", "events": 7},
        {"event_date": "2026-05-03", "item": None, "events": 3},
    ]
    assert CliRunner().invoke(cli, ["query", sql, "--csv"]).output == (
        "event_date,item,events\n2026-05-03,sword,7\n2026-05-03,,3\n"
    )


def test_numbers_of_a_query_have_no_separators(lake: SmallLake) -> None:
    """A column of a user's own query may be a year, an id or an offset."""
    shown = CliRunner().invoke(cli, ["query", "SELECT 2026 AS year, 1234567 AS id, 0.5 AS half"]).output
    assert ["2026", "1234567", "0.5"] in [line.split() for line in shown.splitlines()]


def test_the_lakes_own_tables_are_listed(lake: SmallLake) -> None:
    assert [row["name"] for row in query_rows(lake.settings, "SHOW TABLES")] == ["day_ledger", "event_popularity"]


# the days on which each player plays, counted from the first; the number of events does not matter
PLAYERS = {"ann": (0, 1, 8), "bob": (0, 14), "cid": (1, 2, 15), "dee": (8,), "eve": (15,)}


@pytest.fixture
def a_fortnight(own_settings: Settings) -> SmallLake:
    lake = SmallLake(own_settings)
    for at in range(16):
        day = DAY + timedelta(days=at)
        rows = [(name, 2, 1, 1) for name, days in PLAYERS.items() if at in days]
        snapshots = {"user_activity": lake.put("user_activity", day, *rows)} if rows else {}
        lake.publish(day, snapshots)
    return lake


def test_new_and_returning_players_are_counted_separately(a_fortnight: SmallLake) -> None:
    rows = answer_rows(read_ledger(a_fortnight.settings), "new_users", "2026-05-18")
    assert [(row["event_date"][-2:], row["new_users"], row["returning_users"]) for row in rows] == [
        ("03", 2, 0),
        ("04", 1, 1),
        ("05", 0, 1),
        ("11", 1, 1),
        ("17", 0, 1),
        ("18", 1, 1),
    ]
    assert rows[1]["new_share"] == 0.5


def test_retention_counts_whole_weeks_after_the_first_day(a_fortnight: SmallLake) -> None:
    """Ann comes back in weeks 1 and 2 (day 8), Bob on the last day of week 2, Cid in 1 and on the last day of 2."""
    rows = answer_rows(read_ledger(a_fortnight.settings), "weekly_retention", "2026-05-18")
    assert [(row["first_day"][-2:], row["week"], row["users"], row["returned"]) for row in rows] == [
        ("03", 1, 2, 1),
        ("03", 2, 2, 2),
        ("04", 1, 1, 1),
        ("04", 2, 1, 1),
        ("11", 1, 1, 0),
    ]
    assert rows[0]["share"] == 0.5


def test_the_days_after_the_one_that_is_asked_for_do_not_count(a_fortnight: SmallLake) -> None:
    rows = answer_rows(read_ledger(a_fortnight.settings), "weekly_retention", "2026-05-10")
    assert [(row["first_day"][-2:], row["week"], row["returned"]) for row in rows] == [("03", 1, 1)]


def test_a_restated_day_is_in_the_answers_across_days_at_once(a_fortnight: SmallLake) -> None:
    lake = a_fortnight
    lake.publish(DAY, {"user_activity": lake.put("user_activity", DAY, ("eve", 2, 1, 1))}, revision=2)
    rows = answer_rows(read_ledger(lake.settings), "new_users", "2026-05-04")
    assert [(row["new_users"], row["returning_users"]) for row in rows] == [(1, 0), (2, 0)]


def test_a_lake_older_than_the_answer_names_the_next_command(lake: SmallLake) -> None:
    with pytest.raises(
        BadInput, match=r"needs the table user_activity.*daybook rebuild --from 2026-05-03 --to 2026-05-04"
    ):
        answer_rows(read_ledger(lake.settings), "new_users", "2026-05-04")


def test_an_export_names_the_unpublished_day(lake: SmallLake, tmp_path: Path) -> None:
    from daybook.operations.export import export_day

    with pytest.raises(BadInput, match="2026-05-09 is not published"):
        export_day(lake.settings, "2026-05-09", tmp_path)
    assert not list(tmp_path.glob("event*"))
