"""The charts: only shapes and text, in the report's colours, with the finding in words, whatever players sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import vl_convert
from markupsafe import Markup

from daybook.report import charts
from daybook.report.charts import HEAT_STEPS, WIDTH, Bar, distances, heat_map, hour_curve, ranked_bars, trend

HOSTILE = '<script>alert("x")</script>&amp;{{ 7*7 }}'
UNSEEN = "tab\tnul\0turn\u202eend\ud800"
BASE = Path(charts.__file__).with_name("templates") / "base.html.j2"
SHAPES = {"svg", "g", "path", "line", "rect", "text", "tspan"}


@dataclass(frozen=True)
class Range:
    """A premise as the range plot needs it."""

    subject: str
    distance: float | None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    threshold: float | None = None
    verdict: str = "holds"


def texts(chart: str) -> list[str]:
    """The texts of a chart in document order; the lines of one text are separate."""
    root = ElementTree.fromstring(chart)
    return [one.text for one in root.iter() if one.tag in ("text", "tspan") and one.text]


def description(chart: str) -> str:
    return ElementTree.fromstring(chart).attrib["aria-label"]


def bars(count: int) -> list[Bar]:
    return [Bar(f"item {at}", 1000 - at) for at in range(count)]


def every_chart(name: str) -> dict[str, Markup]:
    """A chart of each kind, each with a name from outside."""
    return {
        "ranked_bars": ranked_bars("events", [Bar(name, 5), Bar("(bare)", 3, is_named=False)]),
        "heat_map": heat_map("shares", {(name, name): 3, ("att", "sword"): 2, (name, "sword"): 1}),
        "hour_curve": hour_curve("events by hour", {7: 4, 20: 9}),
        "trend": trend("events", {"2026-05-01": 8, "2026-05-03": 9}, "2026-05-03"),
        "distances": distances("premise", [Range(name, 0.02, 0.01, 0.03, 0.01, 0.05, name)]),
    }


@pytest.mark.parametrize("name", [HOSTILE, UNSEEN, "", "'", "long" * 500, "字" * 40, "\\u003cscript\\u003e"])
def test_a_chart_is_shapes_and_text_and_nothing_else(name: str) -> None:
    for kind, chart in every_chart(name).items():
        root = ElementTree.fromstring(chart)  # fails if it is not well-formed
        assert {one.tag for one in root.iter()} <= SHAPES, kind
        names = {attribute for one in root.iter() for attribute in one.attrib}
        assert names.isdisjoint({"id", "href", "style", "class", "font-family", "xmlns"}), kind
        assert not any(attribute.startswith("on") or ":" in attribute for attribute in names), kind
        assert not re.search(r"https?:|url\(|<script|<image|@import", chart), kind


def test_elements_that_the_library_may_add_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image URL, a link, a style, a script: the allow-list contains neither these elements nor their content."""
    foreign = (
        '<image href="https://evil.example/a.png"/><a href="https://evil.example/"><text>x</text></a>'
        '<style>@import "https://evil.example/"</style><script>alert(1)</script><foreignObject><p>x</p></foreignObject>'
        '<g id="a" onclick="x()" style="fill:red" clip-path="url(#a)"><text fill="var(--ink)" class="t">1</text></g>'
    )
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg">{foreign}</svg>'
    monkeypatch.setattr(vl_convert, "vegalite_to_svg", lambda spec, **given: drawn)
    chart = ranked_bars("events", [Bar("sword", 1)])
    assert chart.partition(">")[2] == '<text fill="var(--ink)">1</text></svg>'


def test_values_from_players_are_shown_as_text() -> None:
    chart = ranked_bars("events", [Bar("<b>&'\"", 1)])
    assert texts(chart)[0] == "<b>&'\""
    assert "<b>&'\" leads" in description(chart)
    assert "·" in texts(ranked_bars("events", [Bar("a\u202eb\0", 1)]))[0]


def test_every_colour_is_the_pages_own() -> None:
    """Dark mode and paper need no second drawing; the report defines every variable."""
    known = set(re.findall(r"(--[a-z0-9-]+):", BASE.read_text(encoding="utf-8")))
    for kind, chart in every_chart("comcast").items():
        painted = set(re.findall(r' (?:fill|stroke)="([^"]*)"', chart)) - {"none", "transparent"}
        assert painted, kind
        assert all(re.fullmatch(r"var\(--[a-z0-9-]+\)", colour) for colour in painted), (kind, painted)
        assert {colour[4:-1] for colour in painted} <= known, kind


