"""The drop alarm: which provider, which event, or which event on which provider fell further than chance explains.

Daily counts in, alarms out; no lake, no clock, no settings. `docs/drop-alarm.md` explains the method in plain words and
how often it is wrong (measured by `python -m benchmarks.drop_alarm`). In short:

- *Tested counts*: each event on each provider (a cell), each provider, each event, and the day's total. A count is
  tested only if at least :data:`FEWEST_EXPECTED` events are expected: below, not even zero events would be certain.
- *Expected* is the usual share (of all events of the trailing days) times the day's total, so that weekends and growth
  are no drops. If the total exceeds its forecast because something rose, that rise is left out of the total as far as
  the others did not share it: a promotion of one item is no drop of the others (:func:`_basis`).
- *How unlikely*: the signed root of the binomial deviance of the count (half an event added, against discreteness),
  over the root of an overdispersion (quasi-likelihood: Wedderburn 1974; McCullagh & Nelder 1989, ch. 4 and 9), because
  events of one player come in bundles and mixes have days of their own. The overdispersion is Pearson's over the
  trailing days. The cell's own and that of all cells of its kind are weighted by their degrees of freedom, as Smyth
  2004 does for variances. It is never below 1. The ratio is treated as Student's t.
- *Usual days*: if a count was far off its median share on a trailing day, that day is left out for that count. So an
  outage that lasts continues to alarm (:func:`_usual_days`).
- *The total* is tested by its logarithm against a regression on the trailing days: level, weekday and slope, as far as
  the days allow (:func:`_total_forecast`).
- *A rise* is tested for the total alone, by the same forecast, distribution and limit (:func:`_total`).
- *False alarms*: Bonferroni over all tests, so that a normal day has any alarm with a probability of at most
  :data:`FALSE_ALARM_RATE`, however the tests depend on each other.
- *Attribution*: a provider that fell as a whole is named once, not each of its cells (:func:`_attributed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daybook.contract import event_label

if TYPE_CHECKING:
    import pandas as pd

MOST_DAYS, FEWEST_DAYS = 28, 7
"""Four of each weekday; with less than a week a weekend looks like a drop of the weekdays."""

FALSE_ALARM_RATE = 0.01
"""Share of normal days with any alarm, at most: with three or four false alarms a year people still trust it."""

FEWEST_EXPECTED = 10.0
"""With 60 tests at 1 %, zero events are certain to be a drop from -ln(0.01 / 60) = 8.7 expected ones on (Poisson)."""

POOL_DEGREES = 7.0
"""Weight of the overdispersion of all counts of a kind, in degrees of freedom: as a week of the count's own. With 14,
providers with only a few players had 1.0 to 1.7 times the intended false alarms at 3 and 3.5 standard deviations.
With less, few days leave a wide tail and detect less."""

OUTLIER_DEVIATIONS, MOST_OUTLIERS = 4.0, 0.25
"""Trailing days that are further off than this, in robust deviations, are not usual days, up to a quarter of the days.
An outage that lasts must continue to alarm, and not widen what counts as chance; beyond a quarter it is the new usual.
Days of the tested day's weekday always count: what happens every Sunday is no outage of this one."""

FEWEST_TOTAL_DEGREES = 5
"""Degrees of freedom that the regression of totals leaves at least: with fewer, Student's tail hides any drop."""


@dataclass(frozen=True)
class Drop:
    """A count that is lower than chance explains."""

    provider: str | None
    """None: all providers together."""
    event_type: str | None
    """None: all events together."""
    item: str | None
    """None: an event that has no item, or all events together."""
    events: int
    expected: float
    low: int
    """The smallest number of events that would not have alarmed."""
    drop: float
    """Share of the expected events that are missing, 0 to 1."""
    sentence: str


@dataclass(frozen=True)
class Total:
    """All events of a day, compared with the forecast."""

    events: int
    expected: float
    low: int
    """The smallest number of events that is as usual."""
    high: int
    """The largest number of events that is as usual."""
    verdict: Literal["as usual", "rose", "fell"]
    sentence: str


@dataclass(frozen=True)
class DropCheck:
    """The alarm's result for a day."""

    day: date
    drops: tuple[Drop, ...]
    """The drops, the most certain first."""
    judged: bool
    """False: too few days before, so there is no statement about the day."""
    tested: int
    """Number of counts that could have alarmed."""
    days: tuple[date, ...]
    """The days compared with, oldest first."""
    sentence: str
    total: Total | None = None
    """None: too few days before."""


