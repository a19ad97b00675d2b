"""A day compared with the days before it, as read from the lake."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daybook.analysis.compare import compare
from daybook.cli.main import cli
from daybook.errors import BadInput
from daybook.lake.ledger import Ledger, read_ledger
from daybook.lake.tables import EVENTS
from daybook.report import content, pages
from daybook.report import write as report
from daybook.report.write import write_report
from daybook.settings import Settings
from tests.unit.small_lake import BuiltOnce, SmallLake

FIRST = date(2026, 5, 1)
PROVIDERS, ITEMS = ("att", "comcast", "cox"), ("sword", "knife", None)
PLAYERS = 600

Played = tuple[str, str, str, str | None]
"""Player, provider, event type, item."""


def a_day(rounds: int = 1) -> list[Played]:
    """Each player plays the same number of rounds, each round with all events, through the player's one provider."""
    return [
        (f"player{number}", PROVIDERS[number % 3], "join_guild" if item is None else "purchase_item", item)
        for number in range(PLAYERS)
        for item in ITEMS
        for _ in range(rounds)
    ]


def publish(lake: SmallLake, day: date, played: list[Played], revision: int = 1) -> None:
    """Publish a day with the answers that are compared."""
    events = Counter((kind, item) for _, _, kind, item in played)
    usage = Counter(provider for _, provider, _, _ in played)
    cells = Counter((provider, kind, item) for _, provider, kind, item in played)
    purchases = sum(count for (kind, _), count in events.items() if kind == "purchase_item")
    users = len({player for player, _, _, _ in played})
    rows: dict[str, Sequence[Sequence[Any]]] = {
        EVENTS: played,
        "event_popularity": [(*event, count, users, 0.0, 1) for event, count in events.items()],
        "provider_usage": [(provider, count, users, 0.0, 1.0) for provider, count in usage.items()],
        "provider_event_popularity": [(*cell, count, users, 1) for cell, count in cells.items()],
        "daily_activity": [(len(played), users, 1.0, purchases, len(played) - purchases, 0)],
    }
    snapshots = {name: lake.put(name, day, *content) for name, content in rows.items()} if played else {}
    lake.publish(day, snapshots, revision=revision, events=len(played))


def nine_days(lake: SmallLake) -> None:
    """Nine identical published days."""
    for number in range(9):
        publish(lake, FIRST + timedelta(days=number), a_day())


@pytest.fixture
def lake(built_once: BuiltOnce) -> SmallLake:
    return built_once(nine_days)


def test_a_day_like_the_others_deviates_in_nothing(lake: SmallLake) -> None:
    found = compare(read_ledger(lake.settings), "2026-05-09")
    assert [premise.verdict for premise in found.drifts] == ["holds", "holds"]
    assert [premise.subject for premise in found.drifts] == ["event mix", "provider mix"]
    assert [len(premise.days) for premise in found.drifts] == [7, 7]
    assert (found.drops.judged, found.drops.drops, len(found.drops.days)) == (True, (), 8)
    assert {one.measure: (one.value, one.day_before, one.same_weekday) for one in found.measures} == {
        "events": (1800, 1800, 1800),
        "users": (600, 600, 600),
        "purchases": (1200, 1200, 1200),
        "guild_joins": (600, 600, 600),
    }


def test_a_drop_and_its_cause_are_named(lake: SmallLake) -> None:
    """Comcast delivers only one event in ten."""
    kept = [one for number, one in enumerate(a_day()) if one[1] != "comcast" or number % 10 == 0]
    publish(lake, date(2026, 5, 10), kept)
    found = compare(read_ledger(lake.settings), "2026-05-10")
    events, providers = found.drifts
    assert (events.verdict, providers.verdict) == ("holds", "deviates")
    assert providers.drivers[0].category == "comcast"
    fell = {(drop.provider, drop.event_type, drop.item): drop.events for drop in found.drops.drops}
    assert fell == {("comcast", None, None): 60, (None, None, None): 1260}, "the provider, and with it all together"
    assert found.drops.total is not None
    assert found.sentences == [
        found.drops.total.sentence,
        events.sentence,
        providers.sentence,
        found.drops.sentence,
        *(drop.sentence for drop in found.drops.drops),
    ]
    assert found.measures[0].since_day_before == pytest.approx(-0.3)


