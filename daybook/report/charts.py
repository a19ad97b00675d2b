"""The charts of the report: rows in, inline SVG out, drawn by Vega-Lite inside this process.

A chart is a picture with words: ``role="img"`` and an ``aria-label`` with the main finding; the numbers are in a table
of the same page. Text remains text. Colours are the page's CSS variables, so dark mode and print need no second
drawing. Vega passes a literal ``var(--mark)`` through unchanged unless a scale has to mix it, and no scale here does.
Vega's output is copied element by element through a short list of shapes and attributes. No id (one page has many
charts), address, script, style or font gets out, whatever name a player has given an item.

The view box is as wide as a phone's column, so labels have their intended size there, and are a little larger on a
desktop. vl_convert draws without browser and network, and gives the same bytes for the same rows. Measured on two
busy cores: the first chart takes 1.2 s, most of it the start of the library's engine, and 75 MB; each further one 20 to
60 ms and 3 to 25 kB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from daybook.formatting import printable
from daybook.report.svg import draw, nothing, short

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH = 360
"""Width of every chart's view box: the column of a phone that is 390 px wide."""
TOP_BARS = 10
TOP_ROWS, TOP_COLUMNS = 12, 6
HEAT_STEPS = 7
"""``--heat-0`` to ``--heat-6``, and the ink on each, from ``--heat-ink-0`` on: one hue, differing only in lightness."""
TREND_DAYS = 28

_INK, _SOFT, _LINE = "var(--ink)", "var(--soft)", "var(--line)"
_MARK, _REST, _ACCENT = "var(--mark)", "var(--rest)", "var(--accent)"


@dataclass(frozen=True)
class Bar:
    """One bar of a ranking."""

    label: str
    count: int
    is_named: bool = True
    """Whether it is a single item; a bucket of unknown ones is drawn in grey."""


class Ranged(Protocol):
    """The part of a drift that :func:`distances` draws."""

    @property
    def subject(self) -> str:
        """What was compared."""

    @property
    def distance(self) -> float | None:
        """The distance of the day from the days before, 0 to 1; None where it is unknown."""

    @property
    def low(self) -> float | None:
        """Lower bound of the distance."""

    @property
    def high(self) -> float | None:
        """Upper bound of the distance."""

    @property
    def chance(self) -> float | None:
        """The distance that chance alone makes."""

    @property
    def threshold(self) -> float | None:
        """The distance from which on a deviation is strong."""

    @property
    def verdict(self) -> str:
        """The verdict in one to three words."""


def ranked_bars(title: str, bars: Sequence[Bar], top: int = TOP_BARS) -> Markup:
    """Draw counts from the largest to the smallest, each with its share of the whole.

    Those after the top are summed up in a line of their own. It has no bar: it is not a single item, and a large sum
    would make all other bars look small.

    Args:
        title: what is counted, for the text alternative.
        bars: in any order; ties keep their order.
        top: how many bars are shown individually.

    Returns:
        Markup; empty without a bar.
    """
    ranked = sorted(bars, key=lambda bar: -bar.count)
    total = sum(bar.count for bar in ranked)
    if not total:
        return nothing()
    shown, others = (ranked, []) if len(ranked) <= top + 1 else (ranked[:top], ranked[top:])
    findings = [f"{shown[0].label} leads with {_percent(shown[0].count / total)} ({shown[0].count:,} of {total:,})"]
    findings += [f"{bar.label} {_percent(bar.count / total)}" for bar in shown[1:3]]
    if others:
        rest = sum(bar.count for bar in others)
        findings.append(f"the {len(others)} others together {_percent(rest / total)}")
        shown = [*shown, Bar(f"{len(others)} others", rest, is_named=False)]
    bars_end = len(shown) - bool(others)
    data = [
        {
            "at": at,
            "label": short(bar.label, 18),
            "count": bar.count if at < bars_end else 0,
            "counted": f"{bar.count:,}",
            "share": _percent(bar.count / total),
            "fill": _MARK if bar.is_named else _REST,
        }
        for at, bar in enumerate(shown)
    ]
    left, right = 134, 106
    wide = WIDTH - left - right
    row = 23
    y = {"field": "at", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.3, "paddingOuter": 0.15}}
    spec = {
        "data": {"values": data},
        "width": wide,
        "height": row * len(data),
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "bar"},
                "encoding": {
                    "x": {
                        "field": "count",
                        "type": "quantitative",
                        "axis": None,
                        "scale": {"domain": [0, shown[0].count]},
                    },
                    "color": {"field": "fill", "type": "nominal", "scale": None, "legend": None},
                },
            },
            _text("label", -7, align="right"),
            _text("counted", wide + 55, align="right"),
            _text("share", wide + right, align="right", color=_SOFT),
        ],
    }
    return draw(spec, (left, 0, right, 0), f"Bar chart, {title}: {', then '.join(findings[:2])}{_also(findings[2:])}.")