class Counts(NamedTuple):
    """Daily counts as arrays: the input of the alarm's computation."""

    trailing: NDArray[np.float64]
    """Days x providers x events, oldest first; no day of zeros."""
    today: NDArray[np.float64]
    """Providers x events."""
    trailing_ordinals: NDArray[np.int64]
    """The days' ordinals; ordinal modulo 7 is the weekday."""
    ordinal: int


class Finding(NamedTuple):
    """A test that alarms; indices into :class:`Counts`, None for all of them."""

    provider: int | None
    event: int | None
    events: int
    expected: float
    low: int
    z: float
    """How unlikely, in standard deviations of a normal distribution below its mean."""


def find_drops(counts: pd.DataFrame, day: date, published: Collection[date] | None = None) -> DropCheck:
    """Find the drops of a day compared with the published days before it.

    Args:
        counts: columns event_date (date), provider (text), event_type (text), item (text, null for an event without
            one) and events (count), for the day and those before it; a combination without a row on a day had 0
            events there. Days after the day are ignored, and so are those beyond the last 28 before it.
        day: the day to test; without a row it had no events.
        published: the days that are known. Days without rows among them had no events; they are left out, because they
            have no shares. Default: the days with rows.
    """
    import pandas as pd

    dated = counts.assign(event_date=pd.to_datetime(counts["event_date"]).dt.date)
    dated = dated[dated["event_date"] <= day]
    if published is not None:
        dated = dated[dated["event_date"].isin({*published, day})]
    # an event without an item must not drop out of the pivot
    dated = dated.assign(item=dated["item"].astype("object").where(dated["item"].notna(), ""))
    table = dated.pivot_table(
        index="event_date", columns=["provider", "event_type", "item"], values="events", aggfunc="sum", fill_value=0
    )
    before = table[(table.index < day) & (table.sum(axis=1) > 0)].tail(MOST_DAYS)
    days = tuple(before.index)
    if len(days) < FEWEST_DAYS:
        sentence = (
            f"Drops on {day} cannot be checked yet: the check needs {FEWEST_DAYS} earlier days with events "
            f"and has {len(days)}."
        )
        return DropCheck(day, (), False, 0, days, sentence)

    providers = sorted({column[0] for column in table.columns})
    events = sorted({column[1:] for column in table.columns})
    columns = pd.MultiIndex.from_tuples(
        [(provider, *event) for provider in providers for event in events], names=table.columns.names
    )
    shape = (-1, len(providers), len(events))
    frame = table.reindex(columns=columns, fill_value=0)
    arrays = Counts(
        trailing=frame.loc[before.index].to_numpy(dtype=np.float64).reshape(shape),
        today=frame.reindex([day], fill_value=0).to_numpy(dtype=np.float64).reshape(shape)[0],
        trailing_ordinals=np.array([one.toordinal() for one in days], dtype=np.int64),
        ordinal=day.toordinal(),
    )
    judged = judge(arrays)
    tested, findings = judged.tested, judged.findings
    drops = tuple(
        _drop(
            found,
            None if found.provider is None else providers[found.provider],
            None if found.event is None else events[found.event],
        )
        for found in findings
    )
    found = "no drop" if not drops else f"{len(drops)} drop{'s' * (len(drops) > 1)}"
    sentence = f"{day}: {found} in {tested} counts, compared with the {len(days)} days before."
    return DropCheck(day, drops, True, tested, days, sentence, judged.total)


class Judged(NamedTuple):
    """The result of :func:`judge`."""

    tested: int
    """Number of counts that were tested for a drop."""
    findings: list[Finding]
    """The findings that alarm, attributed, the most certain first."""
    total: Total


