"""The premise of 2019: the known distance, an interval that contains the truth, and a correct sentence."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.drift_coverage import World, coverage, grouped, players_events
from daybook.analysis.drift import FEWEST_EVENTS, THRESHOLD, Drift, check_drift, distance_between
from event_generator.day import LABELS, build_day

DAY = date(2026, 5, 3)
NAMES = ("sword", "knife", "guild join")


def before(*shares: dict[str, int], end: date = DAY) -> pd.DataFrame:
    """Each day's counts by category; the last day is the day before."""
    rows = [
        (end - timedelta(days=len(shares) - at), category, events)
        for at, day in enumerate(shares)
        for category, events in day.items()
    ]
    return pd.DataFrame(rows, columns=["event_date", "category", "events"])


WEEK = before(*[{"sword": 500 + at, "knife": 300 - at, "guild join": 200} for at in range(7)])


def today(*counts: int, groups: int = 500) -> NDArray[np.int64]:
    """Events, distributed to the groups in turn."""
    table = np.zeros((groups, len(counts)), dtype=np.int64)
    of_event = np.repeat(np.arange(len(counts)), counts)
    np.add.at(table, (np.arange(len(of_event)) % groups, of_event), 1)
    return table


def check(counts: NDArray[np.int64], usual: pd.DataFrame = WEEK, names: tuple[str, ...] = NAMES) -> Drift:
    return check_drift("event mix", DAY, usual, counts, names)


def bounds(found: Drift) -> tuple[float, float, float, float]:
    """Low, distance, high and chance of a premise that has them."""
    values = (found.low, found.distance, found.high, found.chance)
    low, distance, high, chance = (math.nan if value is None else value for value in values)
    return low, distance, high, chance


def test_distances_known_by_hand() -> None:
    assert distance_between([1, 0], [0, 1]) == 1.0
    assert distance_between([3, 1], [6, 2]) == 0.0
    # middle (3/4, 1/4): half of 1/2 ld(2/3) + 1/2 ld 2, and half of ld(4/3)
    by_hand = math.sqrt((0.5 * math.log2(2 / 3) + 0.5 + math.log2(4 / 3)) / 2)
    assert distance_between([0.5, 0.5], [1, 0]) == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(0.557923, abs=1e-6)


def test_the_threshold_is_a_main_category_halved() -> None:
    assert distance_between([0.16, 0.84], [0.08, 0.92]) > THRESHOLD > distance_between([0.24, 0.76], [0.20, 0.80])


def test_days_that_differ_among_themselves_make_the_bounds_wider() -> None:
    """Whole days are resampled: the usual mix is only as certain as the days before agree on it."""
    alike = before(*[{"sword": 500, "knife": 300, "guild join": 200}] * 6)
    apart = before(*[{"sword": 500 + at, "knife": 300 - at, "guild join": 200} for at in (150, -150) * 3])
    shifted = today(1000, 200, 800)
    (low, _, high, _), (wide_low, _, wide_high, _) = bounds(check(shifted, alike)), bounds(check(shifted, apart))
    assert wide_high - wide_low > 1.3 * (high - low)


def test_a_usual_day_holds_in_a_plain_sentence() -> None:
    found = check(today(1010, 590, 400))
    assert found.verdict == "holds"
    assert found.measured == pytest.approx(
        distance_between([1010, 590, 400], [WEEK[WEEK["category"] == name]["events"].sum() for name in NAMES])
    )
    low, distance, high, _ = bounds(found)
    assert 0.0 <= low <= distance <= high < THRESHOLD
    assert found.sentence == (
        f"The event mix of 2026-05-03 is in line with the 7 days before: distance {distance:.2f} "
        f"({low:.2f} to {high:.2f}), a deviation is strong from 0.10."
    )
    assert found.days == tuple(DAY - timedelta(days=back) for back in range(7, 0, -1))


def test_a_shifted_day_deviates_and_names_what_caused_it() -> None:
    found = check(today(250, 550, 200))
    assert found.verdict == "deviates"
    low, _, _, chance = bounds(found)
    assert low > chance
    assert [one.category for one in found.drivers][:2] == ["sword", "knife"]
    assert sum(one.part for one in found.drivers) == pytest.approx(1.0)
    assert "deviates strongly from the 7 days before: " in found.sentence
    assert "sword fell from 50.3 % to 25.0 % and knife rose from 29.7 % to 55.0 % of events" in found.sentence


