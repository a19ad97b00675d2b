"""An answer's header and its report agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from daybook.errors import DaybookError
from daybook.lake.duckdb_engine import in_duckdb, tables_of
from daybook.sql.answers import ACROSS_DAYS, Balance, all_answers, answer_files, answers, answers_version, read_answer
from daybook.sql.answers_page import ANSWERS_PAGE, answers_page
from daybook.sql.files import parameters
from tests.dropped_in import TEXT, drop_in, own_answers


@pytest.fixture
def own_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_answers(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", all_answers())
def test_a_header_names_the_columns_that_the_statement_gives(name: str) -> None:
    answer = all_answers()[name]
    given = sqlglot.parse_one(answer.statement, dialect="spark", into=exp.Select).named_selects
    header = list(answer.columns) if answer.area == ACROSS_DAYS else ["event_date", *answer.columns]
    assert given == header


@pytest.mark.parametrize("name", all_answers())
def test_a_statement_binds_the_days_and_nothing_else(name: str) -> None:
    answer = all_answers()[name]
    assert parameters(answer.statement) == {"first_day", "last_day"}


@pytest.mark.parametrize("name", answers())
def test_an_answer_of_a_day_reads_the_days_events_alone(name: str) -> None:
    assert tables_of(answers()[name].statement) == {"events"}


@pytest.mark.parametrize("name", answers(ACROSS_DAYS))
def test_an_answer_across_days_rests_on_answers_of_a_day(name: str) -> None:
    assert tables_of(answers(ACROSS_DAYS)[name].statement) <= set(answers())


def test_no_two_answers_have_one_name() -> None:
    assert len(all_answers()) == len(answer_files()) + len(answer_files(ACROSS_DAYS))


@pytest.mark.parametrize("name", answers())
def test_the_condition_of_an_answers_events_uses_existing_columns(name: str) -> None:
    """Without such a line, the key is used: then the key's columns are columns of events."""
    from daybook.lake.tables import EVENTS, TABLES

    answer = answers()[name]
    message = answer.events or " AND ".join(f"events.{column} = answer.{column}" for column in answer.key)
    for column in sqlglot.parse_one(f"SELECT 1 WHERE {message or 'TRUE'}", dialect="spark").find_all(exp.Column):
        assert column.name in (
            answer.columns if column.table == "answer" else TABLES[EVENTS].columns.replace(",", " ").split()
        )


def test_the_page_of_all_answers_is_fresh() -> None:
    stale = "docs/answers.md is stale; write it anew with `daybook answers --write` and commit it"
    assert ANSWERS_PAGE.read_text(encoding="utf-8") == answers_page(), stale


def test_a_file_that_is_dropped_in_is_an_answer_with_an_entry_in_the_page(own_sql: Path) -> None:
    before = answers_version()
    drop_in(own_sql)
    answer = answers("user_behaviour")["busy_minutes"]
    assert answer.columns["events"] == "purchases (count); minutes that nobody bought anything in have 0"
    assert (answer.key, answer.order) == (("minute",), (("events", True), ("minute", False)))
    assert answer.balance == Balance("events", "item IS NOT NULL")
    assert answers_version() != before
    page = answers_page()
    assert "### busy_minutes\n\nWhich minutes are busy? One row per minute of a day" in page
    assert "| minute | minute of the hour, 0 to 59 |" in page
    assert "Its `events` add up to the day's events where `item IS NOT NULL`" in page


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("-- Grain: one row per minute of a day that has an event\n", "", "lacks the header line -- Grain:"),
        ("-- Balance: events WHERE item IS NOT NULL\n", "", "lacks the header line -- Balance:"),
        ("--   minute: minute", "--   the minute", "-- Columns: has 'the minute of the hour, 0 to 59'"),
        ("-- Key: minute", "-- Key: hour", "Key, Order and Balance name hour; -- Columns: has minute, events"),
        ("-- Balance: events", "-- Balance: plays", "name plays"),
    ],
)
def test_a_header_with_an_impossible_value_is_refused(tmp_path: Path, was: str, becomes: str, message: str) -> None:
    assert was in TEXT
    file = tmp_path / "user_behaviour" / "busy_minutes.sql"
    file.parent.mkdir()
    file.write_text(TEXT.replace(was, becomes), encoding="utf-8")
    with pytest.raises(DaybookError, match=r"busy_minutes\.sql") as refused:
        read_answer(file)
    assert message in str(refused.value)


def test_an_answer_across_days_states_how_many_days_it_covers(tmp_path: Path) -> None:
    file = tmp_path / ACROSS_DAYS / "busy_minutes.sql"
    file.parent.mkdir()
    file.write_text(TEXT.replace("-- Balance: events WHERE item IS NOT NULL", "-- Days: some"), encoding="utf-8")
    with pytest.raises(DaybookError, match="write the number of days that it covers, as 28"):
        read_answer(file)


def test_sparks_sql_is_translated_to_duckdbs() -> None:
    assert in_duckdb("SELECT ARRAY_JOIN(ARRAY_SORT(COLLECT_SET(a)), '+') AS a -- why\nFROM events") == (
        "SELECT ARRAY_TO_STRING(LIST_SORT(LIST(DISTINCT a) FILTER(WHERE NOT a IS NULL)), '+') AS a FROM events"
    )
