"""``python -m benchmarks.drop_alarm``: how often the drop alarm is wrong, and which drops it sees.

The project's own event generator simulates normal months, with a weekly cycle and noise in the number of events. Every
day from the eighth on is compared with up to 28 days before it. Then drops are made in checked days by removing events
at random. Prints the Markdown tables of ``docs/drop-alarm.md``.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from daybook.analysis.drops import FALSE_ALARM_RATE, FEWEST_DAYS, MOST_DAYS, Counts, Finding, judge
from event_generator.day import JOIN_GUILD, LABELS, PROVIDER_WEIGHTS, build_day

FIRST_DAY = date(2026, 1, 5)
"""A Monday."""
ITEMS = ("sword", "shield", "helmet", "knife", "gauntlets")
SERIES_DAYS = 91
"""Three months and a week for each seed: the same players, as in a game."""

WEEK = np.array([0.90, 0.85, 0.90, 0.95, 1.10, 1.25, 1.15])
"""Volume by weekday, Monday first."""
NOISE = 0.08
"""Standard deviation of the logarithm of a day's volume divided by its weekday's."""

DROPS = (0.2, 0.5, 0.8)
RISES = (1.5, 2.0, 4.0, 20.0)
SIZES = (10, 30, 100, 300, 1000, 3000)
"""Lower bounds of the classes of a cell's expected count."""


@dataclass(frozen=True)
class Volume:
    """The size of a world, and its number of simulated months."""

    events: int
    series: int
    every: int
    """Interval, in checked days, between days with a drop."""
    playing: float = 1.0
    """Share of players who play on a day; the others do not play, so that events come and go in groups."""

    @property
    def name(self) -> str:
        """The name in the tables."""
        return f"{self.events:,}" + (", half of the players absent" if self.playing < 1.0 else "")


VOLUMES = (
    Volume(2_000, series=100, every=20),
    Volume(5_000, series=40, every=16, playing=0.5),
    Volume(20_000, series=20, every=8),
    Volume(100_000, series=4, every=5),
)


def months(volume: Volume, seed: int, days: int = SERIES_DAYS) -> NDArray[np.float64]:
    """Daily counts, days x providers x events (the items, then the guild join)."""
    random = np.random.default_rng([seed, 99])
    table = np.empty((days, len(LABELS), len(ITEMS) + 1))
    for at in range(days):
        # twice as many events if half of the players do not play
        usual = volume.events / volume.playing * WEEK[at % 7]
        day = build_day(FIRST_DAY + timedelta(days=at), max(1, round(usual * random.lognormal(0, NOISE))), seed, ITEMS)
        item = np.where(day.item == JOIN_GUILD, len(ITEMS), day.item)
        cell = day.label * (len(ITEMS) + 1) + item
        if volume.playing < 1.0:
            cell = cell[(random.random(day.user.max() + 1) < volume.playing)[day.user]]
        table[at] = np.bincount(cell, minlength=table[at].size).reshape(table[at].shape)
    return table


def judged_days(table: NDArray[np.float64]) -> Iterator[Counts]:
    """Return each day that has enough days before it."""
    first = FIRST_DAY.toordinal()
    for at in range(FEWEST_DAYS, len(table)):
        begin = max(0, at - MOST_DAYS)
        yield Counts(table[begin:at], table[at], np.arange(first + begin, first + at, dtype=np.int64), first + at)


def thinned(
    random: np.random.Generator, today: NDArray[np.float64], where: tuple[int | slice, int | slice], drop: float
) -> NDArray[np.float64]:
    """Return the day after a random loss of events in a part of it."""
    left = today.copy()
    left[where] = random.binomial(today[where].astype(np.int64), 1.0 - drop)
    return left


def size_class(expected: float) -> str | None:
    """Return the class of a cell's expected count."""
    at = int(np.searchsorted(SIZES, expected, side="right"))
    if at == 0:
        return None
    return f"{SIZES[at - 1]:,} to {SIZES[at]:,}" if at < len(SIZES) else f"{SIZES[-1]:,} and more"