@pytest.mark.parametrize(("counts", "beyond"), [((80, 80, 40), False), ((70, 90, 40), True)], ids=["below", "beyond"])
def test_an_interval_across_the_threshold_is_unclear(counts: tuple[int, int, int], beyond: bool) -> None:
    """The verdict is the same on both sides of the threshold."""
    found = check(today(*counts))
    low, distance, high, _ = bounds(found)
    assert low < THRESHOLD < high
    assert (distance >= THRESHOLD) == beyond
    assert found.verdict == "unclear"
    assert found.sentence.startswith("It is unclear whether the event mix of 2026-05-03 deviates strongly")


def test_the_threshold_is_the_callers() -> None:
    counts = today(250, 550, 200)
    assert check_drift("event mix", DAY, WEEK, counts, NAMES, threshold=0.9).verdict == "holds"


@pytest.mark.parametrize("days", [0, 1, 2])
def test_fewer_than_three_days_before_are_too_few(days: int) -> None:
    found = check(today(500, 300, 200), WEEK[WEEK["event_date"] >= DAY - timedelta(days=days)])
    assert (found.verdict, found.distance, len(found.days)) == ("too few days", None, days)
    assert f"needs 3 earlier days with events and has {days}." in found.sentence


def test_days_without_events_are_not_compared_with() -> None:
    usual = before(*[{"sword": 5 * on, "knife": 3 * on} for on in (100, 0, 110, 0, 0, 0, 120)])
    found = check(today(500, 300, 0), usual)
    assert found.days == tuple(DAY - timedelta(days=back) for back in (7, 5, 1))
    assert "the 3 published days before" in found.sentence


def test_only_the_last_seven_days_count() -> None:
    old = before({"sword": 1}, end=DAY - timedelta(days=7))
    assert check(today(500, 300, 200), pd.concat([old, WEEK])) == check(today(500, 300, 200))


def test_each_day_before_weighs_the_same() -> None:
    usual = before({"sword": 50, "knife": 50}, {"sword": 50, "knife": 50}, {"sword": 100_000})
    shares = {one.category: one.usual_share for one in check(today(500, 500, 0), usual).drivers}
    assert shares["sword"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (today(0, 0, 0), "has no events"),
        (np.zeros((0, 3), dtype=np.int64), "has no events"),
        (today(1, 0, 0), "too few events or players (1 event)"),
        (today(FEWEST_EVENTS - 1, 0, 0), "too few events or players (99 events)"),
        (today(5000, 0, 0, groups=20), "too few events or players (5,000 events)"),
    ],
    ids=["empty", "no group", "one event", "too few events", "too few groups"],
)
def test_a_day_of_too_little_is_unclear_without_a_distance(counts: NDArray[np.int64], reason: str) -> None:
    found = check(counts)
    assert (found.verdict, found.distance, found.low, found.chance, found.drivers) == ("unclear", None, None, None, ())
    assert reason in found.sentence


def test_a_category_only_today_and_one_only_before() -> None:
    usual = before(*[{"sword": 500, "bow": 500}] * 4)
    found = check(today(500, 500, 0), usual)
    by_name = {one.category: one for one in found.drivers}
    assert set(by_name) == {"knife", "bow"}  # unchanged share or never an event: no driver
    assert (by_name["knife"].usual_share, by_name["bow"].share) == (0.0, 0.0)
    # disjoint halves: half of the divergence of disjoint mixes
    assert found.measured == pytest.approx(math.sqrt(0.5))
    assert found.verdict == "deviates"