def judge(counts: Counts, rate: float = FALSE_ALARM_RATE) -> Judged:
    """Test a day for drops, and its total also for a rise.

    Args:
        counts: at least :data:`FEWEST_DAYS` trailing days.
        rate: probability that a normal day has any alarm, at most.
    """
    trailing, today = counts.trailing, counts.today
    total = float(today.sum())
    forecast = _total_forecast(counts)
    basis = _basis(counts, forecast.expected)
    kinds = {
        "cell": (trailing.reshape(len(trailing), -1), today.ravel()),
        "provider": (trailing.sum(axis=2), today.sum(axis=1)),
        "event": (trailing.sum(axis=1), today.sum(axis=0)),
    }
    measured = {kind: _Shares.of(past, now, counts, basis) for kind, (past, now) in kinds.items()}
    total_tested = forecast.expected >= FEWEST_EXPECTED
    tested = sum(int(shares.tested.sum()) for shares in measured.values()) + int(total_tested)
    # the rise of the total is one more test
    critical = NormalDist().inv_cdf(1.0 - rate / (tested + 1))

    findings: list[Finding] = []
    for kind, shares in measured.items():
        for at in np.flatnonzero(shares.tested & (shares.z > critical)).tolist():
            where: tuple[int | None, int | None] = (
                divmod(at, today.shape[1]) if kind == "cell" else (at, None) if kind == "provider" else (None, at)
            )
            low = shares.least_without_alarm(at, critical)
            findings.append(Finding(*where, int(shares.now[at]), float(shares.expected[at]), low, float(shares.z[at])))
    findings = _attributed(findings, counts, measured["cell"], critical)
    all_events = _total(int(total), forecast, critical, total_tested)
    if all_events.verdict == "fell":
        findings.append(Finding(None, None, int(total), forecast.expected, all_events.low, forecast.z(total)))
    return Judged(tested, sorted(findings, key=lambda found: -found.z), all_events)


def _total(events: int, forecast: _Forecast, critical: float, fall_tested: bool) -> Total:
    """Classify all events of a day. Both bounds are where :meth:`_Forecast.z` meets the critical value."""
    expected = forecast.expected
    # a count far below the expected one alarms, one near it does not; the same applies above
    low = _least(lambda count: forecast.z(count) <= critical, -1, math.ceil(expected)) if fall_tested else 0
    above = math.ceil(expected)
    while forecast.rise(above) <= critical:
        above *= 2
    high = _least(lambda count: forecast.rise(count) > critical, math.floor(expected), above) - 1
    if events < low:
        share = 100 * (1.0 - events / expected)
        return Total(events, expected, low, high, "fell", _total_text(events, f"{share:.0f} % fewer than", expected))
    if events <= high:
        between = f"{low:,} to {high:,}" if low else f"up to {high:,}"
        sentence = f"Events: {events:,}, as usual (about {expected:,.0f} expected; {between} is normal)."
        return Total(events, expected, low, high, "as usual", sentence)
    times = events / expected
    more = f"{times:.0f} times" if times >= 10 else f"{times:.1f} times" if times >= 2 else f"{times - 1:.0%} more than"
    return Total(events, expected, low, high, "rose", _total_text(events, more.replace("%", " %"), expected))


def _total_text(events: int, how: str, expected: float) -> str:
    return f"Events: {how} the usual {expected:,.0f} ({events:,}), more than chance explains."


class _Forecast(NamedTuple):
    """The forecast of the total, on the scale of its logarithm."""

    log: float
    deviation: float
    degrees: float

    @property
    def expected(self) -> float:
        return math.exp(self.log)

    def z(self, total: float) -> float:
        """Return how far a total is below the forecast."""
        return _normal((self.log - math.log(total + 0.5)) / self.deviation, self.degrees)

    def rise(self, total: float) -> float:
        """Return how far a total is above the forecast."""
        return _normal((math.log(max(total - 0.5, 0.5)) - self.log) / self.deviation, self.degrees)


def _total_forecast(counts: Counts) -> _Forecast:
    """Forecast the day's total, by least squares on the logarithms of the trailing days' totals.

    It uses the richest model that leaves :data:`FEWEST_TOTAL_DEGREES` degrees of freedom: level, weekdays and slope
    (from three weeks on); level and weekdays (two weeks); level alone, whose deviation then includes the weekly swing.
    Weekdays count only if the day's own was seen twice. Days far off are left out (:data:`OUTLIER_DEVIATIONS`). The
    prediction's deviation includes the coefficients' and is at least a Poisson count's.
    """
    kept = _usual_totals(counts)
    ordinals, logs = counts.trailing_ordinals[kept], np.log(counts.trailing.sum(axis=(1, 2))[kept])
    weekdays = ordinals % 7
    seen = np.unique(weekdays)
    design, point = np.ones((len(logs), 1)), np.ones(1)
    if np.count_nonzero(weekdays == counts.ordinal % 7) >= 2 and len(logs) - len(seen) >= FEWEST_TOTAL_DEGREES:
        design, point = (weekdays[:, None] == seen).astype(np.float64), (seen == counts.ordinal % 7).astype(np.float64)
        if len(logs) >= 21:
            ages = (ordinals - counts.ordinal) / 28.0
            design, point = np.column_stack([design, ages]), np.append(point, 0.0)
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ logs
    degrees = float(len(logs) - design.shape[1])
    residual = logs - design @ coefficients
    log = float(point @ coefficients)
    variance = max(float(residual @ residual) / degrees, math.exp(-log))
    return _Forecast(log, math.sqrt(variance * (1.0 + float(point @ inverse @ point))), degrees)


