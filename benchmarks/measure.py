"""How every benchmark measures: process trees, interleaved rounds, medians, and no time for a wrong answer.

The machines are shared and noisy, so a figure counts beside another one of the same run alone: contestants take turns
(each round in another order), the median of the rounds counts, and what is compared is a ratio. Processor time of the
whole process tree tells more than the clock. A contestant whose rows are not the truth is shown as wrong, whatever its
time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from daybook.files import last_lines
from daybook.settings import REPOSITORY

RESULTS_DIR = REPOSITORY / "benchmarks" / "results"
QUICK_DIR = RESULTS_DIR / "quick"
ROUNDS = 5
LOOK_EVERY_SECONDS = 0.1
_FAILED = "failed:"
"""How the problem of a contestant begins that did not come to its end."""
WIDTH = 160
"""Of a table that is printed, in letters."""
UNITS = {
    "events_per_second": ("events/s", 1.0),
    "p50_ms": ("p50 ms", 1.0),
    "p99_ms": ("p99 ms", 1.0),
    "cpu_seconds_per_1000_events": ("CPU s per 1,000", 1.0),
    "not_2xx": ("not 2xx", 1.0),
    "cpu_seconds": ("CPU s", 1.0),
    "seconds": ("s", 1.0),
    "run_seconds": ("of it the run", 1.0),
    "own_seconds": ("tasks' own work", 1.0),
    "over_seconds": ("Airflow", 1.0),
    "rss_mb": ("MB resident", 1.0),
    "bytes_written": ("MB written", 1e-6),
    "files_written": ("files", 1.0),
}
"""Figure -> its heading, and what it is multiplied by under that; others are called what they are."""


@dataclass(frozen=True)
class Cost:
    """What a process tree took."""

    cpu_seconds: float
    """Processor time, user and system, of the process and all that it started."""
    seconds: float
    """On the clock."""
    rss_mb: float
    """Largest resident memory of all processes together, in 10^6 bytes, looked at every 0.1 s; a process counts from
    the second look on."""


class TreeWatch:
    """Adds up what a running process tree takes, while its block runs.

    Processes that end between two looks keep what they had at the last one: Spark's Python workers are nobody's waited
    for children, so the system's own sum would miss them.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu: dict[tuple[int, float], float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.rss_mb = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Processor time seen so far; counted from each process' start."""
        return sum(self._cpu.values())

    def look(self) -> None:
        """Look once."""
        try:
            root = psutil.Process(self._pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        rss = 0
        for one in tree:
            try:
                with one.oneshot():
                    times, process = one.cpu_times(), (one.pid, one.create_time())
                    # a child that is no program of its own yet has its parent's pages: one that was there before counts
                    if process in self._cpu or one is root:
                        rss += one.memory_info().rss
                    self._cpu[process] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        self.rss_mb = max(self.rss_mb, rss / 1e6)

    def _look_on(self) -> None:
        while not self._done.wait(LOOK_EVERY_SECONDS):
            self.look()

    def __enter__(self) -> TreeWatch:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


class Failed(Exception):
    """A program that was measured did not do its work."""


def cost_of(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run a program to its end; what it and all that it started took.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        log: where its output goes, added to what is there.

    Raises:
        Failed: it ended with another status than 0; the end of its log is printed.
    """
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
        with TreeWatch(process.pid) as watch:
            # the system's sum has every child that was waited for to its end, ours those that were not
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if status:
        for line in last_lines(log, 20):
            click.echo(f"  | {line}", err=True)
        click.echo(f"{' '.join(command)[-100:]} failed; the last lines of {log} are above", err=True)
        raise Failed(f"ended with status {process.returncode}")
    return Cost(max(used.ru_utime + used.ru_stime, watch.cpu_seconds), seconds, watch.rss_mb)


