"""Readers see a day at the snapshots that its newest ledger row pins."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from daybook.cli.main import cli
from daybook.cli.output import print_table
from daybook.errors import BadInput, DaybookError, NotNow
from daybook.lake.answers import answer_rows, read_answer
from daybook.lake.catalog import load
from daybook.lake.config import sqlalchemy_uri
from daybook.lake.ledger import Revision, ledger_rows, read_ledger
from daybook.lake.tables import DAY_LEDGER
from daybook.pipeline.dismissals import dismissals_file
from daybook.settings import Settings, load_settings
from tests.unit.small_lake import SCHEMAS, SmallLake

DAY = date(2026, 5, 3)
NEXT = date(2026, 5, 4)
SWORD = ("purchase_item", "sword", 6, 3, 0.6, 1)
GUILD = ("join_guild", None, 2, 2, 0.2, 2)
KNIFE = ("purchase_item", "knife", 2, 1, 0.2, 2)


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    return SmallLake(own_settings)


def test_without_a_lake_no_day_is_published_and_reading_creates_no_file(own_settings: Settings) -> None:
    assert read_ledger(own_settings).revisions == ()
    assert ledger_rows(read_ledger(own_settings)) == []
    assert not own_settings.home.exists()


def test_a_catalog_that_spark_has_not_filled_yet_has_no_day(own_settings: Settings) -> None:
    file = Path(own_settings.catalog_uri.removeprefix("jdbc:sqlite:"))
    file.parent.mkdir(parents=True)
    file.touch()
    assert ledger_rows(read_ledger(own_settings)) == []
    assert file.stat().st_size == 0, "reading wrote into the catalog"


def test_an_answer_is_read_at_the_snapshot_that_the_revision_pins(lake: SmallLake) -> None:
    pinned = lake.put("event_popularity", DAY, SWORD)
    lake.publish(DAY, {"event_popularity": pinned})
    lake.put("event_popularity", DAY, KNIFE)  # published by the next revision, whose ledger row does not exist yet
    assert [row["item"] for row in answer_rows(read_ledger(lake.settings), "event_popularity", "2026-05-03")] == [
        "sword"
    ]


def test_the_current_state_is_read_instead_of_an_expired_snapshot(lake: SmallLake) -> None:
    pinned = lake.put("event_popularity", DAY, SWORD)
    lake.publish(DAY, {"event_popularity": pinned})
    lake.put("event_popularity", date(2026, 5, 4), KNIFE)
    lake.table("event_popularity").maintenance.expire_snapshots().by_id(pinned).commit()
    assert [row["item"] for row in answer_rows(read_ledger(lake.settings), "event_popularity", "2026-05-03")] == [
        "sword"
    ]


def test_the_newest_revision_counts(lake: SmallLake) -> None:
    first = lake.put("event_popularity", DAY, SWORD)
    second = lake.put("event_popularity", DAY, SWORD, KNIFE)
    lake.publish(DAY, {"event_popularity": second}, revision=2, events=11, late=1)
    lake.publish(DAY, {"event_popularity": first}, revision=1)
    assert len(read_ledger(lake.settings).revisions) == 2
    assert [(one.revision, one.late) for one in read_ledger(lake.settings).newest.values()] == [(2, 1)]
    assert len(answer_rows(read_ledger(lake.settings), "event_popularity", "2026-05-03")) == 2


def test_rows_of_other_days_and_the_date_column_are_left_out(lake: SmallLake) -> None:
    lake.put("event_popularity", date(2026, 5, 2), KNIFE)
    lake.publish(DAY, {"event_popularity": lake.put("event_popularity", DAY, SWORD)})
    assert answer_rows(read_ledger(lake.settings), "event_popularity", "2026-05-03") == [
        {"event_type": "purchase_item", "item": "sword", "events": 6, "users": 3, "share": 0.6, "rank": 1}
    ]


def test_rows_are_in_the_order_of_the_answers_file_nulls_first(lake: SmallLake) -> None:
    guild = ("purchase_item", None, 2, 2, 0.2, 2)
    lake.publish(DAY, {"event_popularity": lake.put("event_popularity", DAY, KNIFE, GUILD, guild, SWORD)})
    rows = answer_rows(read_ledger(lake.settings), "event_popularity", "2026-05-03")
    assert [(row["rank"], row["event_type"], row["item"]) for row in rows] == [
        (1, "purchase_item", "sword"),
        (2, "join_guild", None),
        (2, "purchase_item", None),
        (2, "purchase_item", "knife"),
    ]


def test_an_order_may_descend(lake: SmallLake) -> None:
    rows = [("comcast", 2, 1, 0.2, 1.0), ("att", 6, 3, 0.6, 1.0), ("aol", 2, 1, 0.2, 1.0)]
    lake.publish(DAY, {"provider_usage": lake.put("provider_usage", DAY, *rows)})
    found = answer_rows(read_ledger(lake.settings), "provider_usage", "2026-05-03")
    assert [row["provider"] for row in found] == ["att", "aol", "comcast"]


def test_integers_stay_integers_in_columns_with_nulls(lake: SmallLake) -> None:
    lake.publish(DAY, {})
    lake.publish(date(2026, 5, 4), {}, sent=2**53 + 1, accepted=12, refused=0)
    rows = ledger_rows(read_ledger(lake.settings))
    assert [(row["sent"], row["accepted"]) for row in rows] == [(None, None), (2**53 + 1, 12)]
    assert isinstance(rows[1]["sent"], int)
    assert read_ledger(lake.settings).of("2026-05-03").raw_snapshot_id == 9_007_199_254_740_993


def test_a_day_known_to_be_empty_has_no_rows(lake: SmallLake) -> None:
    lake.publish(DAY, {}, events=0, landed=0, duplicates=0, rejected=0)
    assert read_answer(lake.settings, "event_popularity", "2026-05-03").empty


def test_a_day_older_than_an_answer_is_reported_as_such(lake: SmallLake) -> None:
    lake.publish(DAY, {})
    with pytest.raises(BadInput, match="published before the answer event_popularity was added; build it again with"):
        read_answer(lake.settings, "event_popularity", "2026-05-03")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("jdbc:mysql://db/lake", "write jdbc:sqlite:FILE, jdbc:postgresql://HOST/DATABASE or https://HOST/PATH"),
        ("jdbc:postgresql://127.0.0.1:1/lake", "the lake's catalog does not answer"),
    ],
)
def test_a_catalog_that_is_not_there_is_one_line(own_settings: Settings, uri: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        read_ledger(own_settings.model_copy(update={"lake_catalog_uri": uri}))
    assert "\n" not in str(caught.value)


def test_jdbc_uris_become_sqlalchemys() -> None:
    assert sqlalchemy_uri("jdbc:sqlite:/a b/catalog.db") == "sqlite:////a b/catalog.db"
    assert sqlalchemy_uri("jdbc:postgresql://db/lake?user=u") == "postgresql+psycopg2://db/lake?user=u"


def _daybook(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_answer_prints_json_or_a_table(lake: SmallLake) -> None:
    lake.publish(DAY, {"event_popularity": lake.put("event_popularity", DAY, ("purchase_item", "[red]", 6, 3, 0.6, 1))})
    printed = _daybook("answer", "event_popularity", "--day", "2026-05-03", "--json")
    assert json.loads(printed.stdout) == answer_rows(read_ledger(lake.settings), "event_popularity", "2026-05-03")
    table = _daybook("answer", "event_popularity", "--day", "2026-05-03").stdout
    assert "purchase_item" in table
    assert "[red]" in table


def test_a_table_is_never_cut_off_however_narrow_the_terminal(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.publish(DAY, {}, sent=1_234_567_890_123, accepted=9_876_543_210_123, landed=5_555_555_555_555)
    monkeypatch.setenv("COLUMNS", "40")
    lines = _daybook("status").stdout.splitlines()
    header = next(line.split() for line in lines if "published_at" in line)
    row = next(line.split() for line in lines if "2026-05-03" in line)
    shown = dict(zip(header, row, strict=True))
    assert shown["published_at"] == "2026-05-04T00:16:01Z"
    assert (shown["sent"], shown["accepted"], shown["landed"]) == (
        "1,234,567,890,123",
        "9,876,543,210,123",
        "5,555,555,555,555",
    )
    assert shown["balanced"] == "yes"


def test_status_prints_the_newest_revision_of_each_day(lake: SmallLake) -> None:
    lake.publish(date(2026, 5, 4), {}, sent=12, accepted=12, refused=0)
    lake.publish(DAY, {})
    printed = json.loads(_daybook("status", "--json").stdout)
    live = {
        "day": "2026-05-03",
        "revision": 1,
        "published_at": "2026-05-04T00:16:01.250000Z",
        "sent": None,
        "refused": None,
        "accepted": None,
        "other_days": None,
        "landed": 12,
        "events": 10,
        "duplicates": 1,
        "rejected": 1,
        "late": 0,
        "balanced": True,
    }
    assert printed == [live, {**live, "day": "2026-05-04", "sent": 12, "refused": 0, "accepted": 12, "other_days": 0}]


NOTICES = (
    ("Restated days", "2026-05-03 r2: +41 events"),
    ("Checks that passed with a warning", "provider_coverage"),
    ("Records that are not published yet", "outside the lateness window; trigger the day"),
    ("Accepted losses", "offsets 3..6 of partition 0"),
)


def test_status_shows_what_a_reader_of_the_ledger_also_needs(lake: SmallLake) -> None:
    lake.publish(DAY, {})
    lake.land({DAY: 12})
    quiet = _daybook("status").stdout
    assert not [title for title, _ in NOTICES if title in quiet]

    warning = [{"check": "provider_coverage", "severity": "warn", "rows": 3}]
    lake.publish(DAY, {}, revision=2, receipt="2026-05-03 r2: +41 events", checks=json.dumps(warning))
    today = datetime.now(UTC).date()
    lake.land({DAY: 1, today: 2, NEXT: 3})
    lake.accept_loss("4 records lost, offsets 3..6 of partition 0", "the disk was full")
    output = _daybook("status").stdout

    for title, words in NOTICES:
        assert words in output.partition(title)[2], title
    waiting = [line.split() for line in output.splitlines() if "window;" in line or "not published;" in line]
    assert [line[:3] for line in waiting] == [[str(DAY), "13", "12"], [str(NEXT), "3", "0"], [str(today), "2", "0"]]
    assert f"""build it: airflow dags trigger game_events_daily -c '{{"day": "{NEXT}"}}'""" in output, "no run does"
    assert "the day is not over" in output
    assert "2026-05-04 09:30Z" in output


@pytest.mark.parametrize(
    ("day", "environment", "message"),
    [
        ("2026-05-04", {}, """Build it with `airflow dags trigger game_events_daily -c '{"day": "2026-05-04"}'`"""),
        ("2999-01-01", {}, "It is not over (UTC): a run can build it on 2999-01-02 or later"),
        (f"{datetime.now(UTC):%Y-%m-%d}", {}, "It is not over (UTC)"),
        ("2026-04-01", {}, "Build it with"),
        ("2026-04-01", {"DAYBOOK_GENERATED_EVENTS": "0"}, "`daybook plan --from 2026-04-01 --to 2026-04-01` shows"),
        ("2026-05-04", {"DAYBOOK_GENERATED_EVENTS": "0"}, "Build it with"),
    ],
)
def test_a_command_is_advised_only_for_a_day_that_it_can_build(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch, day: str, environment: dict[str, str], message: str
) -> None:
    lake.land({DAY: 1})
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    text = str(_daybook("answer", "event_popularity", "--day", day).exception)
    assert message in text
    assert ("airflow dags trigger" in text) is ("Build it with" in message)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_day_that_was_never_built_has_no_failed_checks(lake: SmallLake, form: list[str]) -> None:
    done = CliRunner().invoke(cli, ["checks", "--day", "2031-01-01", *form])
    assert isinstance(done.exception, BadInput)
    assert str(done.exception).startswith("2031-01-01 is not published; published days: none yet")
    lake.publish(DAY, {})
    assert "No check of 2026-05-03 has failed." in CliRunner().invoke(cli, ["checks", "--day", "2026-05-03"]).output


@pytest.mark.parametrize("form", [[], ["--dry-run"]])
def test_a_rebuild_of_unpublished_days_starts_no_spark(
    lake: SmallLake, form: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daybook.cli.corrections.run_job", lambda *_: pytest.fail("it has started Spark"))
    done = CliRunner().invoke(cli, ["rebuild", "--from", "2031-01-01", "--to", "2031-01-02", *form])
    assert isinstance(done.exception, BadInput)
    assert "no day from 2031-01-01 to 2031-01-02 is published" in str(done.exception)


def test_the_first_written_of_two_rows_of_a_revision_counts(lake: SmallLake) -> None:
    """Older versions could write two rows; readers see the same one, in whatever order the table returns them."""
    written = datetime(2026, 5, 4, 0, 16, tzinfo=UTC)
    for day, delays in ((date(2026, 5, 5), (0, 9)), (date(2026, 5, 6), (9, 0))):
        for delay in delays:
            moment = written + timedelta(minutes=delay)
            lake.publish(day, {}, revision=1, events=delay, published_at=moment, run_id=f"run{delay}")
    assert [one.run_id for one in list(read_ledger(lake.settings).newest.values())[-2:]] == ["run0", "run0"]


def test_a_catalog_that_does_not_answer_now_may_do_so_at_the_next_try(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.publish(DAY, {})
    file = lake.settings.catalog_uri.removeprefix("jdbc:sqlite:")
    monkeypatch.setattr("sqlite3.dbapi2.connect", partial(sqlite3.connect, timeout=0.05))
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NotNow, match="database is locked"):
            load(lake.settings, "day_ledger")
    away = lake.settings.model_copy(update={"lake_catalog_uri": "jdbc:postgresql://127.0.0.1:1/lake?user=lake"})
    with pytest.raises(NotNow, match="does not answer"):
        load(away, "day_ledger")


def test_status_names_what_is_missing_and_how_to_get_it(own_settings: Settings) -> None:
    printed = _daybook("status")
    assert printed.exit_code == 1, "the stack is not up"
    assert _daybook("status", "--json").exit_code == 0, "the stack is not looked at"
    assert printed.stdout.splitlines() == [
        "The stack is not up; `daybook up` starts it.",
        "",
        "No day is published yet; `make demo` generates and publishes one.",
    ]


@pytest.mark.parametrize(
    ("name", "day", "message"),
    [
        ("event_popularity", "2026-05-04", "2026-05-04 is not published; published days: 2026-05-03. Build it with"),
        ("event_popularity", "2026-13-01", "'2026-13-01' is not a day"),
        (
            "popularity",
            "2026-05-03",
            "there is no answer 'popularity'; the answers are: daily_activity, event_popularity",
        ),
    ],
)
def test_bad_input_names_what_there_is(lake: SmallLake, name: str, day: str, message: str) -> None:
    lake.publish(DAY, {"event_popularity": lake.put("event_popularity", DAY, SWORD)})
    error = _daybook("answer", name, "--day", day).exception
    assert isinstance(error, BadInput)
    assert str(error).startswith(message)
    assert error.exit_status == 2


ODD_DAYS = [date(2014, 1, 1) + timedelta(days=4 * number) for number in range(1000)]
"""Days from clients with wrong clocks."""


def test_status_stays_readable_with_a_thousand_odd_days(lake: SmallLake) -> None:
    lake.publish(DAY, {})
    lake.land({DAY: 12, **dict.fromkeys(ODD_DAYS, 1)})
    output = _daybook("status").stdout
    assert "not published yet: 1,000 days from 2014-01-01 to 2024-12-10 with 1,000 records." in output
    assert len(output.splitlines()) < 20
    assert "2019-06-" not in output
    every = _daybook("status", "--all").stdout
    assert [str(day) in every for day in ODD_DAYS].count(True) == 1000


def test_many_published_days_and_notices_are_cut_to_the_newest(lake: SmallLake) -> None:
    for number in range(32):
        day = date(2026, 5, 1) + timedelta(days=number)
        lake.publish(day, {}, revision=2, receipt=f"{day} r2: +1 events")
    output = _daybook("status").stdout
    days = [line.split()[0] for line in output.splitlines() if line.startswith(" 20") and "yes" in line]
    assert days == [str(date(2026, 5, 1) + timedelta(days=number)) for number in range(4, 32)]
    assert "Published days, the newest 28 of 32 (`daybook status --all` lists every one)" in output
    assert output.count(" r2: ") == 10
    assert _daybook("status", "--all").stdout.count(" r2: ") == 32


def test_a_dismissed_day_is_hidden_until_another_record_of_it_lands(lake: SmallLake) -> None:
    odd, other = date(2014, 1, 1), date(2015, 7, 1)
    lake.land({odd: 2, other: 3})
    shown = _daybook("dismiss", "--day", str(odd))
    assert "1 day with 2 unpublished records.\nNothing was changed." in shown.stdout
    assert str(odd) in _daybook("status").stdout

    done = _daybook("dismiss", "--day", str(odd), "--note", "a broken clock")
    assert done.stdout.startswith("Dismissed: 1 day with 2 unpublished records. The records remain stored.")
    output = _daybook("status").stdout
    assert "Dismissed: 1 day 2014-01-01 with 2 records; `daybook status --all` lists them." in output
    assert str(other) in output
    [row] = [line for line in _daybook("status", "--all").stdout.splitlines() if "a broken clock" in line]
    assert row.split()[:3] == [str(odd), "2", "0"]

    lake.land({odd: 1})
    output = _daybook("status").stdout
    assert "Dismissed" not in output, "a record more: the day is listed again by itself"
    assert [line.split()[1] for line in output.splitlines() if line.strip().startswith(str(odd))] == ["3"]


def test_days_are_dismissed_by_a_range_and_listed_again_by_undo(lake: SmallLake) -> None:
    lake.land(dict.fromkeys(ODD_DAYS, 1))
    span = ("--from", "2014-01-01", "--to", "2024-06-30")
    done = _daybook("dismiss", *span, "--note", "broken clocks")
    assert done.stdout.startswith("Dismissed: 959 days with 959 unpublished records")
    output = _daybook("status").stdout
    assert "not published yet: 41 days from 2024-07-03 to 2024-12-10 with 41 records." in output
    assert _daybook("dismiss", *span, "--undo").stdout == "959 days will be listed again.\n"
    assert "not published yet: 1,000 days from 2014-01-01" in _daybook("status").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a day with --day, or a range with --from and --to"),
        (("--day", "2014-01-01", "--to", "2014-01-02"), "name a day with --day, or a range"),
        (("--from", "2014-01-02"), "name a day with --day, or a range"),
        (("--from", "2014-01-02", "--to", "2014-01-01"), "2014-01-02 is after 2014-01-01"),
        (("--day", "1.1.2014"), "is not a day; write it as YYYY-MM-DD"),
        (("--day", "2014-01-01", "--note", "x"), "no day from 2014-01-01 to 2014-01-01 waits to be published"),
        (("--day", "2014-01-01", "--undo"), "no day from 2014-01-01 to 2014-01-01 is dismissed"),
    ],
)
def test_days_that_cannot_be_dismissed_are_refused(lake: SmallLake, arguments: tuple[str, ...], message: str) -> None:
    lake.land({DAY: 1})
    refused = _daybook("dismiss", *arguments)
    assert isinstance(refused.exception, BadInput)
    assert message in str(refused.exception)
    assert not dismissals_file(lake.settings).exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 1}', '{"2014-01-01": {"records": "many"}}'])
def test_a_damaged_file_of_dismissals_is_one_line(lake: SmallLake, text: str) -> None:
    lake.land({DAY: 1})
    dismissals_file(lake.settings).parent.mkdir()
    dismissals_file(lake.settings).write_text(text, encoding="utf-8")
    refused = _daybook("status").exception
    assert isinstance(refused, DaybookError)
    assert "no record is affected. Remove the file" in str(refused)


@pytest.mark.parametrize(
    ("states", "code"), [(("healthy", "healthy"), 0), (("healthy", "starting"), 1), (("backoff", "healthy"), 1)]
)
def test_status_ends_with_1_unless_every_part_is_healthy(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch, states: tuple[str, ...], code: int
) -> None:
    lines = [(f"part{at}", state, "") for at, state in enumerate(states)]
    monkeypatch.setattr("daybook.cli.days.stack_lines", lambda settings: lines)
    lake.publish(DAY, {})
    printed = _daybook("status")
    assert printed.exit_code == code
    assert "2026-05-03" in printed.stdout, "the days are printed all the same"


def on_a_terminal_of(width: int, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Print tables as on a terminal of the given width."""
    out = io.StringIO()
    monkeypatch.setattr(
        "daybook.cli.output.rich_console", lambda: Console(file=out, force_terminal=True, no_color=True, width=width)
    )
    return out