def _usual_totals(counts: Counts) -> NDArray[np.bool_]:
    """Return which trailing totals are usual: not far off the median, or their weekday's median if seen three times.

    Uses medians, not the regression's residuals: some days of outage in a row would bend its slope and hide in it.
    """
    logs, weekdays = np.log(counts.trailing.sum(axis=(1, 2))), counts.trailing_ordinals % 7
    middles = np.full(len(logs), np.median(logs))
    for weekday in range(7):
        if np.count_nonzero(weekdays == weekday) >= 3:
            middles[weekdays == weekday] = np.median(logs[weekdays == weekday])
    residual = logs - middles
    usual = np.abs(residual) <= OUTLIER_DEVIATIONS * _robust_deviation(residual[:, None])[0]
    usual |= weekdays == counts.ordinal % 7
    if np.count_nonzero(~usual) > MOST_OUTLIERS * len(usual):
        usual[:] = True
    kept: NDArray[np.bool_] = usual
    return kept


def _basis(counts: Counts, forecast: float) -> float:
    """Return the day's total for computing shares, without what rose if the total shows that something rose.

    If one item triples, all others' shares fall although nobody bought less. The weighted medians of providers' and of
    events' ratios to their usual shares show what most of the day did. The total's forecast shows whether the others
    fell or this one rose. So the total is lowered to what most of the day did, but not below its forecast.
    """
    total = float(counts.today.sum())
    usual = counts.trailing.sum(axis=0) / counts.trailing.sum()
    middles = [
        _weighted_median(counts.today.sum(axis=axis)[usual.sum(axis=axis) > 0], usual.sum(axis=axis), total)
        for axis in (0, 1)
    ]
    return max(total * min(1.0, *middles), min(total, forecast))


def _robust_deviation(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each column's median absolute residual, scaled to a normal distribution's standard deviation."""
    deviation: NDArray[np.float64] = np.median(np.abs(residuals), axis=0) / NormalDist().inv_cdf(0.75)
    return deviation


def _usual_days(
    past: NDArray[np.float64], totals: NDArray[np.float64], same_weekday: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which days are usual for each count (days x counts): those that are not far off the median share."""
    median = np.median(past / totals[:, None], axis=0)
    deviations = np.sqrt(np.maximum(totals[:, None] * (median * (1.0 - median))[None, :], 1e-12))
    residuals = (past - totals[:, None] * median) / deviations
    usual = np.abs(residuals) <= OUTLIER_DEVIATIONS * np.maximum(1.0, _robust_deviation(residuals))
    usual |= same_weekday[:, None]
    # a count whose median is 0 is too rare to classify its days
    few = (np.count_nonzero(~usual, axis=0) <= MOST_OUTLIERS * len(past)) & (median > 0)
    days: NDArray[np.bool_] = usual | ~few[None, :]
    return days


def _weighted_median(now: NDArray[np.float64], usual: NDArray[np.float64], total: float) -> float:
    """Return the median ratio of counts to their usual shares of the total, weighted by the usual shares."""
    weights = usual[usual > 0]
    ratios = now / np.maximum(weights * total, 1e-300)
    order = np.argsort(ratios, kind="stable")
    return float(ratios[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2.0)])


