"""``benchmarks/RESULTS.md`` and its plots: the stored figures of the stages, and the text about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS_DIR, UNITS, Contestant, medians

PAGE = RESULTS_DIR.parent / "RESULTS.md"
WORDS = RESULTS_DIR.parent / "words.md"
"""Written by hand: what the figures mean, where a goal is missed, and what was tried."""
STAGES = ("intake_single", "intake_four", "intake_batches", "landing", "answers", "whole_day")
"""Stages in the order of a day, followed by all others; a stage with several sizes has one file for each."""
_MET = {True: "met", False: "**not met**"}
BAR_HEIGHT, PLOT_WIDTH = 22, 420

Stage = dict[str, Any]


def kept(folder: Path) -> dict[str, Stage]:
    """Return name of a stage -> its stored results, in the order of the page."""

    def place(name: str) -> tuple[int, str, int]:
        stem, _, size = name.rpartition("_")
        base, events = (stem, int(size)) if size.isdigit() else (name, 0)
        return (STAGES.index(base) if base in STAGES else len(STAGES), base, events)

    files = {path.stem: path for path in folder.glob("*.json")}
    return {name: json.loads(files[name].read_text(encoding="utf-8")) for name in sorted(files, key=place)}


def page(stages: dict[str, Stage], plots: str, words: str) -> str:
    """Return the page: every goal with its figure, the text about them, then each stage with its contestants.

    Args:
        stages: from :func:`kept`.
        plots: folder of the plots, as in the page's links.
        words: Markdown with headings of the third level.
    """
    goals = [(name, goal) for name, stage in stages.items() for goal in stage["goals"]]
    met = sum(goal["met"] for _, goal in goals)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` from `benchmarks/results/*.json` and `benchmarks/words.md`; do not edit. Contestants",
        "took turns in each round; the figures are medians over the rounds. Compare only figures of the same table.",
        "Processor seconds are those of the whole process tree. A contestant with incorrect rows is marked WRONG,",
        "whatever its time.",
        "",
        f"## Goals: {met} of {len(goals)} met",
        "",
        "| stage | goal | figure | |",
        "|---|---|---|---|",
        *(
            f"| [{name}](#{name}) | {goal['goal']} | {goal['figure']:,.2f} | {_MET[goal['met']]} |"
            for name, goal in goals
        ),
        "",
        *(["## What the figures show", "", words.strip(), ""] if words else []),
    ]
    for name, stage in stages.items():
        lines += [f"## {name}", "", f"{stage['title']}. {stage['measured_at'][:10]}, {stage['machine']}.", ""]
        lines += [f"![{stage['title']}]({plots}/{name}.svg)", ""]
        lines += [*table(stage["contestants"]), ""]
        if "history" in stage:
            lines += [f"{stage['history']['title']}.", "", *table(stage["history"]["contestants"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def table(stored: Sequence[Stage]) -> Iterator[str]:
    """The medians of contestants as a Markdown table."""
    heads, lines = medians([_contestant(one) for one in stored])
    for line in (heads, ["---"] * len(heads), *lines):
        yield f"| {' | '.join(line)} |"


def _contestant(stored: Stage) -> Contestant:
    return Contestant(stored["name"], dict, rounds=stored["rounds"], problems=stored["wrong"])


def plot(stage: Stage) -> str:
    """The stage's first figure as bars, with a line from the lowest round to the highest; SVG."""
    import vl_convert

    contestants = [_contestant(one) for one in stage["contestants"]]
    figure = next(iter(contestants[0].figures))
    bars = [
        {
            "name": one.name + (" (wrong)" if one.problems else ""),
            "middle": one.middle(figure),
            "low": min(round_[figure] for round_ in one.rounds),
            "high": max(round_[figure] for round_ in one.rounds),
        }
        for one in contestants
        if figure in one.figures
    ]
    title = UNITS.get(figure, (figure, 1.0))[0]
    along = {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 260}}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "width": PLOT_WIDTH,
        "height": {"step": BAR_HEIGHT},
        "data": {"values": bars},
        "layer": [
            {
                "mark": "bar",
                "encoding": {
                    "y": along,
                    "x": {"field": "middle", "type": "quantitative", "title": title},
                    "color": {
                        "condition": {"test": f"datum.name == {json.dumps(bars[0]['name'])}", "value": "#2a6f97"},
                        "value": "#b8c4cc",
                    },
                },
            },
            {
                "mark": "rule",
                "encoding": {
                    "y": along,
                    "x": {"field": "low", "type": "quantitative"},
                    "x2": {"field": "high"},
                },
            },
        ],
    }
    svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return svg


def write(folder: Path = RESULTS_DIR, to: Path = PAGE, words: str = "") -> None:
    """Write the page with this text, and a plot next to each stage's figures."""
    stages = kept(folder)
    for name, stage in stages.items():
        (folder / f"{name}.svg").write_text(plot(stage), encoding="utf-8")
    to.write_text(page(stages, folder.relative_to(to.parent).as_posix(), words), encoding="utf-8")
