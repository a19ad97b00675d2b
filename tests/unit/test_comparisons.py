"""A day compared with the days before it: each figure belongs to its own day, and a missing day is not zero."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest

from daybook.analysis.comparisons import MEASURES, Comparison, compare_day, relative_change

DAY = date(2026, 5, 10)


def days_back(*rows: tuple[int, int]) -> pd.DataFrame:
    """Pairs of days before the day and events; the other measures are a half, a fifth and a tenth of them."""
    return pd.DataFrame(
        [(DAY - timedelta(days=back), events, events // 2, events // 5, events // 10) for back, events in rows],
        columns=["event_date", *MEASURES],
    )


def test_each_figure_is_that_of_its_own_day() -> None:
    found = compare_day(days_back(*((back, 1000 + 100 * back) for back in range(9))), DAY)
    assert [one.measure for one in found] == list(MEASURES)
    # back 1..7: 1100 .. 1700; the week does not include the eighth day back
    assert found[0] == Comparison("events", 1000, 1100, 1400.0, 1700)
    assert found[1] == Comparison("users", 500, 550, 700.0, 850)
    assert found[0].since_day_before == pytest.approx(1000 / 1100 - 1)
    assert found[0].since_week == pytest.approx(1000 / 1400 - 1)
    assert found[0].since_same_weekday == pytest.approx(1000 / 1700 - 1)


def test_a_missing_day_is_left_out_of_the_mean_and_not_counted_as_zero() -> None:
    events = compare_day(days_back((0, 900), (2, 100), (4, 200)), DAY)[0]
    assert events == Comparison("events", 900, None, 150.0, None)
    assert events.since_day_before is None
    assert events.since_week == pytest.approx(5.0)


def test_a_published_day_without_a_row_had_no_events() -> None:
    published = [DAY - timedelta(days=back) for back in (0, 1, 2)]
    events = compare_day(days_back((0, 900), (2, 100), (3, 500)), DAY, published)[0]
    # the third day back has a row but is not published, so it is ignored
    assert events == Comparison("events", 900, 0, 50.0, None)
    assert events.since_day_before is None


def test_an_empty_published_day_fell_to_nothing() -> None:
    events = compare_day(days_back((1, 100)), DAY, [DAY, DAY - timedelta(days=1)])[0]
    assert (events.value, events.since_day_before) == (0, -1.0)


@pytest.mark.parametrize("figures", [days_back(), days_back((8, 100), (-1, 50))], ids=["no rows", "other days only"])
def test_nothing_known_compares_nothing(figures: pd.DataFrame) -> None:
    assert compare_day(figures, DAY) == [Comparison(measure, None, None, None, None) for measure in MEASURES]


def test_days_in_any_order_and_as_timestamps() -> None:
    figures = days_back((7, 70), (0, 10), (1, 20))
    figures["event_date"] = pd.to_datetime(figures["event_date"])
    assert compare_day(figures, DAY)[0] == Comparison("events", 10, 20, 45.0, 70)


def test_two_rows_of_a_day_are_refused() -> None:
    with pytest.raises(ValueError, match="2026-05-09 has two rows"):
        compare_day(days_back((0, 1), (1, 2), (1, 3)), DAY)


def test_the_relative_change_from_zero_is_undefined() -> None:
    assert relative_change(5, 0) is None
    assert relative_change(None, 5) is None
    assert relative_change(0, 5) == -1.0
