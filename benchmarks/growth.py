"""``python -m benchmarks.growth``: the cost of a day when the lake is old, and when the day is large.

A day is every task from ``land_events`` to ``write_report``, as on the stack. The steps after landing are clients of a
Spark server that has run since the start: starting one for each step would hide the growth. The history is written, not
run (:mod:`benchmarks.history`). The same day is then added to lakes of few and of many days, once with all snapshots
retained and once with weekly maintenance. These days are small. A day of a million events is then added to a lake with
one such day before it, and to one with as many as its ids are compared with. Days of several sizes are added to new
lakes, all with the heap of the largest; a straight line is fitted to their times.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.day import DAY, DAYS_FOLDERS, DaybookDay, driver_memory, forget_days, in_kafka, produce
from benchmarks.history import add_history
from benchmarks.measure import (
    Contestant,
    Goal,
    Run,
    add_rounds,
    at_most,
    figures_of,
    parser,
    race,
    rounds_asked,
)
from daybook.kafka.admin import kafka_admin
from daybook.kafka.offsets import Offsets, topic_offsets
from daybook.lake.ledger import read_ledger
from daybook.settings import Settings
from tests.integration.own_broker import OwnBroker, own_settings
from tests.integration.own_spark import OwnSpark

HISTORIES = (10, 100, 1_000)
WINDOW_EVENTS = 1_000_000
"""Events of each day of a lake with the largest number of ids to compare with."""
SIZES = (100_000, 1_000_000, 3_000_000, 10_000_000)
QUICK_HISTORIES, QUICK_WINDOW_EVENTS, QUICK_SIZES = (2, 50), 5_000, (1_000, 10_000, 30_000)
LEAST_SIZES = 3
SMALL_DAY = 2_000
"""Events of each day of the history, and of the day that is measured after it."""
MOST_BY_HISTORY = 1.2
MOST_OFF_THE_LINE = 0.15
FIGURES = ("cpu_seconds", "seconds")


def day_into(settings: Settings, ends: Offsets, server: OwnSpark) -> dict[str, float]:
    """Run the day's tasks; return processor time, duration, memory, and ``STEP s`` and ``STEP CPU s`` of each."""
    day = DaybookDay(settings, DAY, ends, server)
    day.answer_and_publish(day.land())
    steps = {f"{name} s": cost.seconds for name, cost in day.costs.items()}
    cpu = {f"{name} CPU s": cost.cpu_seconds for name, cost in day.costs.items()}
    return {**figures_of(day.cost), **steps, **cpu}


def unpublished(settings: Settings, events: int, days: int) -> str:
    """Return what is wrong with the published days of a lake, or an empty text.

    Args:
        settings: of the lake.
        events: expected for the day.
        days: expected number of published days, this day included.
    """
    published = read_ledger(settings).newest
    if len(published) != days or DAY not in published:
        return f"{len(published)} days of {days}"
    found = published[DAY].events
    return "" if published[DAY].balanced and found == events else f"{found:,} events of {events:,}"


@dataclass(frozen=True)
class Lake:
    """A lake to which a day is added."""

    days: int
    """Number of days published before."""
    upkeep: bool = False
    """Whether maintenance ran each week."""

    @property
    def label(self) -> str:
        """The contestant's name."""
        days = f"{self.days:,} day{'s' if self.days > 1 else ''} of history"
        return f"{days}, looked after each week" if self.upkeep else days


def by_history(name: str, lakes: Sequence[Lake], events: int, how: Run) -> None:
    """Run the same day in lakes of several ages.

    Args:
        name: of the table.
        lakes: the youngest first.
        events: of the day, and of each day before it.
        how: see :func:`benchmarks.measure.race`.
    """
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        broker = own_settings(Path(folder) / "broker")
        # every lake is used at the same path: its metadata contains absolute paths
        settings = broker.model_copy(
            update={"home": Path(folder) / "home", "spark_driver_memory": driver_memory(events)}
        )
        settings.home.mkdir()
        with OwnBroker(broker), OwnSpark(settings) as server:
            produce(broker, DAY - timedelta(days=1), events)
            first = DaybookDay(settings, DAY - timedelta(days=1), _ends(broker), server)
            first.answer_and_publish(first.land())
            young = _kept(settings, Path(folder) / "young")
            produce(broker, DAY, events)
            ends = _ends(broker)
            contestants = []
            for lake in lakes:
                shutil.copytree(young, settings.home, dirs_exist_ok=True)
                if lake.days > 1:  # the first day, which was really run, is one of them
                    add_history(settings, lake.days - 1, events, upkeep=lake.upkeep)
                kept = _kept(settings, Path(folder) / f"{lake.days}-{lake.upkeep}")
                contestants.append(
                    Contestant(
                        lake.label,
                        partial(_upon, kept, settings, ends, server),
                        partial(unpublished, settings, events, lake.days + 1),
                    )
                )
            title = f"A day of {events:,} events in lakes of several ages"
            race(name, title, contestants, partial(flat_in_history, contestants), how)


def _ends(broker: Settings) -> Offsets:
    return topic_offsets(kafka_admin(broker), broker.kafka_topic)


def _kept(settings: Settings, folder: Path) -> Path:
    """Move the days of a state folder to another folder."""
    folder.mkdir()
    for one in DAYS_FOLDERS:
        (settings.home / one).rename(folder / one)
    return folder