def heat_map(
    title: str, counts: Mapping[tuple[str, str], int], row_order: Sequence[str] = (), rows_are: str = "rows"
) -> Markup:
    """Draw the share of each column within its row, as a number on a field that is darker for larger shares.

    Args:
        title: what is shown, for the text alternative.
        counts: (row, column) -> count. Rows and columns are ordered by their count.
        row_order: a fixed order for rows, such as that of a neighbouring chart; else by count.
        rows_are: what a row is, in the plural.

    Returns:
        Markup; empty without a count. Rows and columns after the first are counted together as others; the column of
        the others has no colour, because it is not a single item.
    """
    rows = _ranking({}, ((row, count) for (row, _), count in counts.items()))
    columns = _ranking({}, ((column, count) for (_, column), count in counts.items()))
    if not rows or not columns:
        return nothing()
    ordered = [*(row for row in row_order if row in rows), *(row for row in rows if row not in row_order)]
    row_of = _folded(ordered, TOP_ROWS)
    column_of = _folded(list(columns), TOP_COLUMNS)
    counted_alone = {name for name, place in column_of.items() if name == place}
    cells: dict[tuple[str, str], int] = {}
    for (row, column), count in counts.items():
        place = row_of[row], column_of[column]
        cells[place] = cells.get(place, 0) + count
    row_names, column_names = list(dict.fromkeys(row_of.values())), list(dict.fromkeys(column_of.values()))
    totals = {row: sum(cells.get((row, column), 0) for column in column_names) for row in row_names}
    shares = {(row, column): cells.get((row, column), 0) / totals[row] for row in row_names for column in column_names}
    single = [column for column in column_names if column in counted_alone]
    top = heat_top(max(share for (_, column), share in shares.items() if column in single))
    data = []
    for (row, column), share in shares.items():
        step = min(int(share / top * HEAT_STEPS), HEAT_STEPS - 1) if column in single else 0
        data.append(
            {
                "row": row_names.index(row),
                "column": column_names.index(column),
                "said": f"{share:.0%}" if (row, column) in cells else "–",
                "fill": f"var(--heat-{step})",
                "ink": f"var(--heat-ink-{step})",
            }
        )
    names = [{"row": at, "label": short(row, 13), "counted": f"{totals[row]:,}"} for at, row in enumerate(row_names)]
    heads: list[tuple[int, list[str]]] = [(at, _lines(column)) for at, column in enumerate(column_names)]
    left = 122
    # headers that are wider than their column are slanted
    leans = any(len(line) * 6.5 > (WIDTH - left) / len(heads) for _, lines in heads for line in lines)
    if leans:
        heads = [(at, [short(column, 12)]) for at, column in enumerate(column_names)]
    above, right = (62, 20) if leans else (30, 0)
    wide, high = WIDTH - left - right, 23 * len(row_names)
    y = {"field": "row", "type": "ordinal", "axis": None, "scale": {"padding": 0.06}}
    x = {"field": "column", "type": "ordinal", "axis": None, "scale": {"padding": 0.03}}
    field = {"type": "nominal", "scale": None, "legend": None}
    lean: dict[str, Any] = {"angle": -45, "align": "left", "dx": 2} if leans else {"align": "center"}
    middle = {"x": {**x, "bandPosition": 0.5}, "y": {**y, "bandPosition": 0.5}}
    spec = {
        "width": wide,
        "height": high,
        "layer": [
            {
                "data": {"values": data},
                "mark": {"type": "rect"},
                "encoding": {"x": x, "y": y, "color": {"field": "fill", **field}},
            },
            {
                "data": {"values": data},
                "mark": {"type": "text", "fontSize": 11.5, "baseline": "middle"},
                "encoding": {**middle, "text": {"field": "said"}, "color": {"field": "ink", **field}},
            },
            {"data": {"values": names}, **_text("label", -46, align="right", y=middle["y"])},
            {"data": {"values": names}, **_text("counted", -6, align="right", color=_SOFT, y=middle["y"])},
            {
                "data": {"values": [{"column": at, "label": lines} for at, lines in heads]},
                "mark": {
                    **{"type": "text", "fontSize": 11, "lineHeight": 12, "color": _INK},
                    **{"baseline": "line-bottom", "dy": -2 if leans else -18},
                    **lean,
                },
                "encoding": {"x": middle["x"], "y": {"value": 0}, "text": {"field": "label"}},
            },
        ],
    }

    def leading(row: str) -> str:
        """Return the column with the row's largest share; for ties the first one shown."""
        return max(single, key=lambda column: cells.get((row, column), 0))

    first = {row: leading(row) for row in row_names}
    leaders = _ranking({}, ((column, 1) for column in first.values()))
    most = next(iter(leaders))
    words = f"{most} leads on {leaders[most]} of {len(row_names)} {rows_are}"
    if exceptions := [f"{column} on {row}" for row, column in first.items() if column != most]:
        words += f"; exceptions: {', '.join(exceptions[:3])}{' and others' if len(exceptions) > 3 else ''}"
    return draw(spec, (left, above, right, 0), f"Heat map, {title}: {words}.")


