"""benchmarks/RESULTS.md contains the stored results of the stages, with wrong rows and missed goals first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import results_page


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rounds = [
        {"cpu_seconds": 3.0, "seconds": 2.0},
        {"cpu_seconds": 1.0, "seconds": 9.0},
        {"cpu_seconds": 2.0, "seconds": 4.0},
    ]
    stage = {
        "title": "A day",
        "measured_at": "2026-05-03T10:00:00+00:00",
        "machine": "2 cores",
        "contestants": [
            {"name": "ours", "rounds": rounds, "wrong": []},
            {"name": "fast", "rounds": [{"cpu_seconds": 0.1, "seconds": 0.1}], "wrong": ["1 row of 2"]},
        ],
        "goals": [{"goal": "half", "figure": 0.4, "met": True}, {"goal": "a third", "figure": 0.4, "met": False}],
    }
    for name in ("landing_5000000", "landing_20000", "intake_single", "growth"):
        (tmp_path / f"{name}.json").write_text(json.dumps(stage), encoding="utf-8")
    return tmp_path


def test_the_page_has_medians_wrong_rows_and_missed_goals(results: Path) -> None:
    results_page.write(results, results / "RESULTS.md", "### Landing\n\nIs honest.\n")
    text = (results / "RESULTS.md").read_text(encoding="utf-8")
    assert "| ours | 2 | 4 | 1.00 | 3 | right |" in text
    assert "| fast | 0.1 | 0.1 | 0.05 | 1 | WRONG: 1 row of 2 |" in text
    assert "## Goals: 4 of 8 met" in text
    assert "![A day](./growth.svg)" in text
    assert "| [growth](#growth) | a third | 0.40 | **not met** |" in text
    assert (
        text.index("**not met**")
        < text.index("## What the figures show\n\n### Landing\n\nIs honest.")
        < text.index("![A day]")
    )
    assert "fast (wrong)" in (results / "growth.svg").read_text(encoding="utf-8")


def test_stages_are_in_the_order_of_a_day_and_sizes_ascend(results: Path) -> None:
    assert list(results_page.kept(results)) == ["intake_single", "landing_20000", "landing_5000000", "growth"]