def test_disjoint_mixes_are_one_apart() -> None:
    found = check(today(0, 0, 1000), before(*[{"bow": 500}] * 4))
    assert (found.distance, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_single_category_has_no_distance() -> None:
    found = check(today(1000, 0, 0), before(*[{"sword": 500}] * 4))
    assert (found.distance, found.high, found.chance, found.drivers) == (0.0, 0.0, 0.0, ())
    assert found.verdict == "holds"


def test_equal_mixes_of_few_events_are_unclear_without_a_driver() -> None:
    usual = before(*[{"sword": 500, "knife": 500}] * 4)
    found = check_drift("event mix", DAY, usual, today(60, 60), NAMES[:2], threshold=0.02)
    assert (found.verdict, found.drivers) == ("unclear", ())
    assert found.sentence.endswith("a deviation is strong from 0.02.")


def test_the_same_counts_give_the_same_answer() -> None:
    assert check(today(500, 300, 200)) == check(today(500, 300, 200))


def test_players_in_bundles_widen_the_interval() -> None:
    spread = today(500, 300, 200, groups=1000)
    bundled = np.zeros((50, 3), dtype=np.int64)
    bundled[:25, 0], bundled[25:40, 1], bundled[40:, 2] = 20, 20, 20
    one, other = check(spread), check(bundled)
    assert one.measured == pytest.approx(other.measured)
    _, _, one_high, one_chance = bounds(one)
    _, _, other_high, other_chance = bounds(other)
    assert other_high > 3 * one_high
    assert other_chance > 3 * one_chance


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 3 categories"):
        check(today(1, 2))
    with pytest.raises(ValueError, match="negative"):
        check(-today(1, 2, 3))
    with pytest.raises(ValueError, match="the threshold is 0"):
        check_drift("event mix", DAY, WEEK, today(1, 2, 3), NAMES, threshold=0.0)
    with pytest.raises(ValueError, match="the earlier days include 2026-05-03"):
        check(today(1, 2, 3), before({"sword": 1}, end=DAY + timedelta(days=1)))


@pytest.mark.parametrize(
    ("moved", "fewest", "beyond"),
    [(0.0, 0.97, (0.01, 0.12)), (0.05, 0.90, (0.9, 1.0)), (0.15, 0.90, (1.0, 1.0))],
    ids=["unchanged", "a little", "strong"],
)
def test_the_interval_holds_the_true_distance(moved: float, fewest: float, beyond: tuple[float, float]) -> None:
    """120 simulated days. At 95 %, fewer than 90 % happens for one in a hundred seeds, and not for this one."""
    found = coverage(World(categories=6, players=400, moved=moved), 120, seed=2)
    assert found.held >= fewest
    assert beyond[0] <= found.beyond_chance <= beyond[1]
    # without the correction, the mean distance of unchanged days would be 0.03
    assert found.mean == pytest.approx(found.true, abs=0.015)
    assert moved == 0.0 or found.width < 0.08


def test_the_correction_matters_for_many_categories() -> None:
    """Noise separates two unchanged mixes of 50 categories; the answer reports no distance."""
    random = np.random.default_rng(5)
    mix = np.full(50, 0.02)
    names = tuple(f"item {number}" for number in range(50))
    days = [players_events(random, mix, 60, 10.0).sum(axis=0) for _ in range(7)]
    usual = before(*[dict(zip(names, day.tolist(), strict=True)) for day in days])
    found = check(grouped(random, players_events(random, mix, 60, 10.0)), usual, names)
    low, distance, _, _ = bounds(found)
    assert found.measured is not None
    assert found.measured > 0.1
    assert distance < found.measured / 2
    assert low == 0.0


def small_game(seed: int, *, know_players: bool) -> Drift:
    """The provider mix of a day of some 68 players, against a week on which the same 25 others played every day."""
    days = [DAY - timedelta(days=back) for back in range(7, -1, -1)]
    played = [build_day(day, 820 if day == DAY else 300, seed + 1000 * (day == DAY), ("sword",)) for day in days]
    labels = [np.bincount(day.label, minlength=len(LABELS)).tolist() for day in played[:-1]]
    usual = before(*[dict(zip(LABELS, counts, strict=True)) for counts in labels])
    counts = np.zeros((played[-1].user.max() + 1, len(LABELS)), dtype=np.int64)
    np.add.at(counts, (played[-1].user, played[-1].label), 1)
    players = {day: len(set(game.user.tolist())) for day, game in zip(days[:-1], played[:-1], strict=True)}
    return check_drift("provider mix", DAY, usual, counts, LABELS, players_before=players if know_players else None)


def test_which_few_players_a_small_game_has_is_chance() -> None:
    """Providers depend on the players: other players do not mean other habits.

    Days of the same few players look certain.
    """
    strong = {
        know: sum(small_game(seed, know_players=know).verdict == "deviates" for seed in range(40))
        for know in (False, True)
    }
    assert strong[False] >= 8, "the case is one in which chance was taken for a deviation"
    assert strong[True] <= 2, "5 % of the days"


def test_a_whole_provider_that_vanishes_from_a_small_game_is_still_strong() -> None:
    """200 players, a third on each provider; today nobody comes from one of the three."""
    week = before(*[{"att": 400, "comcast": 400, "cox": 400}] * 7)
    counts = np.zeros((200, 3), dtype=np.int64)
    counts[:100, 0], counts[100:, 1] = 6, 6
    names = ("att", "comcast", "cox")
    players = {DAY - timedelta(days=back): 200 for back in range(1, 8)}
    assert check_drift("provider mix", DAY, week, counts, names, players_before=players).verdict == "deviates"