@dataclass
class Contestant:
    """One way to do the same thing, and what its rounds gave."""

    name: str
    run: Callable[[], dict[str, float]]
    """Does it once, and returns its figures by name."""
    wrong: Callable[[], str] = lambda: ""
    """Holds what the last round left against the truth: what is wrong with it, or an empty text."""
    rounds: list[dict[str, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was wrong, once for each different text."""

    @property
    def figures(self) -> Collection[str]:
        """Names of what its rounds gave; none if it had no round to its end."""
        return self.rounds[0].keys() if self.rounds else ()

    def middle(self, figure: str) -> float:
        """The median of a figure over the rounds; not a number if it had none."""
        return median(one[figure] for one in self.rounds) if self.rounds else math.nan


def take_turns(
    contestants: Sequence[Contestant],
    rounds: int = ROUNDS,
    *,
    warm_up: int = 0,
    after_round: Callable[[], None] = lambda: None,
) -> None:
    """Let each run once a round, each round beginning with another one; rows are checked before a time is kept.

    A peer that fails is told as wrong, and left out of the rounds that follow: some hold the whole day in memory.

    Args:
        contestants: who takes part; rounds that they have had are counted on from.
        rounds: rounds that count.
        warm_up: rounds before them that do not.
        after_round: called after each round that counts.

    Raises:
        Failed: the first contestant did, which the others are compared with.
    """
    had = len(contestants[0].rounds)
    rounds += had
    for number in range(had - warm_up, rounds):
        first = number % len(contestants)
        label = f"round {number + 1} of {rounds}" if number >= had else "warm-up"
        for one in [*contestants[first:], *contestants[:first]]:
            if any(problem.startswith(_FAILED) for problem in one.problems):
                continue
            figures: dict[str, float] = {}
            try:
                figures = one.run()
                problem = one.wrong()
            except Failed as error:
                if one is contestants[0]:
                    raise
                problem = f"{_FAILED} {error}"
            if problem and problem not in one.problems:
                one.problems.append(problem)
            if figures and number >= had:
                one.rounds.append(figures)
            told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items() if not _of_a_part(name))
            click.echo(f"{label}: {one.name}: {told}{f' WRONG: {problem}' if problem else ''}")
        if number >= had:
            after_round()


@dataclass(frozen=True)
class Run:
    """What a stage is run for."""

    rounds: int = ROUNDS
    quick: bool = False
    """As of :func:`keep`."""
    more: bool = False
    """Whether the rounds are added to those that are kept, which must be of the same code and machine."""


@dataclass(frozen=True)
class Goal:
    """Something that a stage is to show."""

    goal: str
    figure: float
    met: bool


def at_most(text: str, figure: float, limit: float, *contestants: Contestant) -> Goal:
    """A goal that no contestant meets whose rows are wrong.

    Args:
        text: what is measured, and its unit.
        figure: what was measured.
        limit: what is asked for.
        contestants: whose figures it is made of.
    """
    return Goal(f"{text}, at most {shown(limit)}", figure, figure <= limit and _are_right(contestants))


def at_least(text: str, figure: float, limit: float, *contestants: Contestant) -> Goal:
    """As :func:`at_most`, the other way round."""
    return Goal(f"{text}, at least {shown(limit)}", figure, figure >= limit and _are_right(contestants))


def _are_right(contestants: Sequence[Contestant]) -> bool:
    return not any(one.problems for one in contestants)


def _of_a_part(figure: str) -> bool:
    """Whether a figure is of a part of what was done, as "land_events s": it stands on the page, not on a terminal."""
    return figure.endswith(" s")


def medians(contestants: Sequence[Contestant], *, parts: bool = True) -> tuple[list[str], list[list[str]]]:
    """The headings of a stage's table, and its lines; with the figures of parts or without.

    A line has the contestant's name, the medians of its figures, the first figure as a multiple of the first
    contestant's, the number of rounds, and whether its rows were right.
    """
    named = dict.fromkeys(name for one in contestants for name in one.figures)
    names = [name for name in named if parts or not _of_a_part(name)]
    heads = [UNITS.get(name, (name, 1.0))[0] for name in names]
    compared = names[0]
    ours = contestants[0].middle(compared)
    lines = [
        [
            one.name,
            *(shown(one.middle(name) * UNITS.get(name, ("", 1.0))[1]) if name in one.figures else "" for name in names),
            f"{one.middle(compared) / ours:.2f}" if compared in one.figures else "",
            str(len(one.rounds)),
            f"WRONG: {'; '.join(one.problems)}" if one.problems else "right",
        ]
        for one in contestants
    ]
    return ["", *heads, f"{heads[0]}, times the first", "rounds", "rows"], lines


def shown(value: float) -> str:
    """A figure in as many digits as it is good for.

    >>> shown(1234.5), shown(0.123456)
    ('1,234', '0.123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """The command line of a stage, with what every stage takes: ``--quick``.

    Args:
        description: what the stage does.
        quick: what its quick look is, and how long it takes.
    """
    end_cleanly()
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help=f"to see that it works: {quick}")
    return made


def add_rounds(line: argparse.ArgumentParser) -> None:
    """Give the command line of a stage of races what :func:`rounds_asked` reads."""
    line.add_argument("--rounds", type=int, default=ROUNDS)
    line.add_argument("--more", action="store_true", help="add the rounds to those that are kept, of the same code")


def rounds_asked(args: argparse.Namespace) -> Run:
    """What the command line of a stage of races asks for; a quick look is one round."""
    return Run(1, quick=True) if args.quick else Run(args.rounds, more=args.more)


def end_cleanly() -> None:
    """Let a benchmark that is told to end close its blocks first: a broker or a stack would outlive it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def machine() -> str:
    """The machine in a few words."""
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {sys.version.split()[0]}"


def keep(
    stage: str, title: str, contestants: Sequence[Contestant], goals: Sequence[Goal], *, quick: bool, **more: Any
) -> None:
    """Write the rounds of a stage to ``benchmarks/results/<stage>.json``, which the report is made from.

    Args:
        stage: name of the file.
        title: what was done, with its size.
        contestants: who took part.
        goals: what was to be shown.
        quick: a run that only shows that all works: it goes to ``results/quick``, away from the figures that count.
        more: what else the report needs, as JSON types.
    """
    file = _file_of(stage, quick=quick)
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "title": title,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "contestants": [{"name": one.name, "rounds": one.rounds, "wrong": one.problems} for one in contestants],
        "goals": [asdict(one) for one in goals],
        **more,
    }
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _file_of(stage: str, *, quick: bool) -> Path:
    return (QUICK_DIR if quick else RESULTS_DIR) / f"{stage}.json"


def race(
    stage: str,
    title: str,
    contestants: Sequence[Contestant],
    goals: Callable[[], Sequence[Goal]],
    how: Run,
) -> None:
    """Let contestants take turns, keep each round when it is over, and print the medians and goals.

    Days of millions of events take hours of rounds: what is stopped keeps the rounds that it has had, and ``--more``
    adds to them.

    Args:
        stage: as of :func:`keep`.
        title: as of :func:`keep`.
        contestants: who takes part, without rounds.
        goals: what is to be shown, from the contestants' rounds.
        how: how many rounds, and what becomes of them.

    Raises:
        SystemExit: rounds are to be added to those of other contestants.
    """
    if how.more:
        _recall(stage, contestants, quick=how.quick)
    take_turns(contestants, how.rounds, after_round=lambda: keep(stage, title, contestants, goals(), quick=how.quick))
    _show(title, contestants, goals())


def _recall(stage: str, contestants: Sequence[Contestant], *, quick: bool) -> None:
    """Give contestants the rounds that are kept of them."""
    file = _file_of(stage, quick=quick)
    if not file.exists():
        return
    told = json.loads(file.read_text(encoding="utf-8"))["contestants"]
    if [one["name"] for one in told] != [one.name for one in contestants]:
        sys.exit(f"{file} has rounds of other contestants; run without --more, which begins anew")
    for one, kept in zip(contestants, told, strict=True):
        one.rounds, one.problems = kept["rounds"], kept["wrong"]


def conclude(
    stage: str, title: str, contestants: Sequence[Contestant], goals: Sequence[Goal], *, quick: bool, **more: Any
) -> None:
    """Keep a stage, as :func:`keep` does, and print its medians and goals."""
    keep(stage, title, contestants, goals, quick=quick, **more)
    _show(title, contestants, goals)


def _show(title: str, contestants: Sequence[Contestant], goals: Sequence[Goal]) -> None:
    heads, lines = medians(contestants, parts=False)
    table = Table(title=title)
    for head in heads:
        table.add_column(head, justify="left" if head in ("", "rows") else "right")
    for line in lines:
        table.add_row(*line)
    print_tables([table], goals)


def print_tables(tables: Sequence[Table], goals: Sequence[Goal]) -> None:
    """Print the tables of a stage, and each goal with its figure."""
    console = Console(width=WIDTH)
    for table in tables:
        console.print(table)
    for goal in goals:
        console.print(f"{'met' if goal.met else 'NOT MET'}: {goal.goal}: {goal.figure:,.2f}", highlight=False)


def figures_of(cost: Cost) -> dict[str, float]:
    """A cost as figures by name."""
    return asdict(cost)