@dataclass
class Result:
    """The results of a volume's months."""

    days: Counter[str]
    """Checked days by the number of days that they were compared with."""
    false_days: Counter[str]
    false_counts: Counter[str]
    tested: int
    seen: dict[tuple[str, float], list[bool]]
    """Part that dropped and its drop -> whether the alarm named it."""
    others: dict[tuple[str, float], list[int]]
    """The same key -> how many other parts were named."""
    rises: dict[tuple[str, float], list[bool]]
    """Number of days before and factor of the events -> whether the rise was reported."""


def trailing_class(days: int) -> str:
    """Return the class of the number of days before."""
    return "7 to 13" if days < 14 else "14 to 20" if days < 21 else "21 to 28"


def kind_of(found: Finding) -> str:
    """Return which part has the alarm."""
    if found.provider is None:
        return "total" if found.event is None else "event"
    return "provider" if found.event is None else "cell"


def drops_of_a_day(random: np.random.Generator, counts: Counts) -> Iterator[tuple[str, tuple[int | None, int | None]]]:
    """Yield a cell of each size class, a whole provider and a whole event, to drop."""
    expected = counts.trailing.sum(axis=0) / counts.trailing.sum() * counts.today.sum()
    classes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (provider, event), value in np.ndenumerate(expected):
        name = size_class(float(value))
        if name is not None:
            classes[name].append((provider, event))
    for name, places in classes.items():
        yield f"cell, {name} expected", places[int(random.integers(len(places)))]
    yield "provider", (int(random.integers(len(PROVIDER_WEIGHTS))), None)
    yield "event", (None, int(random.integers(len(ITEMS) + 1)))


def measure(volume: Volume, seed: int, progress: Callable[[], None] = lambda: None) -> Result:
    """Simulate a volume's months, check their days, then drop events."""
    result = Result(Counter(), Counter(), Counter(), 0, defaultdict(list), defaultdict(list), defaultdict(list))
    random = np.random.default_rng(seed)
    for series in range(volume.series):
        for number, counts in enumerate(judged_days(months(volume, seed * 10_000 + series))):
            judged = judge(counts)
            findings, rose = judged.findings, judged.total.verdict == "rose"
            against = trailing_class(len(counts.trailing))
            result.days[against] += 1
            result.false_days[against] += bool(findings) or rose
            result.false_counts.update([*(kind_of(found) for found in findings), *(["rise"] * rose)])
            result.tested += judged.tested
            for times in RISES:
                more = judge(counts._replace(today=np.rint(counts.today * times))).total.verdict == "rose"
                result.rises[against, times].append(more)
            if number % volume.every == volume.every - 1:
                for what, (provider, event) in drops_of_a_day(random, counts):
                    where = (
                        slice(None) if provider is None else provider,
                        slice(None) if event is None else event,
                    )
                    for drop in DROPS:
                        found = judge(counts._replace(today=thinned(random, counts.today, where, drop))).findings
                        named = [(one.provider, one.event) for one in found]
                        result.seen[what, drop].append((provider, event) in named)
                        result.others[what, drop].append(len([one for one in named if one != (provider, event)]))
        progress()
    return result


OUTAGE_DAYS = 10


def outage(table: NDArray[np.float64], where: tuple[int, int | None], days: int, seed: int) -> list[bool]:
    """Whether the last days of a series alarm when a part loses four fifths; compared with this many days."""
    random = np.random.default_rng(seed)
    table, first, named = table.copy(), FIRST_DAY.toordinal(), []
    for at in range(len(table) - OUTAGE_DAYS, len(table)):
        part = (where[0], slice(None) if where[1] is None else where[1])
        table[at] = thinned(random, table[at], part, 0.8)
        ordinals = np.arange(first + at - days, first + at, dtype=np.int64)
        findings = judge(Counts(table[at - days : at], table[at], ordinals, first + at)).findings
        named.append(where in [(one.provider, one.event) for one in findings])
    return named


