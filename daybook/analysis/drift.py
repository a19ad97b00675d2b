"""Checks the drift of a day: a daily batch is enough only if mixes do not deviate strongly from day to day.

Measures the distance of the day's mix (of events, or of host providers) from that of the days before it. Also returns
the bounds of that distance, and a verdict for a manager. Pure: counts in, a verdict out; no lake, no clock, no
settings.

The distance is Jensen-Shannon's: the square root of the divergence in base 2 (Lin 1991, "Divergence measures based on
the Shannon entropy"), a metric (Endres & Schindelin 2003): 0 for equal mixes, 1 for mixes that share nothing. It
supports categories that only one side has.

Bounds come from a bootstrap. The day: each *player group* gets a weight drawn from Poisson(1), because events of one
player are not independent (Chamandy et al. 2012, "Estimating uncertainty for massive data streams"). The days before:
whole days are drawn, one fewer than there are, so that the variance of the mean is right for few days (Rao & Wu 1988).
Days with the same few players are alike, although it is chance which players they are. A second draw of the day's
players, scaled to the number of players on the busiest day before, shows how much other players would have changed.
The part of that variance that the days before do not show among themselves is added to the drawn mean.

A distance cannot be negative, so noise only ever adds to it: with n events and k categories, equal mixes seem about
sqrt((k - 1) / (8 n ln 2)) apart. The draws add the same noise again to the day's own, so they show its size: mean of
the drawn divergences - measured divergence. It is subtracted once from the measured divergence, and twice from the
draws' quantiles; then roots are taken, with 0 for negative values.

How often the 95 % interval held the true distance, and how often the distance was beyond `chance` (`python -m
benchmarks.drift_coverage`: 400 days of each world, players with tastes of their own, 12 events each in the mean):

==========  =======  ===========  =======  =============  ======  =============
categories  players  days before  own mix  true distance  held    beyond chance
==========  =======  ===========  =======  =============  ======  =============
6           40       7            no       0              99.8 %  3.0 %
6           40       7            no       0.073          99.0 %  15.8 %
6           40       7            no       0.204          95.5 %  94.5 %
6           400      7            no       0              100 %   4.2 %
6           400      7            no       0.030          99.8 %  38.2 %
6           400      7            no       0.073          95.8 %  98.8 %
6           400      7            no       0.204          96.2 %  100 %
2           400      7            no       0              100 %   3.5 %
2           400      7            no       0.043          94.0 %  86.0 %
2           400      7            no       0.128          95.5 %  100 %
50          400      7            no       0              100 %   4.2 %
50          400      7            no       0.070          99.2 %  72.5 %
50          400      7            no       0.141          98.2 %  100 %
6           400      3            no       0              99.5 %  5.5 %
6           400      3            no       0.204          95.2 %  100 %
6           400      7            yes      0              99.5 %  6.2 %
6           400      7            yes      0.204          94.2 %  100 %
6           400      3            yes      0.073          95.2 %  82.8 %
6           400      3            yes      0.204          93.0 %  100 %
==========  =======  ===========  =======  =============  ======  =============

("own mix": each day before has a mix of its own around the usual one.) So the interval is cautious near zero, where
nothing depends on it. Near the threshold its coverage is as stated. 3 % to 6 % of unchanged days are beyond `chance`.
4096 groups and 50 categories take about 0.1 s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.10
"""Deviations from here on are strong. In words: a provider of 24 % of all events that falls to 12 % is 0.13, one of
16 % to 8 % is 0.105, one of 5 % that vanishes 0.16; one of 24 % that falls to 20 % is 0.04. So 0.10 is about "a main
category halved, or a small one gone": a change that somebody would have acted on before the next day's report."""

MOST_DAYS, FEWEST_DAYS = 7, 3
"""A week, so that each weekday counts once in the mean; with two days, a resample of one of them is meaningless."""

