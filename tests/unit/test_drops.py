"""The drop alarm names each drop once, where it happened; on normal days it keeps its documented alarm rate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.drop_alarm import Volume, judged_days, months, thinned
from daybook.analysis.drops import FALSE_ALARM_RATE, FEWEST_DAYS, Counts, DropCheck, find_drops, judge

DAY = date(2026, 5, 3)
PROVIDERS = ("att", "comcast", "cox", "google")
EVENTS: tuple[tuple[str, str | None], ...] = (
    ("join_guild", None),
    ("purchase_item", "helmet"),
    ("purchase_item", "knife"),
    ("purchase_item", "sword"),
)
USUAL = np.outer([300, 400, 200, 100], [0.2, 0.2, 0.2, 0.4])
"""Events on a usual day: of comcast's 400, 80 are guild joins, helmets and knives each, and 160 swords."""
ATT, COMCAST, COX, GOOGLE = range(4)
JOIN, HELMET, KNIFE, SWORD = range(4)

Change = Callable[[NDArray[np.float64]], None]


def frame(tables: dict[date, NDArray[np.float64]]) -> pd.DataFrame:
    """Rows as in the lake: a count of zero has no row."""
    rows = [
        (day, provider, event_type, item, int(table[at, number]))
        for day, table in tables.items()
        for at, provider in enumerate(PROVIDERS)
        for number, (event_type, item) in enumerate(EVENTS)
        if table[at, number]
    ]
    return pd.DataFrame(rows, columns=["event_date", "provider", "event_type", "item", "events"])


def month(change: Change = lambda table: None, days: int = 28, seed: int = 1) -> dict[date, NDArray[np.float64]]:
    """Poisson days before the day, and the day itself: exactly as usual, except for the change."""
    random = np.random.default_rng(seed)
    tables = {
        DAY - timedelta(days=back): random.poisson(USUAL * random.lognormal(0.0, 0.1)).astype(np.float64)
        for back in range(days, 0, -1)
    }
    today = USUAL.copy()
    change(today)
    return {**tables, DAY: today}


def check(change: Change = lambda table: None, days: int = 28) -> DropCheck:
    return find_drops(frame(month(change, days)), DAY)


def named(found: DropCheck) -> list[tuple[str | None, str | None, str | None]]:
    return [(drop.provider, drop.event_type, drop.item) for drop in found.drops]


def put(provider: int | slice, event: int | slice, factor: float) -> Change:
    def change(table: NDArray[np.float64]) -> None:
        table[provider, event] *= factor

    return change


ALL = slice(None)


def test_a_usual_day_has_no_drop() -> None:
    found = check()
    assert (found.drops, found.judged, len(found.days)) == ((), True, 28)
    # 16 cells, 4 providers, 4 events, 1 total
    assert found.tested == 25
    assert found.sentence == "2026-05-03: no drop in 25 counts, compared with the 28 days before."


def test_one_event_on_one_provider() -> None:
    found = check(put(COMCAST, KNIFE, 0.1))
    assert named(found) == [("comcast", "purchase_item", "knife")]
    drop = found.drops[0]
    assert drop.events == 8
    # 8 % of a day of 928 events
    assert drop.expected == pytest.approx(74, abs=3)
    assert drop.drop == pytest.approx(1 - 8 / drop.expected)
    assert drop.sentence == (
        f"purchase knife on comcast: 8 instead of about {drop.expected:.0f} (89 % fewer); "
        f"{drop.low} or more would not alarm."
    )


@pytest.mark.parametrize("at", [JOIN, KNIFE])
def test_low_is_the_fewest_events_without_alarm(at: int) -> None:
    """A count at the bound raises no alarm, a count below it does; another cell keeps the day's total constant."""

    def with_count(events: int) -> Change:
        def change(table: NDArray[np.float64]) -> None:
            table[GOOGLE, SWORD] += table[COX, at] - events
            table[COX, at] = events

        return change

    low = check(with_count(1)).drops[0].low
    assert 2 < low < USUAL[COX, at]
    assert named(check(with_count(low - 1))) == [("cox", *EVENTS[at])]
    assert check(with_count(low)).drops == ()