def heat_top(largest: float) -> float:
    """Return the share at which the darkest field ends: the next tenth, so that similar days share a scale.

    >>> heat_top(0.285), heat_top(1.0)
    (0.3, 1.0)
    """
    return next((tenth / 10 for tenth in range(1, 10) if largest <= tenth / 10), 1.0)


def hour_curve(title: str, counts: Mapping[int, int]) -> Markup:
    """Draw a bar for each of the 24 hours, with the busiest marked; a missing hour had no event.

    Returns:
        Markup; empty without an event.
    """
    hours = {hour: counts.get(hour, 0) for hour in range(24)}
    if not any(hours.values()):
        return nothing()
    busiest = max(hours, key=lambda hour: hours[hour])
    quietest = min(hours, key=lambda hour: hours[hour])
    data = [
        {"hour": hour, "count": count, "fill": _ACCENT if hour == busiest else _MARK} for hour, count in hours.items()
    ]
    label = {"hour": busiest, "count": hours[busiest], "said": f"{hours[busiest]:,} at {busiest:02d}:00"}
    spec = {
        "width": WIDTH - 60,
        "height": 120,
        "data": {"values": data},
        "encoding": {
            "x": {
                "field": "hour",
                "type": "ordinal",
                "axis": {
                    **_axis(),
                    "values": [0, 6, 12, 18, 23],
                    "labelExpr": "(datum.value < 10 ? '0' : '') + datum.value + ':00'",
                },
                "scale": {"paddingInner": 0.2, "paddingOuter": 0},
            },
            "y": _counts("count"),
        },
        "layer": [
            {
                "mark": {"type": "bar"},
                "encoding": {"color": {"field": "fill", "type": "nominal", "scale": None, "legend": None}},
            },
            {"data": {"values": [label]}, "mark": _note(busiest / 23), "encoding": {"text": {"field": "said"}}},
        ],
    }
    alternative = (
        f"Bar chart, {title}: busiest at {busiest:02d}:00 with {hours[busiest]:,}, quietest at {quietest:02d}:00 "
        f"with {hours[quietest]:,}."
    )
    return draw(spec, (42, 22, 18, 22), alternative)