def test_guild_joins_are_a_category_as_items_are(lake: SmallLake) -> None:
    publish(lake, date(2026, 5, 10), [one for one in a_day() if one[2] == "purchase_item"])
    [driver, *_] = compare(read_ledger(lake.settings), "2026-05-10").drifts[0].drivers
    assert (driver.category, driver.share) == ("join guild", 0.0)
    assert driver.usual_share == pytest.approx(1 / 3)


def test_later_and_unpublished_days_are_not_compared(lake: SmallLake) -> None:
    before = compare(read_ledger(lake.settings), "2026-05-09")
    publish(lake, date(2026, 5, 10), a_day(2))
    lake.put("event_popularity", date(2026, 4, 30), ("purchase_item", "spoon", 900, 9, 1.0, 1))
    assert compare(read_ledger(lake.settings), "2026-05-09") == before


def test_an_empty_day_is_not_a_missing_day(lake: SmallLake) -> None:
    publish(lake, date(2026, 5, 10), [])
    found = compare(read_ledger(lake.settings), "2026-05-10")
    assert {one.value for one in found.measures} == {0}
    assert [premise.verdict for premise in found.drifts] == ["unclear", "unclear"]
    assert "2026-05-10" in found.drifts[0].sentence


def test_the_first_days_are_reported_as_not_judged(lake: SmallLake) -> None:
    found = compare(read_ledger(lake.settings), "2026-05-01")
    assert [premise.verdict for premise in found.drifts] == ["too few days", "too few days"]
    assert not found.drops.judged
    assert {one.day_before for one in found.measures} == {None}


def test_an_unpublished_day_is_refused(lake: SmallLake) -> None:
    with pytest.raises(BadInput, match="2026-06-01 is not published"):
        compare(read_ledger(lake.settings), "2026-06-01")


def test_the_verb_reports_it_in_sentences_and_in_json(lake: SmallLake) -> None:
    shown = CliRunner().invoke(cli, ["compare", "--day", "2026-05-09"]).output
    assert shown.startswith("Events: 1,800, as usual (about 1,800 expected; ")
    assert "\nThe event mix of 2026-05-09 is in line with the 7 days before" in shown
    assert "1,800 (+0.0 %)" in shown, "the change stands beside what it is a change of"
    payload = json.loads(CliRunner().invoke(cli, ["compare", "--day", "2026-05-09", "--json"]).output)
    assert payload["day"] == "2026-05-09"
    assert [one["verdict"] for one in payload["premise"]] == ["holds", "holds"]
    assert payload["drops"]["judged"]
    assert [one["measure"] for one in payload["comparisons"]] == ["events", "users", "purchases", "guild_joins"]


def test_a_rise_is_reported_first(lake: SmallLake) -> None:
    publish(lake, date(2026, 5, 10), a_day(22))
    shown = CliRunner().invoke(cli, ["compare", "--day", "2026-05-10"]).output
    assert shown.startswith("Events: 22 times the usual 1,800 (39,600), more than chance explains.\n")
    assert "1,800 (+2,100 %)" in shown
    payload = json.loads(CliRunner().invoke(cli, ["compare", "--day", "2026-05-10", "--json"]).output)
    assert payload["drops"]["total"]["verdict"] == "rose"


def compared(lake: SmallLake, day: date) -> dict[str, Any]:
    """The comparison with the days before in a day's report file."""
    payload = json.loads((lake.settings.reports_dir / f"{day}.json").read_text(encoding="utf-8"))
    return {
        "premise": payload["premise"],
        "total": payload["total"],
        "alarms": payload["alarms"],
        "of": payload["comparisons"],
    }


