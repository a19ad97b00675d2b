"""Compares a day's figures with the day before, the week before and the same weekday.

Pure: daily figures in, comparisons out; no lake, no clock, no settings. Whether a difference is more than chance is
decided elsewhere: by :mod:`daybook.analysis.drops` and :mod:`daybook.analysis.drift`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("events", "users", "purchases", "guild_joins")


@dataclass(frozen=True)
class Comparison:
    """A figure of a day and its earlier values; None for a day without data."""

    measure: str
    value: int | None
    day_before: int | None
    week_mean: float | None
    """Mean over those of the 7 days before that have data."""
    same_weekday: int | None
    """A week before."""

    @property
    def since_day_before(self) -> float | None:
        """Relative change: 0.1 is 10 % more; None if there is nothing to compare with."""
        return relative_change(self.value, self.day_before)

    @property
    def since_week(self) -> float | None:
        """Relative change compared with the mean of the week before."""
        return relative_change(self.value, self.week_mean)

    @property
    def since_same_weekday(self) -> float | None:
        """Relative change compared with the same weekday a week before."""
        return relative_change(self.value, self.same_weekday)


def relative_change(value: float | None, base: float | None) -> float | None:
    """Return how much more a value is than its base, as a share of the base; None if one is missing or the base is 0.

    >>> relative_change(150, 100)
    0.5
    """
    return None if value is None or not base else value / base - 1.0


def compare_day(figures: pd.DataFrame, day: date, published: Collection[date] | None = None) -> list[Comparison]:
    """Compare a day with the days before it, measure by measure in the order of :data:`MEASURES`.

    Args:
        figures: columns event_date (date, each once at most), events, users, purchases and guild_joins (counts). Other
            days may be included.
        day: the day.
        published: the days that are known: one of them without a row had no events, and rows of other days are
            ignored. Default: the days with rows.

    Raises:
        ValueError: a day has two rows.
    """
    import pandas as pd

    table = figures.set_index(pd.DatetimeIndex(pd.to_datetime(figures["event_date"])))[list(MEASURES)]
    if not table.index.is_unique:
        raise ValueError(f"comparisons of {day}: {table.index[table.index.duplicated()][0].date()} has two rows")
    if published is not None:
        table = table.reindex(pd.DatetimeIndex(sorted(published)), fill_value=0)
    # every calendar day has a row, so that a shift by rows is one by days
    calendar = table.reindex(pd.date_range(end=day, periods=8, freq="D")).astype("float64")
    now, before, mean, weekday = (
        frame.iloc[-1]
        for frame in (
            calendar,
            calendar.shift(1),
            calendar.rolling(7, min_periods=1).mean().shift(1),
            calendar.shift(7),
        )
    )

    def count(value: float) -> int | None:
        return None if pd.isna(value) else int(value)

    return [
        Comparison(
            measure=measure,
            value=count(now[measure]),
            day_before=count(before[measure]),
            week_mean=None if pd.isna(mean[measure]) else float(mean[measure]),
            same_weekday=count(weekday[measure]),
        )
        for measure in MEASURES
    ]