def test_the_same_rows_are_the_same_bytes() -> None:
    assert every_chart("comcast") == every_chart("comcast")


def test_nothing_may_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    as_it_is = vl_convert.vegalite_to_svg

    def drawn(spec: Any, **given: Any) -> str:
        asked.append(given["allowed_base_urls"])
        return str(as_it_is(spec, **given))

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", drawn)
    every_chart("comcast")
    assert asked == [[]] * 5


@pytest.mark.parametrize(
    "empty",
    [
        lambda: ranked_bars("events", []),
        lambda: ranked_bars("events", [Bar("sword", 0)]),
        lambda: heat_map("shares", {}),
        lambda: hour_curve("hours", {}),
        lambda: hour_curve("hours", {3: 0}),
        lambda: trend("events", {}, "2026-05-03"),
        lambda: trend("events", {"2025-05-03": 4}, "2026-05-03"),
        lambda: distances("premise", []),
        lambda: distances("premise", [Range("event mix", None)]),
    ],
)
def test_no_rows_give_no_chart(empty: Callable[[], Markup]) -> None:
    assert empty() == ""


def test_a_chart_is_as_wide_as_a_phones_column() -> None:
    for kind, chart in every_chart("comcast").items():
        assert ElementTree.fromstring(chart).attrib["viewBox"].split()[:3] == ["0", "0", str(WIDTH)], kind


def test_bars_are_sorted_by_count_and_show_their_share() -> None:
    chart = ranked_bars("events by kind", [Bar("knife", 20), Bar("join guild", 50), Bar("(bare)", 30, is_named=False)])
    assert texts(chart) == ["join guild", "(bare)", "knife", "50", "30", "20", "50.0%", "30.0%", "20.0%"]
    assert description(chart) == (
        "Bar chart, events by kind: join guild leads with 50.0% (50 of 100), then (bare) 30.0%, knife 20.0%."
    )
    assert chart.count("var(--rest)") == 1, "a bucket of unknown ones"


def test_a_hundred_bars_are_ten_and_a_line_that_sums_up_the_others() -> None:
    chart = ranked_bars("items", bars(100))
    assert "90 others" in texts(chart)
    rest = sum(one.count for one in bars(100)[10:])
    assert f"{rest:,}" in texts(chart)
    assert f"the 90 others together {rest / sum(one.count for one in bars(100)):.1%}" in description(chart)
    assert "item 10" not in texts(chart)


def test_one_bar_too_many_is_shown_and_not_called_others() -> None:
    assert "item 10" in texts(ranked_bars("items", bars(11)))


def test_the_longest_bar_is_the_first_one_not_the_others() -> None:
    widths = [float(width) for width in re.findall(r"h(\d+\.?\d*)v", ranked_bars("items", bars(100)))]
    assert max(widths) == widths[0] == WIDTH - 134 - 106


def test_a_field_of_the_heat_map_is_a_share_of_its_row() -> None:
    counts = {("comcast", "sword"): 30, ("comcast", "knife"): 70, ("att", "sword"): 5, ("att", "knife"): 0}
    chart = heat_map("shares of each provider", counts, rows_are="providers")
    assert texts(chart)[:4] == ["70%", "30%", "0%", "100%"]
    assert {"100", "5"} <= set(texts(chart)), "how much each row stands on"
    assert description(chart) == (
        "Heat map, shares of each provider: knife leads on 1 of 2 providers; exceptions: sword on att."
    )


def test_a_combination_without_events_is_a_dash_in_the_heat_map() -> None:
    assert texts(heat_map("shares", {("comcast", "sword"): 3, ("att", "knife"): 2}))[:4] == ["100%", "–", "–", "100%"]


def test_the_heat_map_has_the_rows_of_the_neighbouring_chart() -> None:
    counts = {("att", "sword"): 9, ("comcast", "sword"): 3, ("cox", "sword"): 1}
    shown = texts(heat_map("shares", counts, row_order=["comcast", "att", "gone"]))
    assert [one for one in shown if one in ("att", "comcast", "cox")] == ["comcast", "att", "cox"]


def test_many_rows_and_columns_are_folded_and_lose_no_event() -> None:
    counts = {(f"p{row}", f"e{column}"): 1 + row + column for row in range(30) for column in range(20)}
    shown = texts(heat_map("shares", counts))
    assert {"18 others", "14 others"} <= set(shown)
    rows = [int(one.replace(",", "")) for one in shown if re.fullmatch(r"[\d,]+", one)]
    assert sum(rows) == sum(counts.values())