FEWEST_EVENTS, FEWEST_GROUPS = 100, 30
"""No verdict below either: the interval would be wider than the threshold, and with fewer than 30 player groups a
bootstrap underestimates."""

DRAWS = 500
LEVEL = 0.95

NAMED_SHARE, MOST_NAMED = 0.2, 3
"""The sentence names the category with the biggest part of the divergence, and others that contribute a fifth of it."""

Verdict = Literal["holds", "deviates", "unclear", "too few days"]


@dataclass(frozen=True)
class Driver:
    """A category's contribution to the distance of two mixes."""

    category: str
    share: float
    """Share of the day's events, 0 to 1."""
    usual_share: float
    """The mean of its shares on the days before."""
    part: float
    """Share of the measured divergence, 0 to 1; all drivers' parts sum to 1."""


@dataclass(frozen=True)
class Drift:
    """The result of the check for a day; distances are None where there is nothing to compare."""

    subject: str
    distance: float | None
    """Jensen-Shannon distance without the part that chance adds, 0 to 1."""
    low: float | None
    high: float | None
    """The 95 % interval of :attr:`distance`."""
    chance: float | None
    """If nothing changed, :attr:`distance` is at most this on 95 % of days; it is chance which players come."""
    threshold: float
    verdict: Verdict
    sentence: str
    drivers: tuple[Driver, ...]
    """By part, the biggest first; without those that changed nothing."""
    days: tuple[date, ...]
    """The days compared with, oldest first: those with events among the days given."""
    measured: float | None = None
    """The distance computed directly from the shares, including the part that chance adds."""


def check_drift(
    subject: str,
    day: date,
    usual: pd.DataFrame,
    today: NDArray[np.integer[Any]],
    categories: Sequence[str],
    *,
    players_before: Mapping[date, int] | None = None,
    threshold: float = THRESHOLD,
    draws: int = DRAWS,
) -> Drift:
    """Measure how far a day's mix is from the mean mix of the days before it.

    Each day before has the same weight, however many events it had. The drift is about days, and a promotion with
    ten times the events must not become "the usual". The resampling of days shows the noise that a thin day's mix adds.

    Args:
        subject: what is compared, for the sentence: "event mix" or "provider mix".
        day: the day; it also seeds the draws, so that the same counts give the same answer.
        usual: columns event_date (date), category (text), events (count) of published days before the day; the last
            7 that have events are compared with. A category without a row on a day had no events.
        today: events of the day, groups of players x categories. A group is any set of whole players, such as a bucket
            of a hash of user ids: the more groups, the sharper; rows of zeros are harmless.
        categories: names of the columns of `today`.
        players_before: how many players the days before had, capped as the groups of `today` are. Without it, the
            chance of which players the days before had is not included.
        threshold: the distance from which on a deviation is strong.
        draws: bootstrap draws.

    Raises:
        ValueError: the threshold is not above 0, `today` is not a table of counts over `categories`, or `usual` holds
            the day or a later one.
    """
    counts = np.asarray(today)
    if counts.ndim != 2 or counts.shape[1] != len(categories) or len(set(categories)) != len(categories):
        raise ValueError(f"{subject} of {day}: counts of shape {counts.shape} do not fit {len(categories)} categories")
    if threshold <= 0.0:
        raise ValueError(f"{subject} of {day}: the threshold is {threshold} and must be above 0")
    if counts.size and counts.min() < 0:
        raise ValueError(f"{subject} of {day}: a negative number of events")
    days, names, before = _days_before(subject, day, usual, categories)
    groups = np.zeros((len(counts), len(names)), dtype=np.float64)
    groups[:, : len(categories)] = counts
    groups = groups[groups.sum(axis=1) > 0]
    events = int(groups.sum())

    def without_distance(verdict: Verdict, sentence: str) -> Drift:
        return Drift(subject, None, None, None, None, threshold, verdict, sentence, (), days)

    if len(days) < FEWEST_DAYS:
        return without_distance(
            "too few days",
            f"The {subject} of {day} cannot be compared yet: it needs {FEWEST_DAYS} earlier days with events "
            f"and has {len(days)}.",
        )
    if events == 0:
        return without_distance("unclear", f"{day} has no events: there is no {subject} to compare.")
    if events < FEWEST_EVENTS or len(groups) < FEWEST_GROUPS:
        return without_distance(
            "unclear",
            f"The {subject} of {day} cannot be compared: it has too few events or players "
            f"({events:,} event{'s' * (events != 1)}).",
        )

    share, usual_share = groups.sum(axis=0) / events, before.mean(axis=0)
    parts = _divergence_parts(share, usual_share)
    measured = float(parts.sum())
    players = max((players_before or {}).get(one, 0) for one in days)
    drawn, chance = _bootstrap(np.random.default_rng(day.toordinal()), groups, before, draws, players)
    noise = max(0.0, float(drawn.mean()) - measured)
    tail = (1.0 - LEVEL) / 2.0
    low, high = (float(bound) - 2.0 * noise for bound in np.quantile(drawn, (tail, 1.0 - tail)))
    distance, low, high, by_chance = (_root(value) for value in (measured - noise, low, high, chance))
    drivers = tuple(
        Driver(names[at], float(share[at]), float(usual_share[at]), float(parts[at] / measured))
        for at in np.argsort(-parts, kind="stable").tolist()
        if parts[at] > 0.0
    )
    verdict: Verdict = "holds" if high < threshold else "deviates" if low >= threshold else "unclear"
    compared = f"the {subject} of {day}", _days_text(day, days)
    figures = f"distance {distance:.2f} ({low:.2f} to {high:.2f}), a deviation is strong from {threshold:.2f}"
    sentence = _sentence(verdict, *compared, figures, drivers)
    return Drift(
        subject,
        distance,
        low,
        high,
        by_chance,
        threshold,
        verdict,
        sentence,
        drivers,
        days,
        measured=_root(measured),
    )