def compared_now(lake: SmallLake, day: date) -> dict[str, Any]:
    """The same comparison by `daybook compare`."""
    payload = json.loads(CliRunner().invoke(cli, ["compare", "--day", str(day), "--json"]).output)
    drops = payload["drops"]
    alarms = drops["drops"] if drops["judged"] else drops["sentence"]
    return {"premise": payload["premise"], "total": drops["total"], "alarms": alarms, "of": payload["comparisons"]}


@pytest.mark.parametrize("order", [(7, 0, 1, 2, 3, 4, 5, 6), (3, 7, 0, 6, 1, 5, 2, 4)], ids=["demo first", "any"])
def test_a_page_follows_the_days_that_are_published_after_it(own_settings: Settings, order: tuple[int, ...]) -> None:
    """A demo, then a backfill of the days before it; in any order, each report agrees with `compare`."""
    lake = SmallLake(own_settings)
    days = [FIRST + timedelta(days=number) for number in range(8)]
    for number in order:
        publish(lake, days[number], a_day()[:600])
        write_report(lake.settings, str(days[number]))
    for day in days:
        assert compared(lake, day) == compared_now(lake, day), day
    assert compared(lake, days[7])["total"]["verdict"] == "as usual", "seven days before are enough"
    html = (lake.settings.reports_dir / f"{days[4]}.html").read_text(encoding="utf-8")
    assert f'href="{days[3]}.html"' in html
    assert f'href="{days[5]}.html"' in html
    overview = json.loads((lake.settings.reports_dir / "index.json").read_text(encoding="utf-8"))
    assert overview["days"][0]["premise"]["verdict"] == "holds"


def test_a_page_follows_a_day_before_it_that_is_restated(lake: SmallLake) -> None:
    last = date(2026, 5, 9)
    write_report(lake.settings, str(last))
    publish(lake, date(2026, 5, 8), a_day(2), revision=2)
    write_report(lake.settings, "2026-05-08")
    assert compared(lake, last) == compared_now(lake, last)
    assert compared(lake, last)["of"][0]["day_before"] == 3600


def test_only_the_pages_that_changed_are_written_again(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = SmallLake(own_settings)
    days = [str(FIRST + timedelta(days=number)) for number in range(40)]
    for day in days:
        publish(lake, date.fromisoformat(day), [])
    written: list[str] = []

    def write(ledger: Ledger, day: str) -> Path:
        """Write only the parts of a report that record the days it was made from."""
        written.append(day)
        settings = ledger.settings
        revisions = {one.day: one.revision for one in ledger.newest.values()}
        record = {
            "looks_back_on": content.looks_back_on(revisions, day),
            "neighbours": content.neighbours(revisions, day),
        }
        settings.reports_dir.mkdir(parents=True, exist_ok=True)
        (settings.reports_dir / f"{day}.json").write_text(json.dumps(record), encoding="utf-8")
        return settings.reports_dir / f"{day}.html"

    monkeypatch.setattr(report, "_write_day", write)
    write_report(lake.settings, days[0], days[1:39])
    assert written == days[:39], "the last day is published and its own run has not written its page yet"
    written.clear()
    write_report(lake.settings, days[3])
    assert written == [days[3]], "nothing has changed"
    written.clear()
    publish(lake, date.fromisoformat(days[3]), [], revision=2)
    write_report(lake.settings, days[3])
    assert written == days[3:32], "itself, and the 28 days that look back on it"
    written.clear()
    write_report(lake.settings, days[39])
    assert written == [days[39]], "the page before it has the link already"


def test_a_page_that_another_run_made_old_while_it_was_written_is_written_again(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of a backfill write one report.

    The run that writes last has read the lake before the other published.
    """
    last, as_it_is = date(2026, 5, 9), pages.day_page

    def publish_meanwhile(content: dict[str, Any]) -> str:
        monkeypatch.setattr(pages, "day_page", as_it_is)
        publish(lake, date(2026, 5, 8), a_day(3), revision=2)
        return as_it_is(content)

    monkeypatch.setattr(pages, "day_page", publish_meanwhile)
    write_report(lake.settings, str(last))
    assert compared(lake, last) == compared_now(lake, last)