def trend(title: str, counts: Mapping[str, int], day: str, days: int = TREND_DAYS) -> Markup:
    """Draw the days up to a marked one; a missing day is a gap in the line, not a zero.

    Args:
        title: what is counted, for the text alternative.
        counts: day, ``YYYY-MM-DD`` -> count; days outside the shown range are left out.
        day: the last day, the one that is marked.
        days: how many days back, this one included.

    Returns:
        Markup; empty if no day has a count.
    """
    last = date.fromisoformat(day)
    span = [(last - timedelta(days=back)).isoformat() for back in range(days - 1, -1, -1)]
    known = {one: counts[one] for one in span if one in counts}
    if not known:
        return nothing()
    # days before the first known one are not a gap: there was no data yet
    span = span[span.index(next(iter(known))) :] if len(known) > 1 else span[-2:]
    data = [{"at": at, "count": known.get(one)} for at, one in enumerate(span)]
    ends = len(span) - 1
    ticks = [at for at in range(ends, -1, -7)]
    named = {at: f"{date.fromisoformat(span[at]):%b} {date.fromisoformat(span[at]).day}" for at in ticks}
    marked = [{"at": ends, "count": known[day], "said": f"{known[day]:,}"}] if day in known else []
    # a day between two gaps is drawn as a point: a line cannot show it
    alone = [
        {"at": at, "count": known[one]}
        for at, one in enumerate(span)
        if one in known
        and one != day
        and {span[near] for near in (at - 1, at + 1) if 0 <= near <= ends}.isdisjoint(known)
    ]
    # on the side of its point that the line does not come from, as long as there is room above the axis
    note = _note(1)
    near = [known[one] for one in span[-4:-1] if one in known]
    if near and day in known and sum(near) / len(near) > known[day] > 0.15 * max(known.values()):
        note |= {"baseline": "top", "dy": 9}
    axis = {**_axis(), "values": sorted(ticks), "labelExpr": _switch(named), "labelAlign": "center"}
    spec = {
        "width": WIDTH - 66,
        "height": 120,
        "data": {"values": data},
        "encoding": {
            "x": {
                "field": "at",
                "type": "quantitative",
                "axis": axis,
                "scale": {"domain": [0, ends], "nice": False},
            },
            "y": _counts("count"),
        },
        "layer": [
            {
                "mark": {
                    "type": "line",
                    "stroke": _MARK,
                    "strokeWidth": 2,
                    "strokeJoin": "round",
                    "invalid": "break-paths-show-path-domains",
                }
            },
            {
                "data": {"values": alone},
                "mark": {"type": "point", "filled": True, "size": 20, "color": _MARK, "opacity": 1},
            },
            {
                "data": {"values": marked},
                "mark": {"type": "point", "filled": True, "size": 70, "color": _ACCENT, "opacity": 1},
            },
            {"data": {"values": marked}, "mark": note, "encoding": {"text": {"field": "said"}}},
        ],
    }
    others = [count for one, count in known.items() if one != day]
    words = f"{day} has {known[day]:,}" if day in known else f"{day} is not published"
    if others and day in known:
        mean = sum(others) / len(others)
        words += f", the mean of the {_days(len(others))} before is {mean:,.0f}"
        words += f" ({known[day] / mean - 1:+.1%})" if mean else ""
    missing = len(span) - len(known) - (day not in known)
    if missing and len(known) > 1:
        words += f"; {_days(missing)} between {'is' if missing == 1 else 'are'} not published"
    return draw(spec, (42, 22, 24, 22), f"Line chart, {title}, {span[0]} to {day}: {words}.")


