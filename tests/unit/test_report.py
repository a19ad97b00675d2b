"""The HTML reports: self-contained, escaped, complete."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import shlex
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from daybook.analysis.comparisons import Comparison
from daybook.analysis.drift import Drift, Driver
from daybook.analysis.drops import Drop, Total
from daybook.errors import BadInput
from daybook.files import write_private
from daybook.formatting import csv_text
from daybook.lake.ledger import read_ledger
from daybook.pipeline.balance import AnswerChange, RowChange, changes_json
from daybook.report import content, pages, write
from daybook.report.content import SHOWN_ROWS, day_content
from daybook.report.pages import day_page, index_page, message_page
from daybook.report.write import day_record, write_report, write_report_of_run
from daybook.settings import Settings
from daybook.sql.answers import ACROSS_DAYS, answers
from tests.hostile_text import commands_a_terminal
from tests.unit.small_lake import BuiltOnce, SmallLake

DAY = date(2026, 5, 3)
MIX = "provider_event_popularity"
HOSTILE = '<script>alert("x")</script><img src=https://evil.example/a.png onerror=alert(1)>&amp;{{ 7*7 }}'
ESCAPED = "https://evil.example/a.png"
# elements that call a server or run code, and those without an end tag
FORBIDDEN = {"script", "img", "iframe", "link", "object", "embed", "form", "base"}
VOID = {"meta", "link", "img", "br", "hr", "input", "base", "embed"}


class Page(HTMLParser):
    """Reads a page like a browser: elements, the texts of cells, and whether every opened element is closed."""

    def __init__(self, file: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data


def a_small_day(lake: SmallLake) -> None:
    popularity = lake.put(
        "event_popularity", DAY, ("purchase_item", HOSTILE, 1234, 3, 0.6, 1), ("join_guild", None, 4, 2, 0.4, 2)
    )
    providers = lake.put("provider_usage", DAY, (HOSTILE, 10, 3, 1.0, 0.5))
    lake.publish(DAY, {"provider_usage": providers, "event_popularity": popularity}, receipt=HOSTILE, sent=0)


@pytest.fixture
def lake(built_once: BuiltOnce) -> SmallLake:
    return built_once(a_small_day)


def test_values_from_players_are_shown_only_as_text(lake: SmallLake) -> None:
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    assert page.open == []
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert HOSTILE in page.texts["td"], "the item"
    assert HOSTILE in page.texts["th"], "the provider"
    assert any(HOSTILE in text for text in page.texts["p"]), "the receipt"


def test_a_page_asks_no_server(lake: SmallLake) -> None:
    for file in write_report(lake.settings, "2026-05-03"):
        page = Page(file)
        targets = [
            value for _, attrs in page.tags for name, value in attrs.items() if name in ("href", "src", "action")
        ]
        ids = {f"#{attrs['id']}" for _, attrs in page.tags if "id" in attrs}
        beside = {"index.html", "2026-05-03.html", "2026-05-03.json"}
        rows = {f"2026-05-03/{name}.csv" for name in ("event_popularity", "provider_usage")}
        assert set(targets) <= ids | beside | rows
        assert all((file.parent / target).exists() for target in targets if target and target[0] != "#")
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face|srcset|<link|xlink", text.replace(ESCAPED, ""))
        style = "".join(page.texts["style"])
        assert "url(" not in style
        assert "@import" not in style


def test_the_two_questions_come_first_with_their_numbers(lake: SmallLake) -> None:
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    assert page.texts["h2"][:2] == [
        "What do users do?",
        "Which internet host providers do they come from?",
    ]
    assert page.texts["h1"] == ["2026-05-03"]
    cells = page.texts["td"]
    assert "1,234" in cells
    assert "60.0%" in cells
    assert "–" in cells, "a guild join has no item"
    ledger = "raw records of the day = events + duplicates + rejected"
    assert ledger in page.texts["th"]
    assert "scheduled__2026-05-03" in page.texts["code"]


def test_the_page_of_a_restated_day_lists_the_changed_rows_of_each_answer(lake: SmallLake) -> None:
    first = write_report(lake.settings, str(DAY))[0].read_text(encoding="utf-8")
    assert "differ from revision" not in first
    risen = RowChange({"provider": "comcast", "item": HOSTILE}, {"events": 7}, {"events": 48})
    changes = {"provider_event_popularity": AnswerChange(added=2, removed=0, changed=1, rows=[risen])}
    lake.publish(DAY, {}, revision=2, receipt="41 more", changes=changes_json(changes))
    [file, *_] = write_report(lake.settings, str(DAY))
    page = Page(file)
    assert any("differ from revision 1" in text for text in page.texts["caption"])
    row = next(text for text in page.texts["td"] if "comcast" in text)
    assert HOSTILE in row
    assert "7" in row
    assert "48" in row
    assert "script" not in {tag for tag, _ in page.tags}


def test_tables_can_be_read_by_a_screen_reader(lake: SmallLake) -> None:
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") == 5
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= ids


def test_a_day_without_events_answers_every_question_with_nothing(lake: SmallLake) -> None:
    day = date(2026, 5, 4)
    lake.publish(day, {}, landed=0, events=0, duplicates=0, rejected=0)
    page = Page(write_report(lake.settings, day.isoformat())[0])
    assert page.texts["p"].count("No rows: no such events happened on this day.") == len(answers())


def test_the_page_of_an_unbalanced_day_shows_the_difference(lake: SmallLake) -> None:
    lines = '[{"line": "sent = accepted", "left": 12, "right": 10, "ok": false}]'
    lake.publish(DAY, {}, revision=2, balanced=False, lines=lines)
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    bad = [attrs for tag, attrs in page.tags if tag == "span" and attrs.get("class") == "bad"]
    assert len(bad) == 2
    assert {"Does not balance", "no, by 2"} <= set(page.texts["span"])


def test_the_index_lists_every_day_and_links_those_with_a_page(lake: SmallLake) -> None:
    lake.publish(date(2026, 5, 2), {})
    lake.publish(date(2026, 5, 4), {})
    files = write_report(lake.settings, "2026-05-03", ["2026-05-04"])
    assert [file.name for file in files] == ["2026-05-03.html", "2026-05-04.html", "index.html"]
    index = Page(files[-1])
    assert [text for text in index.texts["th"] if text.startswith("2026")] == ["2026-05-02"]
    assert index.texts["a"] == ["2026-05-04", "2026-05-03"]
    beside = ["2026-05-03", "2026-05-03.json", "2026-05-04.json", "index.json"]
    there = sorted(file.name for file in lake.settings.reports_dir.iterdir())
    assert there == sorted([*beside, *(file.name for file in files)]), "no half of a file is left"


def test_the_index_shows_the_coverage_of_each_day(lake: SmallLake) -> None:
    two = lake.put("provider_usage", date(2026, 5, 4), ("comcast", 6, 3, 0.6, 0.875), ("(bare)", 4, 1, 0.4, 0.875))
    lake.publish(date(2026, 5, 4), {"provider_usage": two})
    lake.publish(date(2026, 5, 5), {}, landed=0, events=0, duplicates=0, rejected=0)
    index = Page(write_report(lake.settings, "2026-05-03", ["2026-05-04", "2026-05-05"])[-1])
    columns = [text for text in index.texts["th"] if text[:1].isalpha()]
    cells = index.texts["td"]
    a_row = len(columns) - 1  # the day has another kind of cell
    assert cells[columns.index("Coverage") - 1 :: a_row] == ["–", "87.5%", "50.0%"]


def test_the_index_reads_only_the_days_that_were_written_since_the_last_one(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [date(2026, 5, number) for number in (4, 5, 6, 7)]
    for day in days:
        put = lake.put("provider_usage", day, ("comcast", 6, 3, 1.0, 0.875))
        lake.publish(day, {"provider_usage": put})
    write_report(lake.settings, "2026-05-03", [str(day) for day in days])
    index = lake.settings.reports_dir / "index.json"
    before = index.read_text(encoding="utf-8")
    assert [one["coverage"] for one in json.loads(before)["days"]] == [0.875, 0.875, 0.875, 0.875, 0.5]
    read: list[str] = []
    as_it_is = content.written_record

    def written_record(file: Path) -> dict[str, Any] | None:
        read.append(file.name)
        return as_it_is(file)

    monkeypatch.setattr(content, "written_record", written_record)

    write_report_of_run(lake.settings, "2026-05-01", [])
    assert read == ["index.json"]
    assert index.read_text(encoding="utf-8") == before

    # replaced by another of the same time
    file = lake.settings.reports_dir / "2026-05-04.json"
    replaced, time = file.with_suffix(".new"), file.stat().st_mtime_ns
    replaced.write_text(file.read_text(encoding="utf-8").replace("0.875", "0.25"), encoding="utf-8")
    os.utime(replaced, ns=(time, time))
    replaced.replace(file)
    read.clear()
    write_report_of_run(lake.settings, "2026-05-01", [])
    assert read == ["index.json", "2026-05-04.json"]
    changed = json.loads(index.read_text(encoding="utf-8"))["days"]
    assert [one["coverage"] for one in changed] == [0.875, 0.875, 0.875, 0.25, 0.5]

    for broken in ("{", "[]", "{}"):
        index.write_text(broken, encoding="utf-8")
        write_report_of_run(lake.settings, "2026-05-01", [])
        assert json.loads(index.read_text(encoding="utf-8"))["days"] == changed
    file.unlink()
    write_report_of_run(lake.settings, "2026-05-01", [])
    [missing] = [one for one in json.loads(index.read_text(encoding="utf-8"))["days"] if one["day"] == "2026-05-04"]
    assert (missing["coverage"], missing["premise"], missing["alarms"]) == (None, None, None)


def test_the_index_can_be_read_by_a_screen_reader(lake: SmallLake) -> None:
    index = Page(write_report(lake.settings, "2026-05-03")[-1])
    tags = [tag for tag, _ in index.tags]
    assert tags.count("main") == tags.count("h1") == tags.count("caption") == tags.count("table") == 1
    assert ("main", {}) in index.tags, "a role of its own would take the landmark away"
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in index.tags if tag == "th")
    [region] = [attrs for tag, attrs in index.tags if attrs.get("role") == "region"]
    assert region["tabindex"] == "0", "a keyboard must be able to scroll it"
    assert region["aria-label"]


WEEK = tuple(DAY - timedelta(days=back) for back in range(7, 0, -1))
PREMISES = [
    Drift("event mix", 0.021, 0.015, 0.03, 0.012, 0.05, "holds", "The event mix is as usual.", (), WEEK),
    Drift(
        "provider mix", 0.072, 0.055, 0.09, 0.018, 0.05, "deviates", f"{HOSTILE} has risen.",
        (Driver(HOSTILE, 0.4, 0.3, 0.8),), WEEK,
    ),
]  # fmt: skip
DROPS = [Drop(HOSTILE, "purchase_item", None, 3, 40.5, 28, 0.926, f"knife fell on {HOSTILE}.")]
COMPARISONS = [
    Comparison("events", 1234, 1000, 1300.5, None),
    Comparison("guild_joins", 3, 0, None, 2),
]
TOO_EARLY = [Drift("event mix", None, None, None, None, 0.1, "too few days", "One day is too few.", (), WEEK[:1])]


@pytest.fixture
def whole(built_once: BuiltOnce) -> SmallLake:
    return built_once(a_whole_day)


def a_whole_day(lake: SmallLake) -> None:
    """A day with data for every picture, with players, and with more providers than a collapsed table shows."""
    a_small_day(lake)
    providers = ["comcast", HOSTILE, "(bare)", *(f"isp{at}" for at in range(25))]
    events = {name: 100 - at for at, name in enumerate(providers)}
    total = sum(events.values())
    snapshots = {
        "event_popularity": lake.put(
            "event_popularity", DAY, ("purchase_item", HOSTILE, 900, 3, 0.6, 1), ("join_guild", None, 600, 2, 0.4, 2)
        ),
        "provider_usage": lake.put(
            "provider_usage", DAY, *((name, count, 3, count / total, 0.875) for name, count in events.items())
        ),
        "provider_event_popularity": lake.put(
            "provider_event_popularity",
            DAY,
            *((name, "purchase_item", HOSTILE, count - 30, 2, 1) for name, count in events.items()),
            *((name, "join_guild", None, 30, 2, 2) for name in events),
        ),
        "hourly_activity": lake.put("hourly_activity", DAY, (7, 500, 10), (20, 1000, 30)),
        "daily_activity": lake.put("daily_activity", DAY, (1500, 321, 4.67, 900, 600, 20)),
        "user_activity": lake.put("user_activity", DAY, ("secret-player", 5, 3, 2), ("=other-player", 4, 3, 1)),
        "rejected_events": lake.put("rejected_events", DAY, ("conflict", "x"), ("no_time", "x"), ("no_time", HOSTILE)),
    }
    changed = AnswerChange(0, 0, 1, [RowChange({"user_id": "secret-player"}, {"events": 4}, {"events": 5})])
    for back in range(1, 6):
        lake.publish(DAY - timedelta(days=back), {}, events=1400 + back)
    lake.publish(
        DAY,
        snapshots,
        revision=2,
        events=1500,
        rejected=3,
        receipt="2026-05-03 r2: +41 events",
        changes=changes_json({"user_activity": changed}),
        checks='[{"check": "provider_coverage", "severity": "warn", "rows": 1}]',
    )


def drawn(tmp_path: Path, html: str) -> Page:
    file = tmp_path / "drawn.html"
    file.write_text(html, encoding="utf-8")
    return Page(file)


TOTAL = Total(20_000, 900.0, 750, 1_080, "rose", "Events: 22 times the usual 900 (20,000), more than chance explains.")


def judged(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "premise": PREMISES, "alarms": DROPS, "comparisons": COMPARISONS}


def test_headings_go_down_one_step_at_a_time(whole: SmallLake, tmp_path: Path) -> None:
    page = drawn(tmp_path, day_page(judged(day_content(read_ledger(whole.settings), "2026-05-03"))))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels
    landmarks = [tag for tag, _ in page.tags if tag in ("header", "nav", "main", "footer")]
    assert landmarks == ["header", "nav", "main", "footer"]
    assert page.texts["h2"] == [
        "What do users do?",
        "Which internet host providers do they come from?",
        "Is the day as usual?",
        "How sure are we?",
        "What did each revision change?",
        "Every answer, with its numbers",
        "How it was made",
    ]


def test_every_picture_has_its_finding_in_words(whole: SmallLake, tmp_path: Path) -> None:
    page = drawn(tmp_path, day_page(judged(day_content(read_ledger(whole.settings), "2026-05-03"))))
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    kinds = [str(attrs["aria-label"]).split(",")[0] for attrs in pictures]
    assert kinds == ["Bar chart", "Bar chart", "Bar chart", "Heat map", "Line chart", "Range plot"]
    assert all(attrs["role"] == "img" for attrs in pictures)
    assert len(page.texts["figcaption"]) == len(pictures)
    ids = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert max(ids.values()) == 1
    labels = {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs}
    assert labels <= set(ids)
    jumps = {str(attrs["href"])[1:] for _, attrs in page.tags if str(attrs.get("href", "")).startswith("#")}
    assert jumps <= set(ids)


def test_the_answers_are_summarized_in_plain_sentences(whole: SmallLake) -> None:
    page = Page(write_report(whole.settings, "2026-05-03")[0])
    leads = [text for text in page.texts["p"] if "Most popular" in text or "Most events come" in text]
    assert leads[0] == (
        "321 players made 1,500 events, 4.7 each: 60.0% purchases and 40.0% guild joins. Most popular: "
        f"purchase {HOSTILE} (60.0%) and join guild (40.0%). The busiest hour begins at 20:00 UTC (66.7%)."
    )
    assert leads[1].startswith("Most events come from comcast (")
    assert "these 3 of 27 known providers account for" in leads[1]
    assert leads[1].endswith("The provider is unknown for 12.5% of the events.")


def test_hostile_text_is_text_in_every_part_of_the_page(whole: SmallLake, tmp_path: Path) -> None:
    page = drawn(tmp_path, day_page(judged(day_content(read_ledger(whole.settings), "2026-05-03"))))
    assert page.open == []
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert any(text == f"knife fell on {HOSTILE}." for text in page.texts["li"])
    assert any(f"{HOSTILE} has risen." in text for text in page.texts["p"])
    assert any("<script>" in text for text in page.texts["text"]), "a label of a chart"
    assert any(HOSTILE in text for text in page.texts["code"]), "the command to trace a row"


def test_a_name_cannot_turn_or_hide_the_text_around_it(own_settings: Settings) -> None:
    lake, names = SmallLake(own_settings), ("\u202egnp.exe", "sw\u200bord", "\u2067abc", "\x1b[2J", "\x9b1m")
    rows = [(name, 10, 3, 0.2, 1.0) for name in names]
    snapshot = lake.put("provider_usage", DAY, *rows)
    lake.publish(DAY, {"provider_usage": snapshot}, receipt="\u202e leads", sent=0)
    for file in write_report(lake.settings, "2026-05-03"):
        assert commands_a_terminal(file.read_text(encoding="utf-8")) == set()
    page = Page(lake.settings.reports_dir / "2026-05-03.html")
    assert "\\u202egnp.exe" in page.texts["th"]
    assert commands_a_terminal(message_page("\u202e", ["\u2067"], {}, {})) == set()


def test_a_row_of_hostile_text_makes_a_command_that_only_quotes_it(lake: SmallLake) -> None:
    snapshot = lake.put("event_popularity", DAY, ("purchase_item", "'; rm -rf / #`$(x)`", 9, 1, 1.0, 1))
    lake.publish(DAY, {"event_popularity": snapshot}, revision=2)
    [table] = day_content(read_ledger(lake.settings), "2026-05-03")["answers"]
    words = shlex.split(table["commands"][1])
    assert words[:6] == ["daybook", "trace", "event_popularity", "--day", "2026-05-03", "--where"]
    assert words[6:] == ["event_type = 'purchase_item' AND item = '\\'; rm -rf / #`$(x)`'"]


def test_players_are_never_shown(whole: SmallLake) -> None:
    write_report(whole.settings, "2026-05-03")
    files = [file for file in whole.settings.reports_dir.rglob("*") if file.is_file()]
    assert "user_activity" in (whole.settings.reports_dir / "2026-05-03.html").read_text(encoding="utf-8")
    for file in files:
        assert "-player" not in file.read_text(encoding="utf-8"), file.name
    assert "user_activity.csv" not in {file.name for file in files}
    page = Page(whole.settings.reports_dir / "2026-05-03.html")
    assert any(text.startswith("2 rows, one for each player") for text in page.texts["p"])
    assert "daybook answer user_activity --day 2026-05-03" in page.texts["code"]


def test_files_and_table_agree(whole: SmallLake) -> None:
    [file, _] = write_report(whole.settings, "2026-05-03")
    payload = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    content = day_content(read_ledger(whole.settings), "2026-05-03")
    assert payload == json.loads(json.dumps(day_record(content)))
    assert len(payload["answers"]) == 6
    page = Page(file)
    for table in content["answers"]:
        if table["hidden"]:
            assert (payload["answers"][table["name"]]["rows"], table["hidden"]) == ([], 2)
            continue
        assert payload["answers"][table["name"]]["rows"] == table["rows"]
        beside = file.parent / "2026-05-03" / f"{table['name']}.csv"
        assert beside.read_bytes().startswith(codecs.BOM_UTF8), "or Excel garbles letters outside ASCII"
        text = beside.read_bytes().decode("utf-8-sig")
        assert text.count("\r\n") == text.count("\n") == len(table["rows"]) + 1, "RFC 4180"
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        message = [
            {"day": "2026-05-03", **{name: "" if cell is None else str(cell) for name, cell in row.items()}}
            for row in table["rows"]
        ]
        assert rows == message
        shown = {pages._cell(cell, name) for row in table["rows"] for name, cell in row.items()}
        assert shown <= {*page.texts["td"], *page.texts["th"]}, table["name"]


def test_keys_of_the_json_are_a_promise(whole: SmallLake) -> None:
    record = day_record(judged(day_content(read_ledger(whole.settings), "2026-05-03")))
    assert list(record) == [
        *("day", "revision", "published_at", "balanced", "counts", "ledger", "offsets", "warnings", "rejected"),
        *("receipts", "changes", "premise", "alarms", "total", "comparisons", "looks_back_on", "neighbours"),
        *("answers", "made"),
    ]
    assert record["rejected"] == [{"reason": "no_time", "records": 2}, {"reason": "conflict", "records": 1}]
    assert [one["revision"] for one in record["receipts"]] == [1, 2]
    assert (record["premise"][1]["verdict"], record["premise"][1]["drivers"][0]["share"]) == ("deviates", 0.4)
    assert (record["alarms"][0]["expected"], record["comparisons"][0]["same_weekday"]) == (40.5, None)
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "=cmd|' /C calc'!A0", "\n=1"])
def test_a_spreadsheet_takes_no_text_for_a_formula(text: str) -> None:
    [row] = csv.DictReader(
        io.StringIO(csv_text(["item", "events"], [{"item": text, "events": -3}], for_spreadsheets=True), newline="")
    )
    assert row == {"item": f"'{text}", "events": "-3"}


def test_a_spreadsheet_with_semicolons_runs_no_formula_either() -> None:
    """If the comma is the decimal separator, a spreadsheet reads ``sword;=1+1`` as two cells."""
    text = csv_text(["item"], [{"item": "sword;=1+1;;@A1; -2"}], for_spreadsheets=True)
    assert text.splitlines()[1] == "sword;'=1+1;;'@A1; -2"


def test_files_of_answers_that_are_gone_go(whole: SmallLake) -> None:
    folder = whole.settings.reports_dir / "2026-05-03"
    folder.mkdir(parents=True)
    (folder / "user_activity.csv").write_text("user_id\nsecret-player\n", encoding="utf-8")
    write_report(whole.settings, "2026-05-03")
    assert {file.stem for file in folder.iterdir()} == {
        *("event_popularity", "provider_usage", "provider_event_popularity", "hourly_activity", "daily_activity")
    }


def test_a_page_is_written_after_what_it_links_to(whole: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    as_it_is = write_private

    def replace(file: Path, text: str) -> Path:
        order.append(file.name)
        return as_it_is(file, text)

    monkeypatch.setattr(write, "write_private", replace)
    write_report(whole.settings, "2026-05-03")
    pages = [name for name in order if not name.endswith(".csv")]
    assert pages == ["2026-05-03.json", "2026-05-03.html", "index.json", "index.html"]
    assert order[-1] == "index.html"
    assert len([name for name in order if name.endswith(".csv")]) == 5 + len(answers(ACROSS_DAYS))


def test_many_rows_are_collapsed_and_all_are_present(whole: SmallLake) -> None:
    page = Page(write_report(whole.settings, "2026-05-03")[0])
    assert f"Rows {SHOWN_ROWS + 1} to 28 of 28" in page.texts["summary"]
    assert f"provider_usage, rows {SHOWN_ROWS + 1} to 28" in page.texts["caption"]
    assert "isp24" in page.texts["th"]


def test_each_answer_shows_how_it_was_found(whole: SmallLake) -> None:
    page = Page(write_report(whole.settings, "2026-05-03")[0])
    assert page.texts["summary"].count("Columns, SQL and commands") == 6
    code = "\n".join(page.texts["code"])
    assert answers()["event_popularity"].statement.strip() in code
    assert "daybook answer hourly_activity --day 2026-05-03" in code
    assert "daybook trace hourly_activity --day 2026-05-03 --where 'hour = 7'" in code
    assert "part of the day's events, 0 to 1" in page.texts["dd"]
    titles = {attrs["title"] for tag, attrs in page.tags if tag == "th" and "title" in attrs}
    assert "distinct players" in titles


def test_the_uncertainty_is_reported_in_numbers(whole: SmallLake) -> None:
    page = Page(write_report(whole.settings, "2026-05-03")[0])
    assert {"(bare)", "no_time", "conflict"} <= set(page.texts["th"])
    assert any("87.5%" in text for text in page.texts["p"])
    assert any("Most events of a day have a known provider" in text for text in page.texts["li"])
    assert any(text.startswith("2026-05-03 r2: +41 events") for text in page.texts["li"])
    assert any(HOSTILE in text for text in page.texts["li"]), "the first revision's receipt too"


def test_a_day_that_cannot_be_judged_yet_is_reported_as_such(whole: SmallLake) -> None:
    page = Page(write_report(whole.settings, "2026-05-03")[0])
    assert {"Event mix: too early to say.", "Provider mix: too early to say."} <= set(page.texts["span"])
    assert any("cannot be compared yet" in text for text in page.texts["p"])
    assert (
        "Drops on 2026-05-03 cannot be checked yet: the check needs 7 earlier days with events and has 0."
        in page.texts["p"]
    )
    payload = json.loads((whole.settings.reports_dir / "2026-05-03.json").read_text(encoding="utf-8"))
    assert [one["verdict"] for one in payload["premise"]] == ["too few days", "too few days"]
    assert payload["alarms"].startswith("Drops on 2026-05-03 cannot be checked yet")
    assert [one["measure"] for one in payload["comparisons"]] == ["events", "users", "purchases", "guild_joins"]


def test_premise_alarms_and_comparisons_are_shown(whole: SmallLake, tmp_path: Path) -> None:
    page = drawn(tmp_path, day_page(judged(day_content(read_ledger(whole.settings), "2026-05-03"))))
    assert {"Event mix: as usual.", "Provider mix: different.", "+23.4%", "-5.1%", "up from 0"} <= set(
        page.texts["span"]
    )
    cells = page.texts["td"]
    assert {"1,234", "40.0%", "92.6%", "40.50"} <= set(cells)
    calm = drawn(
        tmp_path,
        day_page(
            {**judged(day_content(read_ledger(whole.settings), "2026-05-03")), "alarms": [], "alarms_say": "No drop."}
        ),
    )
    assert "No drop." in calm.texts["p"]
    waits = drawn(tmp_path, day_page({**day_content(read_ledger(whole.settings), "2026-05-03"), "premise": TOO_EARLY,
                                      "alarms": "Five days are too few <b>."}))  # fmt: skip
    assert "Five days are too few <b>." in waits.texts["p"]
    assert "Event mix: too early to say." in waits.texts["span"]
    assert len([tag for tag, _ in waits.tags if tag == "svg"]) == 5, "there is no distance to draw"


def test_a_change_is_shown_in_its_own_measure() -> None:
    assert pages._change(9, 10) == "-10.0%"
    assert pages._change(10, 10) == "the same"
    assert pages._change(1, 0) == "up from 0"
    assert pages._cell(20511.4, "events") == "20,511"


def test_a_share_is_known_by_the_end_of_its_name() -> None:
    assert [pages._cell(0.5, name) for name in ("share", "buyers_share", "coverage", "lift", "shares_of")] == [
        *("50.0%", "50.0%", "50.0%", "0.50", "0.50")
    ]


def test_the_overview_agrees_with_the_days_own_files(whole: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = day_content
    monkeypatch.setattr(write, "day_content", lambda settings, day: judged(as_it_is(settings, day)))
    index = Page(write_report(whole.settings, "2026-05-03")[-1])
    columns = [text for text in index.texts["th"] if text[:1].isalpha()]
    cells = index.texts["td"][: len(columns) - 1]
    assert cells[columns.index("Alarms") - 1] == "1"
    assert "different" in index.texts["span"], "a reader's word, and no distance"
    assert "Mix" in columns
    assert [attrs["role"] for tag, attrs in index.tags if tag == "svg"] == ["img"]


def test_the_overview_shows_the_answers_across_days(tmp_path: Path) -> None:
    rows = [{"event_date": "2026-05-03", "users": 7, "new_share": 0.25}]
    table: dict[str, Any] = {
        "name": "new_users",
        "area": ACROSS_DAYS,
        "day": "2026-05-03",
        "question": "How many are new?",
        "grain": "one row per day",
    }
    table |= {"columns": list(rows[0]), "meanings": {}, "numbers": ["users", "new_share"], "rows": rows, "hidden": 0}
    table |= {"file": "across_days/new_users.csv", "commands": ["daybook answer new_users --day 2026-05-03"]}
    index = drawn(tmp_path, index_page({"pages": [], "written": set(), "waiting": "", "across": [table]}))
    assert index.texts["h2"] == ["Across days, up to 2026-05-03"]
    assert index.texts["h3"] == ["How many are new?"]
    assert "25.0%" in index.texts["td"]


def test_the_answers_across_days_are_written_with_the_overview(whole: SmallLake) -> None:
    write_report(whole.settings, "2026-05-03")
    folder = whole.settings.reports_dir
    payload = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert payload["days"][0]["day"] == "2026-05-03"
    assert payload["across"]["new_users"]["last_day"] == "2026-05-03"
    assert [row["new_users"] for row in payload["across"]["new_users"]["rows"]] == [2]
    assert {file.name for file in (folder / ACROSS_DAYS).iterdir()} == {f"{name}.csv" for name in answers(ACROSS_DAYS)}
    rows = list(csv.DictReader((folder / ACROSS_DAYS / "new_users.csv").open(encoding="utf-8-sig", newline="")))
    assert [(row["event_date"], row["users"], row["new_users"]) for row in rows] == [("2026-05-03", "2", "2")]
    index = Page(folder / "index.html")
    assert "How many players are new, and how many come back?" in index.texts["h3"]
    assert "across_days/new_users.csv" in {attrs.get("href") for tag, attrs in index.tags if tag == "a"}


def test_an_answer_across_days_that_no_page_is_young_enough_for_is_left_out(lake: SmallLake) -> None:
    [_, index] = write_report(lake.settings, "2026-05-03")
    assert "h3" not in Page(index).texts


def test_a_message_is_text_in_the_same_frame(tmp_path: Path) -> None:
    file = tmp_path / "message.html"
    html = message_page("Nothing", [HOSTILE], {"Do this": f"run {HOSTILE}"}, {"All days": "index.html"})
    file.write_text(html, encoding="utf-8")
    page = Page(file)
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    assert page.texts["p"][0] == HOSTILE
    assert page.texts["code"] == [f"run {HOSTILE}"]
    assert page.texts["a"] == ["All days"]
    assert page.texts["title"] == ["Nothing: Daybook"]


def test_a_run_whose_own_day_has_no_page_writes_those_of_the_days_it_restated(lake: SmallLake) -> None:
    written = write_report_of_run(lake.settings, "2026-05-01", ["2026-05-03"])
    assert [file.name for file in written] == ["2026-05-03.html", "index.html"]
    assert [file.name for file in write_report_of_run(lake.settings, "2026-05-01", [])] == ["index.html"]
    own = write_report_of_run(lake.settings, "2026-05-03", [])
    assert [file.name for file in own] == ["2026-05-03.html", "index.html"]


def test_a_day_without_a_page_leaves_the_reports_as_they_were(lake: SmallLake) -> None:
    with pytest.raises(BadInput, match="2026-05-01 is not published"):
        write_report(lake.settings, "2026-05-01")
    assert not lake.settings.reports_dir.exists()


def test_an_unusual_number_of_events_is_reported_first(whole: SmallLake, tmp_path: Path) -> None:
    content = {**day_content(read_ledger(whole.settings), "2026-05-03"), "total": TOTAL}
    html = day_page(content)
    assert 0 < html.index(TOTAL.sentence) < html.index("<main>"), "above everything else"
    assert html.count(TOTAL.sentence) == 2, "and where the day is compared"
    usual = day_page({**content, "total": replace(TOTAL, verdict="as usual")})
    assert usual.count(TOTAL.sentence) == 1
    assert usual.index(TOTAL.sentence) > usual.index("<main>")


def test_the_counts_of_a_day_add_up_on_sight(lake: SmallLake) -> None:
    """With late, duplicate and refused events: the page accounts for the difference of twenty."""
    counts = {"sent": 600, "refused": 50, "accepted": 550, "landed": 530, "events": 480, "duplicates": 50}
    lake.publish(DAY, {}, revision=2, rejected=0, **counts)
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    figures = [text for text in page.texts["dd"] if text.replace(",", "").isdigit()]
    assert dict(zip(page.texts["dt"][: len(figures)], figures, strict=True)) == {
        **{"Sent": "600", "Refused": "50", "Accepted": "550", "Other days": "20", "Landed": "530"},
        **{"Duplicates": "50", "Rejected": "0", "Events": "480", "Late": "0"},
    }
    [message] = [text for text in page.texts["p"] if text.startswith("Sent 600")]
    assert message == (
        "Sent 600 = refused 50 + accepted 550. Accepted 550 = on other days 20 + landed 530. "
        "Landed 530 = duplicates 50 + rejected 0 + events 480."
    )
    reported = json.loads((lake.settings.reports_dir / "2026-05-03.json").read_text(encoding="utf-8"))["counts"]
    assert reported == {**counts, "other_days": 20, "rejected": 0, "late": 0}


def test_live_traffic_and_others_records_are_counted_as_far_as_is_known(lake: SmallLake) -> None:
    lake.publish(DAY, {}, revision=2)
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    assert "Landed 12 = duplicates 1 + rejected 1 + events 10." in page.texts["p"]
    lake.publish(DAY, {}, revision=3, sent=9, refused=1, accepted=8)
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    [message] = [text for text in page.texts["p"] if text.startswith("Sent 9")]
    assert "Accepted 8 + 4 from other senders or runs = landed 12." in message


def test_buckets_without_a_provider_follow_the_providers(whole: SmallLake) -> None:
    table = next(one for one in day_content(read_ledger(whole.settings), "2026-05-03")["answers"] if one["name"] == MIX)
    names = list(dict.fromkeys(row["provider"] for row in table["rows"]))
    assert names[-1] == "(bare)"
    assert names[:-1] == sorted(names[:-1])


def test_an_answer_across_days_without_rows_reports_that_it_is_too_early(whole: SmallLake) -> None:
    index = Page(write_report(whole.settings, "2026-05-03")[-1])
    message = [text for text in index.texts["p"] if text.startswith("No rows")]
    assert message
    assert all("do not reach back far enough" in text for text in message)


def test_days_that_wait_are_shown_on_the_overview(lake: SmallLake) -> None:
    assert "not published yet" not in write_report(lake.settings, "2026-05-03")[-1].read_text(encoding="utf-8")
    lake.land({DAY: 12, date(2014, 1, 1): 3})
    html = write_report(lake.settings, "2026-05-03")[-1].read_text(encoding="utf-8")
    assert "Records that are not published yet:</strong> 1 day 2014-01-01 with 3 records, at 20" in html