def _upon(kept: Path, settings: Settings, ends: Offsets, server: OwnSpark) -> dict[str, float]:
    """Run a day in a copy of a lake."""
    forget_days(settings)
    shutil.copytree(kept, settings.home, dirs_exist_ok=True)
    return day_into(settings, ends, server)


def flat_in_history(contestants: Sequence[Contestant]) -> list[Goal]:
    """The goals for lakes of several ages, the youngest first."""
    first = contestants[0]
    return [
        at_most(
            f"{figure} with {older.name}, times those with {first.name}",
            older.middle(figure) / first.middle(figure),
            MOST_BY_HISTORY,
            first,
            older,
        )
        for figure in FIGURES
        for older in contestants[1:]
    ]


def by_size(sizes: Sequence[int], how: Run) -> None:
    """Run days of several sizes in new lakes, the smallest first.

    Args:
        sizes: events of the days.
        how: see :func:`benchmarks.measure.race`.
    """
    sizes = sorted(sizes)
    with ExitStack() as stack:
        days = [stack.enter_context(in_kafka(events)) for events in sizes]
        # the ports of the last broker, which were chosen after the others had theirs
        largest = days[-1]
        home = largest.folder / "home"
        home.mkdir()
        # the largest day's heap for all: otherwise garbage collection would be part of the difference
        shared = {"home": home, "spark_driver_memory": driver_memory(sizes[-1])}
        server = stack.enter_context(OwnSpark(largest.settings.model_copy(update=shared)))
        contestants = []
        for events, day in zip(sizes, days, strict=True):
            settings = day.settings.model_copy(update=shared)
            run, wrong = partial(_in_new_lake, settings, day.ends, server), partial(unpublished, settings, events, 1)
            contestants.append(Contestant(f"{events:,} events", run, wrong))
        title = "Days of several sizes"
        race("growth_size", title, contestants, partial(straight_in_size, sizes, contestants), how)


def _in_new_lake(settings: Settings, ends: Offsets, server: OwnSpark) -> dict[str, float]:
    """Run a day in a new lake."""
    forget_days(settings)
    return day_into(settings, ends, server)


def straight_in_size(sizes: Sequence[int], contestants: Sequence[Contestant]) -> list[Goal]:
    """The goals for days of several sizes."""
    found = []
    for figure in FIGURES:
        fixed, slope, off = off_the_line(sizes, [one.middle(figure) for one in contestants])
        line = f"the line of {fixed:,.0f} and {slope:,.1f} for each million"
        text = f"{figure} by size: farthest off {line}, as part of it"
        found.append(at_most(text, max(map(abs, off)), MOST_OFF_THE_LINE, *contestants))
    return found


def off_the_line(sizes: Sequence[int], taken: Sequence[float]) -> tuple[float, float, list[float]]:
    """Fit a straight line to the times of days of several sizes, all with the same weight.

    Args:
        sizes: events of the days.
        taken: seconds of each day.

    Returns:
        Seconds of a day without events, seconds for each million, and the relative distance of each size from the
        line; NaN if a size was not measured, for example because it failed.

    >>> fixed, slope, off = off_the_line([1_000_000, 2_000_000, 3_000_000], [12.0, 14.0, 16.0])
    >>> round(fixed, 6), round(slope, 6), [round(abs(one), 6) for one in off]
    (10.0, 2.0, [0.0, 0.0, 0.0])
    >>> off_the_line([1_000_000, 2_000_000, 3_000_000], [12.0, 14.0, float("nan")])
    (nan, nan, [nan, nan, nan])
    """
    millions, values = np.asarray(sizes) / 1e6, np.asarray(taken)
    if not np.isfinite(values).all():
        return math.nan, math.nan, [math.nan] * len(sizes)
    # relative residuals: otherwise the largest day alone would determine the line
    slope, fixed = np.polyfit(millions, values, 1, w=1 / values)
    line = fixed + slope * millions
    return float(fixed), float(slope), ((values - line) / line).tolist()


def main() -> None:
    """Run the stage from the command line."""
    line = parser(__doc__, "two short histories, a small window, three small sizes, one round, 10 minutes")
    line.add_argument(
        "--histories", type=int, nargs="*", default=HISTORIES, help="days in the lake before; skipped if empty"
    )
    line.add_argument(
        "--window-events", type=int, default=WINDOW_EVENTS, help="events of each day of the window; 0 = skipped"
    )
    line.add_argument(
        "--events",
        type=int,
        nargs="*",
        default=SIZES,
        help="events of the days, at least three sizes; skipped if empty",
    )
    add_rounds(line)
    args = line.parse_args()
    how = rounds_asked(args)
    histories, window_events, sizes = args.histories, args.window_events, args.events
    if how.quick:
        histories, window_events, sizes = QUICK_HISTORIES, QUICK_WINDOW_EVENTS, QUICK_SIZES
    if sizes and len(sizes) < LEAST_SIZES:
        line.error(f"--events needs at least {LEAST_SIZES} sizes: two points always lie on a line")
    if histories:
        ages = [Lake(days) for days in sorted(histories)]
        by_history("growth_history", [*ages, Lake(max(histories), upkeep=True)], SMALL_DAY, how)
    if window_events:
        by_history("growth_window", [Lake(1), Lake(Settings().lateness_days)], window_events, how)
    if sizes:
        by_size(sizes, how)


if __name__ == "__main__":
    main()