def distance_between(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the Jensen-Shannon distance of two mixes over the same categories.

    >>> distance_between([1, 0], [0, 1])
    1.0
    >>> round(distance_between([0.5, 0.5], [1, 0]), 4)
    0.5579
    """
    p, q = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return _root(float(_divergence_parts(p / p.sum(), q / q.sum()).sum()))


def _days_before(
    subject: str, day: date, usual: pd.DataFrame, categories: Sequence[str]
) -> tuple[tuple[date, ...], list[str], NDArray[np.float64]]:
    """Return the days compared with, all categories (the day's own first) and shares of days x categories."""
    import pandas as pd

    if not len(usual):
        return (), list(categories), np.empty((0, len(categories)))
    dated = usual.assign(event_date=pd.to_datetime(usual["event_date"]).dt.date)
    if dated["event_date"].max() >= day:
        raise ValueError(f"{subject} of {day}: the earlier days include {dated['event_date'].max()}")
    table = dated.pivot_table(index="event_date", columns="category", values="events", aggfunc="sum", fill_value=0)
    table = table[table.sum(axis=1) > 0].sort_index().tail(MOST_DAYS)
    only_before = sorted(set(table.columns[table.sum() > 0]) - set(categories))
    names = [*categories, *only_before]
    counts = table.reindex(columns=names, fill_value=0).to_numpy(dtype=np.float64)
    return tuple(table.index), names, counts / counts.sum(axis=1, keepdims=True)


def _bootstrap(
    random: np.random.Generator, groups: NDArray[np.float64], before: NDArray[np.float64], draws: int, players: int
) -> tuple[NDArray[np.float64], float]:
    """Return divergences drawn around the measured one, and the one that chance alone stays below on 95 % of days.

    For chance, the day's draws are mapped onto the usual mix: each category retains its relative error, scaled to its
    value at the usual share. A category without events today gets the error of a Poisson count.

    Args:
        random: the generator for the draws.
        groups: events of the day, groups x categories, no row empty.
        before: shares, days x categories.
        draws: how many.
        players: of the busiest day before, 0 if not known.
    """
    events, usual = groups.sum(), before.mean(axis=0)
    sums = random.poisson(1.0, size=(draws, len(groups))).astype(np.float64) @ groups
    picked = random.integers(0, len(before), size=(draws, len(before) - 1))
    usual_drawn = before[picked].mean(axis=1)

    total = groups.sum(axis=0)
    seen, expected = total > 0, events * usual
    relative = np.zeros_like(sums)
    relative[:, seen] = (sums[:, seen] / total[seen] - 1.0) * np.sqrt(total[seen] / np.maximum(expected[seen], 1e-9))
    unseen = ~seen & (expected > 0)
    relative[:, unseen] = random.poisson(expected[unseen], size=(draws, int(unseen.sum()))) / expected[unseen] - 1.0
    if players:
        # another draw's errors: independent of those of the day
        errors = np.roll(relative, 1, axis=0) * math.sqrt(len(groups) / players)
        by_players = float(_shares(np.maximum(0.0, usual * (1.0 + errors))).var(axis=0).sum())
        between_days = float(before.var(axis=0, ddof=1).sum())
        same = max(0.0, 1.0 - between_days / max(by_players, 1e-300))
        usual_drawn = _shares(np.maximum(0.0, usual_drawn * (1.0 + math.sqrt(same) * errors)))
    drawn = _divergence_parts(_shares(sums), usual_drawn).sum(axis=1)
    unchanged = np.maximum(0.0, usual * (1.0 + relative))
    by_chance = _divergence_parts(_shares(unchanged), usual_drawn).sum(axis=1)
    # like the distance itself: without the noise that every draw contains
    return drawn, float(np.quantile(by_chance, LEVEL) - by_chance.mean())


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300)
    return shares


def _divergence_parts(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each category's part of the Jensen-Shannon divergence in bits, never negative (log sum inequality)."""
    middle = (p + q) / 2.0
    # where a share is 0 its term is 0, so the argument of the logarithm does not matter
    safe = np.where(middle > 0.0, middle, 1.0)
    terms = p * np.log2(np.where(p > 0.0, p / safe, 1.0)) + q * np.log2(np.where(q > 0.0, q / safe, 1.0))
    parts: NDArray[np.float64] = np.maximum(0.0, terms / 2.0)
    return parts


def _root(divergence: float) -> float:
    return float(np.sqrt(min(1.0, max(0.0, divergence))))


def _days_text(day: date, days: Sequence[date]) -> str:
    in_a_row = days[0] == day - timedelta(days=len(days))
    return f"the {len(days)} days before" if in_a_row else f"the {len(days)} published days before"


def _sentence(verdict: Verdict, what: str, days: str, figures: str, drivers: Sequence[Driver]) -> str:
    if verdict == "holds":
        return f"T{what[1:]} is in line with {days}: {figures}."
    if verdict == "deviates":
        return f"T{what[1:]} deviates strongly from {days}: {_drivers_text(drivers)} of events; {figures}."
    # equal mixes of few events: nothing moved, and nothing is certain
    moved = f"; {_drivers_text(drivers)} of events" if drivers else ""
    return f"It is unclear whether {what} deviates strongly from {days}: {figures}{moved}."


def _drivers_text(drivers: Sequence[Driver]) -> str:
    named = [one for at, one in enumerate(drivers[:MOST_NAMED]) if at == 0 or one.part >= NAMED_SHARE]
    moves = [
        f"{one.category} {'rose' if one.share > one.usual_share else 'fell'} "
        f"from {100 * one.usual_share:.1f} % to {100 * one.share:.1f} %"
        for one in named
    ]
    return moves[0] if len(moves) == 1 else f"{', '.join(moves[:-1])} and {moves[-1]}"