class _Shares(NamedTuple):
    """The tests of one kind of counts: cells, providers or events."""

    now: NDArray[np.float64]
    expected: NDArray[np.float64]
    spread: NDArray[np.float64]
    """The variance relative to a binomial count's: overdispersion, and the error of the estimated usual share."""
    degrees: NDArray[np.float64]
    basis: float
    tested: NDArray[np.bool_]
    z: NDArray[np.float64]

    @classmethod
    def of(cls, past: NDArray[np.float64], now: NDArray[np.float64], counts: Counts, basis: float) -> _Shares:
        """Test counts (days x counts, counts) as shares of the trailing days' totals and of the day's basis."""
        totals = counts.trailing.sum(axis=(1, 2))
        usual = _usual_days(past, totals, counts.trailing_ordinals % 7 == counts.ordinal % 7)
        weights = np.where(usual, totals[:, None], 0.0)
        share = np.where(usual, past, 0.0).sum(axis=0) / weights.sum(axis=0)
        expected = basis * share
        # a share that contains every event is the total, which has its own test
        tested = (expected >= FEWEST_EXPECTED) & (share < 1.0)
        own_degrees = np.count_nonzero(usual, axis=0) - 1.0
        variance = weights * (share * (1.0 - share))[None, :]
        squares = np.where(variance > 0, (past - totals[:, None] * share) ** 2 / np.where(variance > 0, variance, 1), 0)
        own = squares.sum(axis=0) / own_degrees
        pooled = float(own[tested].mean()) if tested.any() else 1.0
        blended = (own_degrees * own + POOL_DEGREES * pooled) / (own_degrees + POOL_DEGREES)
        spread = np.maximum(1.0, blended) * (1.0 + basis / weights.sum(axis=0))
        shares = cls(now, expected, spread, own_degrees + POOL_DEGREES, basis, tested, np.zeros_like(expected))
        z = [shares.z_of(at, float(now[at])) if tested[at] else 0.0 for at in range(len(now))]
        return shares._replace(z=np.array(z))

    def z_of(self, at: int, events: float, expected: float | None = None) -> float:
        """Return how far a count is below expectation, in normal standard deviations; 0 if it is not."""
        expected = float(self.expected[at]) if expected is None else expected
        count = events + 0.5
        if count >= expected:
            return 0.0
        rest, rest_expected = self.basis - count, self.basis - expected
        deviance = 2.0 * (count * math.log(count / expected) + rest * math.log(rest / rest_expected))
        return _normal(math.sqrt(max(0.0, deviance) / float(self.spread[at])), float(self.degrees[at]))

    def least_without_alarm(self, at: int, critical: float) -> int:
        """Return the smallest number of events that does not alarm."""
        return _least(lambda events: self.z_of(at, events) <= critical, int(self.now[at]), math.ceil(self.expected[at]))


def _attributed(findings: list[Finding], counts: Counts, cells: _Shares, critical: float) -> list[Finding]:
    """Attribute each drop once, to where it happened.

    A provider (an event) is named as a whole if it also fell without its alarming cells: its other cells together fell
    by at least half as much as the whole, or are too few to decide. Otherwise only its cells are named. A cell of a
    named whole remains only if it still alarms after its expected count is reduced by the drop of the whole.
    """
    events = counts.today.shape[1]
    expected = cells.expected.reshape(counts.today.shape)
    alarmed = np.zeros(counts.today.shape, dtype=np.bool_)
    for found in findings:
        if found.provider is not None and found.event is not None:
            alarmed[found.provider, found.event] = True
    named: list[Finding] = []
    providers_kept, events_kept = np.ones(counts.today.shape[0]), np.ones(events)
    for found in findings:
        if found.provider is not None and found.event is not None:
            continue
        part = (slice(None), found.event) if found.provider is None else (found.provider, slice(None))
        others = ~alarmed[part]
        rest, rest_expected = float(counts.today[part][others].sum()), float(expected[part][others].sum())
        kept = found.events / found.expected
        if rest_expected < FEWEST_EXPECTED or 1.0 - rest / rest_expected >= (1.0 - kept) / 2.0:
            named.append(found)
            if found.provider is not None:
                providers_kept[found.provider] = kept
            elif found.event is not None:
                events_kept[found.event] = kept
    for found in findings:
        if found.provider is None or found.event is None:
            continue
        kept = min(float(providers_kept[found.provider]), float(events_kept[found.event]))
        at = found.provider * events + found.event
        # if a whole lost everything, nothing is left to fall further
        if kept == 1.0 or cells.z_of(at, found.events, float(expected.flat[at]) * kept) > critical:
            named.append(found)
    return named


def _normal(t: float, degrees: float) -> float:
    """Return the normal deviate that is as unlikely as Student's t (Wallace 1959)."""
    sign = math.copysign(1.0, t)
    return sign * (8.0 * degrees + 1.0) / (8.0 * degrees + 3.0) * math.sqrt(degrees * math.log1p(t * t / degrees))


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the smallest number above `low` where the monotone condition `holds`; it must hold for `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _drop(found: Finding, provider: str | None, event: tuple[str, str] | None) -> Drop:
    event_type, item = (None, None) if event is None else (event[0], event[1] or None)
    what = "all events" if event_type is None else event_label(event_type, item)
    drop = 1.0 - found.events / found.expected
    where = "" if provider is None else f" on {provider}"
    sentence = (
        f"{what}{where}: {found.events:,} instead of about {found.expected:,.0f} ({100 * drop:.0f} % fewer); "
        f"{found.low:,} or more would not alarm."
    )
    return Drop(provider, event_type, item, found.events, found.expected, found.low, drop, sentence)
