"""How benchmarks measure: turns, valid rounds, wrong rows, failures, and the resources of a process tree."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.measure import (
    LOOK_EVERY_SECONDS,
    Contestant,
    Failed,
    Goal,
    Run,
    at_least,
    at_most,
    cost_of,
    medians,
    race,
    take_turns,
)

# a child ends before the next sample: it is seen once, with all of its parent's pages, as a child is before its exec
FORKS = f"""
import os, time
held = bytearray(200_000_000)
for _ in range(20):
    if not (child := os.fork()):
        time.sleep({LOOK_EVERY_SECONDS / 2})
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_child_that_still_has_its_parents_pages_is_not_counted(tmp_path: Path) -> None:
    cost = cost_of([sys.executable, "-c", FORKS], os.environ, tmp_path / "log")
    assert 200 < cost.rss_mb < 300


def test_a_failing_program_has_no_cost_and_reports_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Failed, match="status 3"):
        cost_of([sys.executable, "-c", "print('no heap left'); raise SystemExit(3)"], os.environ, tmp_path / "log")
    message = capsys.readouterr().err
    assert "no heap left" in message
    assert f"the last lines of {tmp_path / 'log'} are above" in message


def test_contestants_take_turns_and_wrong_rows_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def contestant(name: str, problem: str) -> Contestant:
        def run() -> dict[str, float]:
            order.append(name)
            return {"seconds": float(len(order))}

        return Contestant(name, run, lambda: problem)

    one, other = contestant("one", ""), contestant("other", "2 rows of 3")
    take_turns([one, other], 2, warm_up=1)
    assert order == ["other", "one", "one", "other", "other", "one"]
    assert (len(one.rounds), one.problems) == (2, [])
    assert (len(other.rounds), other.problems) == (2, ["2 rows of 3"])
    assert one.middle("seconds") == 4.5
    assert "WRONG: 2 rows of 3" in capsys.readouterr().out


def test_a_peer_that_fails_is_reported_and_left_out_and_ours_ends_the_run() -> None:
    asked: list[str] = []

    def fails() -> dict[str, float]:
        asked.append("peer")
        raise Failed("ended with status 1")

    ours, peer = Contestant("ours", lambda: {"seconds": 2.0}), Contestant("peer", fails)
    take_turns([ours, peer], 3)
    assert (len(ours.rounds), peer.rounds, asked) == (3, [], ["peer"])
    heads, lines = medians([ours, peer])
    assert heads == ["", "s", "s, times the first", "rounds", "rows"]
    assert lines == [
        ["ours", "2", "1.00", "3", "right"],
        ["peer", "", "", "0", "WRONG: failed: ended with status 1"],
    ]
    assert not at_most("part", ours.middle("seconds") / peer.middle("seconds"), 2, ours, peer).met
    with pytest.raises(Failed):
        take_turns([Contestant("ours", fails), ours], 1)


def test_a_stopped_race_keeps_its_rounds_and_more_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RESULTS_DIR", tmp_path)
    order: list[str] = []

    def run(rounds: int, *names: str, fails_at: int = 0, more: bool = True) -> None:
        def once(name: str) -> dict[str, float]:
            order.append(name)
            if len(order) == fails_at:
                raise KeyboardInterrupt
            return {"seconds": float(len(order))}

        def goals() -> list[Goal]:
            return [Goal("goal", contestants[0].middle("seconds"), True)]

        contestants = [Contestant(name, partial(once, name)) for name in names]
        race("day", "A day", contestants, goals, Run(rounds, more=more))

    def kept() -> list[list[float]]:
        results = json.loads((tmp_path / "day.json").read_text(encoding="utf-8"))
        return [[round_["seconds"] for round_ in one["rounds"]] for one in results["contestants"]]

    with pytest.raises(KeyboardInterrupt):
        run(3, "one", "other", fails_at=4)
    assert kept() == [[1.0], [2.0]]
    run(2, "one", "other")
    assert order == ["one", "other", "other", "one", "other", "one", "one", "other"]
    assert kept() == [[1.0, 6.0, 7.0], [2.0, 5.0, 8.0]]
    assert json.loads((tmp_path / "day.json").read_text(encoding="utf-8"))["goals"][0]["figure"] == 6.0
    with pytest.raises(SystemExit, match="rounds of other contestants"):
        run(1, "one", "third")
    run(1, "one", "third", more=False)
    assert kept() == [[9.0], [10.0]]


def test_a_contestant_with_wrong_rows_meets_no_goal() -> None:
    right, wrong = Contestant("right", dict), Contestant("wrong", dict, problems=["1 row of 2"])
    assert at_most("time", 1, 2, right).met
    assert at_least("rate", 3, 2, right).met
    assert not at_most("time", 3, 2, right).met
    assert not at_least("rate", 1, 2, right).met
    assert not at_most("time", 1, 2, right, wrong).met
    assert not at_least("rate", 3, 2, wrong, right).met