def plain_lines(out: io.StringIO) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in out.getvalue().splitlines()]


def test_a_narrow_terminal_gets_fewer_columns_and_the_hidden_ones_are_named(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = on_a_terminal_of(80, monkeypatch)
    lake.publish(DAY, {}, sent=20_000, accepted=20_000, landed=20_000, events=20_000)
    _daybook("status")
    lines = plain_lines(out)
    assert all(len(line) <= 80 for line in lines[1:]), lines
    assert lines[0].startswith("Published days (not shown, the terminal is too narrow: published_at")
    assert any(line.split()[:1] == ["2026-05-03"] and "20,000" in line for line in lines)
    out = on_a_terminal_of(160, monkeypatch)
    _daybook("status")
    assert plain_lines(out)[0] == "Published days"


def test_long_cells_are_wrapped_and_too_many_columns_become_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    out = on_a_terminal_of(60, monkeypatch)
    note = "a sentence of many words that does not fit into the line of a terminal of sixty columns"
    print_table("t", [{"day": "2026-05-03", "events": 20_000, "note": note}])
    lines = plain_lines(out)
    assert all(len(line) <= 60 for line in lines)
    assert " ".join(" ".join(lines).split()).count("terminal") == 1
    out = on_a_terminal_of(60, monkeypatch)
    print_table("t", [{"measure": "guild_joins", "before": "1,800 (+2,100 %)", "note": note}], numbers=("before",))
    assert "guild_joins" in out.getvalue(), "no short name is broken for a long text"
    out = on_a_terminal_of(60, monkeypatch)
    print_table("t", [{f"column_{at}": f"value_{at}" for at in range(12)}])
    assert [line.split() for line in plain_lines(out) if "value" in line] == [
        [f"column_{at}", f"value_{at}"] for at in range(12)
    ]


def test_an_answer_without_rows_of_the_day_is_empty(lake: SmallLake) -> None:
    pinned = lake.put("event_popularity", date(2026, 5, 4), SWORD)
    lake.publish(DAY, {"event_popularity": pinned})
    assert answer_rows(read_ledger(lake.settings), "event_popularity", str(DAY)) == []
    assert read_answer(lake.settings, "event_popularity", str(DAY)).empty


def test_a_revision_has_the_columns_of_its_table() -> None:
    assert [field.name for field in fields(Revision)] == SCHEMAS[DAY_LEDGER].names


def test_a_ledger_of_an_older_version_lacks_a_column(lake: SmallLake) -> None:
    lake.publish(DAY, {}, rules_version="lateness 30 days", events=11)
    with lake.table(DAY_LEDGER).update_schema(allow_incompatible_changes=True) as schema:
        schema.delete_column("rules_version")
    [found] = read_ledger(lake.settings).revisions
    assert (found.rules_version, found.events) == (None, 11)