def distances(title: str, drifts: Sequence[Ranged]) -> Markup:
    """Draw how far the day is from the days before: the distance with its bounds, chance, and the threshold.

    Returns:
        Markup; empty where no distance is known.
    """
    known = [one for one in drifts if one.distance is not None]
    if not known:
        return nothing()
    data: list[dict[str, Any]] = []
    bounds: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for at, one in enumerate(known):
        data.append({"at": at, "value": one.distance, "label": short(one.subject, 14)})
        if one.low is not None and one.high is not None:
            bounds.append({"at": at, "value": one.low, "to": one.high})
        for value, label, shade in ((one.chance, "chance", _SOFT), (one.threshold, "threshold", _ACCENT)):
            if value is not None:
                marks.append({"at": at, "value": value, "said": label, "fill": shade})
    # chance is the smaller one: its label ends at its mark and the other's begins there, so they never overlap
    named = {"type": "text", "fontSize": 10.5, "baseline": "bottom", "dy": -14}
    largest = max(row[name] for row in [*data, *bounds, *marks] for name in ("value", "to") if name in row)
    left, row = 100, 48
    x: dict[str, Any] = {
        "field": "value",
        "type": "quantitative",
        "axis": {**_axis(), "format": ".2~f", "tickCount": 4},
        "scale": {"domain": [0, largest * 1.15 or 1], "nice": False},
    }
    y = {"field": "at", "type": "ordinal", "axis": None, "bandPosition": 0.5}
    color = {"field": "fill", "type": "nominal", "scale": None, "legend": None}
    spec = {
        "width": WIDTH - left - 16,
        "height": row * len(known),
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "data": {"values": marks},
                "mark": {"type": "tick", "thickness": 2, "size": 26, "orient": "vertical"},
                "encoding": {"color": color},
            },
            *(
                {
                    "data": {"values": [one for one in marks if one["said"] == label]},
                    "mark": {**named, "align": align, "dx": dx},
                    "encoding": {"text": {"field": "said"}, "color": color},
                }
                for label, align, dx in (("chance", "right", 2), ("threshold", "left", -2))
            ),
            {
                "data": {"values": bounds},
                "mark": {"type": "rule", "strokeWidth": 3, "color": _MARK},
                "encoding": {"x2": {"field": "to"}},
            },
            {
                "data": {"values": data},
                "mark": {"type": "point", "filled": True, "size": 80, "color": _MARK, "opacity": 1},
            },
            {
                "data": {"values": data},
                **_text("label", -10, align="right"),
            },
        ],
    }
    words = [
        f"{one.subject} {one.verdict}, distance {one.distance:.3f}"
        + (f" ({one.low:.3f} to {one.high:.3f})" if one.low is not None and one.high is not None else "")
        + (f", threshold {one.threshold:.3f}" if one.threshold is not None else "")
        for one in known
    ]
    return draw(spec, (left, 8, 16, 22), f"Range plot, {title}: {'; '.join(words)}.")


def _text(field: str, x: float, *, align: str, color: str = _INK, y: Any = None) -> dict[str, Any]:
    mark = {"type": "text", "fontSize": 12, "baseline": "middle", "align": align, "color": color}
    encoding: dict[str, Any] = {"x": {"value": x}, "text": {"field": field}}
    return {"mark": mark, "encoding": {**encoding, "y": y} if y else encoding}


def _note(along: float) -> dict[str, Any]:
    """Return a text above a mark, aligned inwards at the axis' ends; ``along`` is 0 at the left end, 1 at the right."""
    align = "left" if along < 0.15 else "right" if along > 0.85 else "center"
    return {
        "type": "text",
        "fontSize": 12,
        "fontWeight": 600,
        "color": _INK,
        "baseline": "bottom",
        "dy": -6,
        "align": align,
    }


def _axis() -> dict[str, Any]:
    return {
        **{"title": None, "grid": False, "domainColor": _LINE, "tickColor": _LINE, "tickSize": 4},
        **{"labelColor": _SOFT, "labelFontSize": 11, "labelAngle": 0, "labelFlush": False, "labelOverlap": False},
    }


def _counts(field: str) -> dict[str, Any]:
    axis = {**_axis(), "grid": True, "gridColor": _LINE, "domain": False, "ticks": False, "tickCount": 3}
    # counts are integers, and zero has no unit
    axis |= {"tickMinStep": 1, "labelExpr": "datum.value == 0 ? '0' : datum.value % 1 ? '' : format(datum.value, '~s')"}
    return {"field": field, "type": "quantitative", "axis": axis, "scale": {"zero": True}}


def _switch(names: Mapping[int, str]) -> str:
    """Return a Vega expression that names an axis' ticks; the names are dates made here, never a player's text."""
    return "".join(f"datum.value == {at} ? '{name}' : " for at, name in names.items()) + "''"


def _ranking(into: dict[str, int], pairs: Any) -> dict[str, int]:
    """Sum by name, the largest first; ties in their original order."""
    for name, count in pairs:
        into[name] = into.get(name, 0) + count
    return dict(sorted(into.items(), key=lambda item: -item[1]))


def _folded(names: list[str], top: int) -> dict[str, str]:
    """Map each name to itself, and those after the top to a label with their number."""
    if len(names) <= top + 1:
        return {name: name for name in names}
    others = f"{len(names) - top} others"
    return {name: name if at < top else others for at, name in enumerate(names)}


def _lines(label: str) -> list[str]:
    label = printable(label)
    first, _, last = label.rpartition(" ")
    return [first, last] if first else ["", last]


def _also(findings: list[str]) -> str:
    return "".join(f", {one}" for one in findings)


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{share:.1%}"