def test_an_hour_without_events_is_drawn_as_zero() -> None:
    chart = hour_curve("events by hour, UTC", {20: 9, 7: 4})
    assert "9 at 20:00" in texts(chart)
    assert description(chart) == "Bar chart, events by hour, UTC: busiest at 20:00 with 9, quietest at 00:00 with 0."
    assert chart.count("var(--accent)") == 1


def test_a_missing_day_is_a_gap_and_is_reported() -> None:
    counts = {f"2026-05-{day:02d}": 100 for day in range(1, 29) if day != 10}
    chart = trend("events per day", {**counts, "2026-05-28": 130}, "2026-05-28")
    [line] = [one for one in re.findall(r'd="([^"]*)"', chart) if one.count("L") > 5]
    assert line.count("M") == 2, "two pieces"
    assert description(chart) == (
        "Line chart, events per day, 2026-05-01 to 2026-05-28: 2026-05-28 has 130, the mean of the 26 days before is "
        "100 (+30.0%); 1 day between is not published."
    )
    assert {"130", "May 28", "May 21"} <= set(texts(chart))


def test_a_day_between_two_gaps_is_a_point() -> None:
    counts = {"2026-05-01": 5, "2026-05-02": 5, "2026-05-04": 5, "2026-05-06": 5, "2026-05-07": 5}
    assert trend("events", counts, "2026-05-07").count("A") - trend("events", counts, "2026-05-07").count("Av") >= 2


def test_the_first_day_of_all_is_a_trend_of_one() -> None:
    chart = trend("events", {"2026-05-03": 9}, "2026-05-03")
    assert "9" in texts(chart)
    assert description(chart).endswith("2026-05-03 has 9.")


def note_above_its_point(before: int, day: int) -> bool:
    """Whether the last day's figure is above its point, after a week with equal numbers of events."""
    counts = {f"2026-05-{at:02d}": before for at in range(1, 8)}
    chart = trend("events", {**counts, "2026-05-08": day}, "2026-05-08")
    [place] = re.findall(rf"<text[^>]*translate\(([\d.]+),([\d.-]+)\)[^>]*>{day:,}</text>", chart)
    points = re.findall(r'translate\(([\d.]+),([\d.-]+)\)[^>]*fill="var\(--accent\)"', chart)
    assert len(points) == 1, points
    return float(place[1]) < float(points[0][1])


@pytest.mark.parametrize(
    ("before", "day", "above"), [(900, 20_000, True), (900, 960, True), (900, 700, False), (900, 60, True)]
)
def test_the_days_figure_does_not_overlap_the_line(before: int, day: int, above: bool) -> None:
    """A rising line comes from below, so the figure goes above it. A falling line leaves room below."""
    assert note_above_its_point(before, day) is above


def test_a_range_plot_shows_the_distance_and_its_threshold() -> None:
    chart = distances("premise", [Range("event mix", 0.021, 0.015, 0.03, 0.012, 0.05, "holds")])
    assert (
        description(chart) == "Range plot, premise: event mix holds, distance 0.021 (0.015 to 0.030), threshold 0.050."
    )
    assert {"event mix", "chance", "threshold"} <= set(texts(chart))


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _palettes() -> dict[str, dict[str, str]]:
    """The report's variables, in light and dark mode."""
    style = BASE.read_text(encoding="utf-8")
    blocks = re.findall(r":root \{([^}]*)\}", style)
    light, dark = (dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6})", block)) for block in blocks[:2])
    return {"light": light, "dark": {**light, **dark}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_distinguished(scheme: str) -> None:
    """WCAG 2.2: contrast 4.5 for text, 3 for shapes. The heat map's steps grow in one direction, for every reader."""
    colours = _palettes()[scheme]
    for text in ("--ink", "--soft", "--accent", "--good", "--bad", "--link"):
        assert _contrast(colours[text], colours["--paper"]) >= 4.5, text
    for shape in ("--mark", "--accent"):
        assert _contrast(colours[shape], colours["--paper"]) >= 3, shape
    steps = [colours[f"--heat-{step}"] for step in range(HEAT_STEPS)]
    for step, colour in enumerate(steps):
        assert _contrast(colours[f"--heat-ink-{step}"], colour) >= 4.5, f"step {step}"
    away = [_contrast(colour, colours["--paper"]) for colour in steps]
    assert away == sorted(away)