def test_a_guild_join_has_no_item_and_is_named_so() -> None:
    found = check(put(COMCAST, JOIN, 0.0))
    assert named(found) == [("comcast", "join_guild", None)]
    assert found.drops[0].sentence.startswith("join guild on comcast: 0 instead of about ")


def test_a_whole_provider_is_named_once_and_not_each_of_its_cells() -> None:
    found = check(put(COMCAST, ALL, 0.2))
    assert named(found) == [("comcast", None, None)]
    assert found.drops[0].sentence.startswith("all events on comcast: 80 instead of about ")


def test_a_provider_that_vanished_is_named() -> None:
    assert named(check(put(ATT, ALL, 0.0))) == [("att", None, None)]


def test_a_whole_event_is_named_once() -> None:
    found = check(put(ALL, KNIFE, 0.2))
    assert named(found) == [(None, "purchase_item", "knife")]
    assert found.drops[0].sentence.startswith("purchase knife: 40 instead of about ")


def test_a_provider_that_fell_by_one_event_alone_is_not_to_blame() -> None:
    """Swords are two fifths of comcast: its total alarms too, but without swords it is as usual."""
    assert named(check(put(COMCAST, SWORD, 0.05))) == [("comcast", "purchase_item", "sword")]


def test_a_cell_that_fell_further_than_its_provider_is_named_with_it() -> None:
    def change(table: NDArray[np.float64]) -> None:
        table[COMCAST] *= 0.5
        table[COMCAST, SWORD] = 0

    assert set(named(check(change))) == {("comcast", None, None), ("comcast", "purchase_item", "sword")}


def test_two_drops_the_most_certain_first() -> None:
    def change(table: NDArray[np.float64]) -> None:
        table[ATT, KNIFE] *= 0.2
        table[COMCAST, HELMET] = 0

    assert named(check(change)) == [("comcast", "purchase_item", "helmet"), ("att", "purchase_item", "knife")]


def test_a_day_of_fewer_events_all_over_is_a_drop_of_the_total_only() -> None:
    found = check(put(ALL, ALL, 0.3))
    assert named(found) == [(None, None, None)]
    assert found.drops[0].sentence.startswith("all events: 300 instead of about ")


def test_a_day_without_events_is_a_drop_of_everything() -> None:
    found = check(put(ALL, ALL, 0.0))
    assert named(found) == [(None, None, None)]
    assert (found.drops[0].events, found.drops[0].drop) == (0, 1.0)


@pytest.mark.parametrize(
    "change",
    [put(ALL, SWORD, 3.0), put(COX, ALL, 4.0), put(COX, SWORD, 8.0), put(ALL, ALL, 3.0)],
    ids=["an event", "a provider", "a cell", "everything"],
)
def test_a_rise_is_not_a_drop_of_the_others(change: Change) -> None:
    """With three times the swords, all other shares fall by almost half, but nobody bought less."""
    assert check(change).drops == ()


def test_a_drop_is_found_despite_a_rise_elsewhere() -> None:
    def change(table: NDArray[np.float64]) -> None:
        table[:, SWORD] *= 3
        table[COMCAST, KNIFE] = 4

    assert named(check(change)) == [("comcast", "purchase_item", "knife")]


def test_a_drop_on_a_busy_day_is_seen() -> None:
    """Twice the events of a usual day, but fewer knives than usual on comcast: 60 of 160."""

    def change(table: NDArray[np.float64]) -> None:
        table *= 2
        table[COMCAST, KNIFE] = 60

    assert named(check(change)) == [("comcast", "purchase_item", "knife")]