def print_outages(console: Console, series: int, seed: int) -> None:
    """The table of drops that last several days."""
    tables = [months(Volume(20_000, 1, 1), seed * 20_000 + number, 28 + OUTAGE_DAYS) for number in range(series)]
    console.print("\nDrops by 80% that last, 20,000 events a day (share named on their 1st, 2nd, ... day):\n")
    console.print(f"| days before | what dropped | {' | '.join(str(day + 1) for day in range(OUTAGE_DAYS))} |")
    console.print("|--:|:--|" + "--:|" * OUTAGE_DAYS)
    for days in (7, 14, 28):
        for what, where in (("att", (1, None)), ("swords on att", (1, 0))):
            named = np.mean([outage(table, where, days, at) for at, table in enumerate(tables)], axis=0)
            console.print(f"| {days} | {what} | {' | '.join(f'{one:.0%}' for one in named)} |")


def order(what: str) -> tuple[int, int]:
    """Sort key: cells by size, then whole providers and events."""
    if what.startswith("cell"):
        return 0, int(what.split()[1].replace(",", ""))
    return 1, 0 if what == "provider" else 1


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    console, results = Console(width=140), {}
    with Progress(console=Console(stderr=True)) as progress:
        for volume in VOLUMES:
            task = progress.add_task(f"{volume.name} events a day", total=volume.series)
            results[volume.name] = measure(volume, seed, partial(progress.advance, task))

    console.print(f"Normal days (at most {FALSE_ALARM_RATE:.0%} of them may alarm):\n")
    console.print("| events a day | days before | days checked | days with an alarm | share |")
    console.print("|:--|:--|--:|--:|--:|")
    for name, result in results.items():
        for against in ("7 to 13", "14 to 20", "21 to 28"):
            days, false = result.days[against], result.false_days[against]
            console.print(f"| {name} | {against} | {days:,} | {false} | {false / days:.2%} |")
        days, false = result.days.total(), result.false_days.total()
        console.print(f"| {name} | all | {days:,} | {false} | {false / days:.2%} |")
    console.print("\nFalse alarms by kind:\n")
    console.print("| events a day | counts tested a day | cells | providers | events | totals | rises of the total |")
    console.print("|:--|--:|--:|--:|--:|--:|--:|")
    for name, result in results.items():
        kinds = " | ".join(str(result.false_counts[kind]) for kind in ("cell", "provider", "event", "total", "rise"))
        console.print(f"| {name} | {result.tested / result.days.total():.0f} | {kinds} |")
    console.print("\nDrops that were named (share of the trials; other alarms on the same day):\n")
    console.print(
        f"| events a day | what dropped | tried | {' | '.join(f'by {drop:.0%}' for drop in DROPS)} | others |"
    )
    console.print("|:--|:--|--:|--:|--:|--:|--:|")
    for name, result in results.items():
        for what in sorted({what for what, _ in result.seen}, key=order):
            seen = [result.seen[what, drop] for drop in DROPS]
            shares = " | ".join(f"{np.mean(one):.0%}" for one in seen)
            others = np.mean([number for drop in DROPS for number in result.others[what, drop]])
            console.print(f"| {name} | {what} | {len(seen[0])} | {shares} | {others:.2f} |")
    console.print("\nRises of all events that were named (share of the checked days):\n")
    console.print(f"| events a day | days before | {' | '.join(f'{times:g} times' for times in RISES)} |")
    console.print("|:--|:--|" + "--:|" * len(RISES))
    for name, result in results.items():
        for against in ("7 to 13", "14 to 20", "21 to 28"):
            shares = " | ".join(f"{np.mean(result.rises[against, times]):.0%}" for times in RISES)
            console.print(f"| {name} | {against} | {shares} |")
    print_outages(console, 20, seed)


if __name__ == "__main__":
    main()
