"""The pages: self-contained, escaped, whole."""

from __future__ import annotations

from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pyiceberg.table import Table

from daybook import lake as lake_module
from daybook.answers import answers
from daybook.errors import BadInput
from daybook.ledger import AnswerChange, RowChange, changes_json
from daybook.report import message_page, write_report
from daybook.settings import Settings
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)
HOSTILE = '<script>alert("x")</script><img src=https://evil.example/a.png onerror=alert(1)>&amp;{{ 7*7 }}'
# elements that ask a server or run code, and those without an end tag
FORBIDDEN = {"script", "img", "iframe", "link", "object", "embed", "form", "base"}
VOID = {"meta", "link", "img", "br", "hr", "input", "base", "embed"}


class Page(HTMLParser):
    """Reads a page as a browser would: elements, the texts of cells, and whether all that is opened is closed."""

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


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    lake = SmallLake(own_settings)
    popularity = lake.put(
        "event_popularity", DAY, ("purchase_item", HOSTILE, 1234, 3, 0.6, 1), ("join_guild", None, 4, 2, 0.4, 2)
    )
    providers = lake.put("provider_usage", DAY, (HOSTILE, 10, 3, 1.0, 0.5))
    lake.publish(DAY, {"provider_usage": providers, "event_popularity": popularity}, receipt=HOSTILE, sent=0)
    return lake


def test_what_players_send_is_text_and_nothing_else(lake: SmallLake) -> None:
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
        assert set(targets) <= {"index.html", "2026-05-03.html"}
        style = "".join(page.texts["style"])
        assert "url(" not in style
        assert "@import" not in style


def test_the_two_questions_come_first_with_their_numbers(lake: SmallLake) -> None:
    page = Page(write_report(lake.settings, "2026-05-03")[0])
    assert page.texts["h2"][:2] == [
        "Which events are most popular?",
        "Which internet host providers do our users come from?",
    ]
    assert page.texts["h1"] == ["2026-05-03"]
    cells = page.texts["td"]
    assert "1,234" in cells
    assert "60.0%" in cells
    assert "–" in cells, "a guild join has no item"
    ledger = "raw records of the day = events + duplicates + rejected"
    assert ledger in page.texts["th"]
    assert "scheduled__2026-05-03" in page.texts["code"]


def test_a_restated_page_says_which_rows_of_which_answers_changed(lake: SmallLake) -> None:
    first = write_report(lake.settings, str(DAY))[0].read_text(encoding="utf-8")
    assert "What changed" not in first
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
    assert tags.count("caption") == tags.count("table") == 4
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= ids


def test_a_day_without_events_answers_every_question_with_nothing(lake: SmallLake) -> None:
    day = date(2026, 5, 4)
    lake.publish(day, {}, landed=0, events=0, duplicates=0, rejected=0)
    page = Page(write_report(lake.settings, day.isoformat())[0])
    assert page.texts["p"].count("No rows: nothing of the kind happened on this day.") == len(answers())


def test_a_day_that_does_not_balance_says_so(lake: SmallLake) -> None:
    lines = '[{"line": "sent = accepted", "left": 12, "right": 10, "ok": false}]'
    lake.publish(DAY, {}, revision=2, balanced=False, lines=lines)
    texts = Page(write_report(lake.settings, "2026-05-03")[0]).texts["span"]
    assert texts == ["Does not balance", "no, by 2"]


def test_the_index_lists_every_day_and_links_those_with_a_page(lake: SmallLake) -> None:
    lake.publish(date(2026, 5, 2), {})
    lake.publish(date(2026, 5, 4), {})
    files = write_report(lake.settings, "2026-05-03", ["2026-05-04"])
    assert [file.name for file in files] == ["2026-05-03.html", "2026-05-04.html", "index.html"]
    index = Page(files[-1])
    assert [text for text in index.texts["th"] if text.startswith("2026")] == ["2026-05-02"]
    assert index.texts["a"] == ["2026-05-04", "2026-05-03"]
    assert sorted(file.name for file in lake.settings.reports_dir.iterdir()) == [file.name for file in files]


def test_the_index_says_how_much_of_each_day_has_a_known_provider(lake: SmallLake) -> None:
    two = lake.put("provider_usage", date(2026, 5, 4), ("comcast", 6, 3, 0.6, 0.875), ("(bare)", 4, 1, 0.4, 0.875))
    lake.publish(date(2026, 5, 4), {"provider_usage": two})
    lake.publish(date(2026, 5, 5), {}, landed=0, events=0, duplicates=0, rejected=0)
    index = Page(write_report(lake.settings, "2026-05-03")[-1])
    columns = [text for text in index.texts["th"] if text[:1].isalpha()]
    cells = index.texts["td"]
    a_row = len(columns) - 1  # the day stands in a cell of another kind
    assert cells[columns.index("Coverage") - 1 :: a_row] == ["–", "87.5%", "50.0%"]


def test_the_index_asks_for_all_coverage_at_once(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost grows by a millisecond with each day, not by a read of the catalog, the ledger and the answer."""
    loaded: list[str] = []
    as_it_is = lake_module.load

    def load(settings: Settings, table: str) -> Table | None:
        loaded.append(table)
        return as_it_is(settings, table)

    monkeypatch.setattr(lake_module, "load", load)
    for day in range(4, 9):
        put = lake.put("provider_usage", date(2026, 5, day), ("comcast", 6, 3, 1.0, 1.0))
        lake.publish(date(2026, 5, day), {"provider_usage": put})
    write_report(lake.settings, "2026-05-03")
    assert loaded.count("provider_usage") == 2, "once for the page of the day, once for the index"


def test_the_index_can_be_read_by_a_screen_reader(lake: SmallLake) -> None:
    index = Page(write_report(lake.settings, "2026-05-03")[-1])
    tags = [tag for tag, _ in index.tags]
    assert tags.count("main") == tags.count("h1") == tags.count("caption") == tags.count("table") == 1
    assert ("main", {}) in index.tags, "a role of its own would take the landmark away"
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in index.tags if tag == "th")
    [region] = [attrs for tag, attrs in index.tags if attrs.get("role") == "region"]
    assert region["tabindex"] == "0", "a keyboard must be able to scroll it"
    assert region["aria-label"]


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


def test_a_day_without_a_page_leaves_the_reports_as_they_were(lake: SmallLake) -> None:
    with pytest.raises(BadInput, match="2026-05-01 is not published"):
        write_report(lake.settings, "2026-05-01")
    assert not lake.settings.reports_dir.exists()