def test_a_new_provider_is_not_reported_as_a_drop_of_the_others() -> None:
    counts = frame(month())
    new = counts[(counts["event_date"] == DAY) & (counts["provider"] == "comcast")].assign(provider="verizon")
    assert find_drops(pd.concat([counts, new]), DAY).drops == ()


def test_weekends_are_not_drops_once_the_weekday_was_seen() -> None:
    """Sundays have half of the events; the day is a Sunday. A Saturday with half of the events is a drop."""
    tables = {day: table * (0.5 if day.weekday() == 6 else 1.0) for day, table in month().items()}
    assert DAY.weekday() == 6
    assert find_drops(frame(tables), DAY).drops == ()

    # half of the events on a Saturday is a drop
    assert named(find_drops(frame({**tables, DAY - timedelta(days=1): USUAL // 2}), DAY - timedelta(days=1))) == [
        (None, None, None)
    ]
    assert find_drops(frame(tables), DAY - timedelta(days=1)).drops == ()


@pytest.mark.parametrize("weekend", [{6}, {5, 6}], ids=["Sunday", "weekend"])
def test_a_weekly_pattern_is_not_a_drop(weekend: set[int]) -> None:
    """These days have half of the guild joins, including the tested day."""
    tables = month()
    for day, table in tables.items():
        if day.weekday() in weekend:
            table[:, JOIN] //= 2
    assert find_drops(frame(tables), DAY).drops == ()


@pytest.mark.parametrize("place", [(COMCAST, ALL), (COMCAST, SWORD), (ALL, ALL)], ids=["provider", "cell", "total"])
def test_a_lasting_drop_continues_to_raise_alarms(place: tuple[int | slice, int | slice]) -> None:
    """The events are a fifth of the usual ones, on the fifth day in a row."""
    tables = month()
    for back in range(5):
        tables[DAY - timedelta(days=back)][place] //= 5
    found = find_drops(frame(tables), DAY)
    assert [(one[0] is None, one[1] is None) for one in named(found)] == [
        (isinstance(place[0], slice), isinstance(place[1], slice))
    ]


def test_a_drop_of_weeks_is_the_new_usual() -> None:
    tables = month()
    for back in range(14):
        tables[DAY - timedelta(days=back)][COMCAST] //= 5
    assert find_drops(frame(tables), DAY).drops == ()


def test_steady_growth_and_decline_are_not_drops() -> None:
    for per_day in (1.02, 0.98):
        tables = {day: np.floor(table * per_day ** (day - DAY).days) for day, table in month().items()}
        assert find_drops(frame(tables), DAY).drops == ()


def test_half_of_a_growing_game_is_a_drop() -> None:
    """It grows by 3 % a day: half of the expected events is still two thirds of the month's mean."""
    tables = {day: np.floor(table * 1.03 ** (day - DAY).days) for day, table in month().items()}
    tables[DAY] = USUAL // 2
    assert named(find_drops(frame(tables), DAY)) == [(None, None, None)]


@pytest.mark.parametrize("days", [0, FEWEST_DAYS - 1])
def test_fewer_than_seven_days_before_cannot_be_judged_yet(days: int) -> None:
    found = check(put(COMCAST, ALL, 0.0), days=days)
    assert (found.judged, found.drops, len(found.days)) == (False, (), days)
    assert "cannot be checked yet" in found.sentence


def test_no_rows_at_all_cannot_be_judged() -> None:
    assert not find_drops(frame({}), DAY).judged


def test_seven_days_see_a_provider_vanish() -> None:
    assert named(check(put(COMCAST, ALL, 0.02), days=FEWEST_DAYS)) == [("comcast", None, None)]


def test_cells_with_few_expected_events_are_not_tested() -> None:
    rare = USUAL.copy()
    rare[GOOGLE] = [6, 0, 0, 30]  # by chance alone, even zero of six can happen
    tables = {day: rare.copy() for day in month()}
    tables[DAY][GOOGLE, JOIN] = 0
    found = find_drops(frame(tables), DAY)
    assert (found.drops, found.tested) == ((), 25 - 3)


def test_a_single_provider_is_left_to_the_test_of_the_total() -> None:
    tables = {day: np.array([[0.0] * 4, [80.0, 80.0, 80.0, 160.0], [0.0] * 4, [0.0] * 4]) for day in month()}
    tables[DAY] *= 0.2
    found = find_drops(frame(tables), DAY)
    assert named(found) == [(None, None, None)]
    # 4 cells, 4 events, 1 total
    assert found.tested == 9


def constant_days(events: int, today: int, days: int) -> DropCheck:
    shares = USUAL / USUAL.sum()
    tables = {DAY - timedelta(days=back): np.rint(shares * events) for back in range(days, 0, -1)}
    return find_drops(frame({**tables, DAY: np.rint(shares * today)}), DAY)


@pytest.mark.parametrize("days", [8, 14, 28])
def test_a_rise_of_all_events_is_reported(days: int) -> None:
    found = constant_days(900, 20_000, days)
    assert found.total is not None
    assert (found.total.verdict, found.total.events) == ("rose", 20_000)
    assert found.total.sentence == "Events: 22 times the usual 900 (20,000), more than chance explains."
    assert found.drops == (), "what rose is no drop of anything else"


@pytest.mark.parametrize(
    ("today", "words"),
    [
        (1_300, "44 % more than the usual 900 (1,300)"),
        (2_200, "2.4 times the usual 900 (2,200)"),
        (450, "50 % fewer than the usual 900 (450)"),
        (0, "100 % fewer than the usual 900 (0)"),
    ],
)
def test_the_change_of_all_events_is_reported(today: int, words: str) -> None:
    total = constant_days(900, today, 28).total
    assert total is not None
    assert total.sentence == f"Events: {words}, more than chance explains."


def test_a_usual_total_is_reported_with_its_range() -> None:
    total = constant_days(900, 905, 28).total
    assert total is not None
    assert total.verdict == "as usual"
    assert total.sentence == (
        f"Events: {total.events}, as usual (about 900 expected; {total.low:,} to {total.high:,} is normal)."
    )


def test_the_range_of_a_usual_total_ends_where_the_verdict_changes() -> None:
    def verdict(events: int) -> tuple[str, int, int]:
        today, before = np.full((1, 1), float(events)), np.full((28, 1, 1), 900.0)
        total = judge(Counts(before, today, np.arange(28), 28)).total
        return total.verdict, total.low, total.high

    _, low, high = verdict(900)
    assert 700 < low < 900 < high < 1_100
    assert [verdict(events) for events in (low - 1, low, high, high + 1)] == [
        (one, low, high) for one in ("fell", "as usual", "as usual", "rose")
    ]


def test_one_busy_day_among_the_days_before_does_not_hide_a_rise() -> None:
    shares = USUAL / USUAL.sum()
    tables = {DAY - timedelta(days=back): np.rint(shares * (20_000 if back == 3 else 900)) for back in range(14, 0, -1)}
    total = find_drops(frame({**tables, DAY: np.rint(shares * 5_000)}), DAY).total
    assert total is not None
    assert total.verdict == "rose"


def test_a_weekend_is_not_a_rise_once_the_weekday_was_seen() -> None:
    shares = USUAL / USUAL.sum()
    tables = {
        day: np.rint(shares * (3_000 if day.weekday() >= 5 else 1_000))
        for day in (DAY - timedelta(days=back) for back in range(28, -1, -1))
    }
    assert DAY.weekday() == 6
    total = find_drops(frame(tables), DAY).total
    assert total is not None
    assert (total.verdict, round(total.expected, -2)) == ("as usual", 3_000)


def test_missing_days_and_later_days_are_not_looked_at() -> None:
    tables = month(put(COMCAST, KNIFE, 0.1))
    missing = [DAY - timedelta(days=back) for back in (1, 5, 6, 14)]
    kept = {day: table for day, table in tables.items() if day not in missing}
    found = find_drops(frame({**kept, DAY + timedelta(days=1): USUAL * 9}), DAY)
    assert named(found) == [("comcast", "purchase_item", "knife")]
    assert len(found.days) == 24
    assert not set(missing) & set(found.days)
    # the same result with the published days given explicitly
    assert find_drops(frame(tables), DAY, set(kept)) == found


def test_only_the_last_28_days_count() -> None:
    tables = month(put(COMCAST, KNIFE, 0.1), days=40)
    found = find_drops(frame(tables), DAY)
    assert found.days[0] == DAY - timedelta(days=28)
    assert found == find_drops(frame({day: tables[day] for day in (*found.days, DAY)}), DAY)


def dirichlet_days(days: int, seed: int, day_taste: float) -> NDArray[np.float64]:
    """Days whose mix varies around the usual one, over-dispersed by 1 + (events - 1) / (taste + 1)."""
    random = np.random.default_rng(seed)
    shares = (USUAL / USUAL.sum()).ravel()
    totals = random.poisson(1000 * random.lognormal(0.0, 0.1, days))
    return np.array(
        [random.multinomial(total, random.dirichlet(shares * day_taste)) for total in totals], dtype=np.float64
    ).reshape(days, *USUAL.shape)


@pytest.mark.parametrize("days", [7, 28])
@pytest.mark.parametrize("day_taste", [1e6, 500.0], ids=["players alone", "mixes of their own"])
def test_normal_days_raise_no_more_alarms_than_documented(day_taste: float, days: int) -> None:
    """The rate is 20 %, so that 600 days are enough for a test. The rate is a bound, and not ten times too high."""
    judged = [
        counts._replace(trailing=counts.trailing[-days:], trailing_ordinals=counts.trailing_ordinals[-days:])
        for counts in judged_days(dirichlet_days(607, 3, day_taste))
    ]
    alarmed = sum(alarms(counts, rate=0.2) for counts in judged)
    assert 0.02 * len(judged) < alarmed <= 0.2 * len(judged)
    assert sum(alarms(counts) for counts in judged) <= FALSE_ALARM_RATE * len(judged)


def alarms(counts: Counts, rate: float = FALSE_ALARM_RATE) -> bool:
    """Whether a day has a finding: a drop, or a rise of all events."""
    judged = judge(counts, rate)
    return bool(judged.findings) or judged.total.verdict != "as usual"


def judged_month(volume: Volume, seed: int) -> list[Counts]:
    return list(judged_days(months(volume, seed, days=63)))


def test_generated_months_stay_quiet() -> None:
    """224 days of clustered players, half of whom are absent on each day: the rate allows two alarms."""
    volume = Volume(2_000, series=1, every=1, playing=0.5)
    judged = [counts for seed in range(4) for counts in judged_month(volume, seed)]
    assert len(judged) == 224
    assert sum(alarms(counts) for counts in judged) <= 2


def test_drops_in_generated_months_are_seen() -> None:
    """The alarm detects the loss of half of an event everywhere, and of four fifths of a provider or a cell.

    The cell has 30 to 100 events; see `docs/drop-alarm.md`.
    """
    random = np.random.default_rng(1)
    judged = judged_month(Volume(2_000, series=1, every=1), 7)[21:]
    seen = dict.fromkeys(("event", "provider", "cell"), 0)
    for counts in judged:
        for what, where, drop in (
            ("event", (ALL, KNIFE), 0.5),
            ("provider", (1, ALL), 0.8),
            ("cell", (0, KNIFE), 0.8),
        ):
            found = judge(counts._replace(today=thinned(random, counts.today, where, drop))).findings
            place = tuple(None if isinstance(at, slice) else at for at in where)
            seen[what] += place in [(one.provider, one.event) for one in found]
    assert len(judged) == 35
    assert seen["event"] >= 34
    assert seen["provider"] >= 33
    assert seen["cell"] >= 32
