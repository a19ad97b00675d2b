"""How every benchmark measures: process trees, interleaved rounds, medians, and no time for a wrong answer.

The machines are shared and noisy, so a figure counts only in comparison with another one of the same run. Contestants
take turns (each round in another order), the median of the rounds counts, and results are ratios. Processor time of the
whole process tree is more reliable than elapsed time. A contestant with wrong rows is shown as wrong, whatever its
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
"""Prefix of the problem of a contestant that failed."""
WIDTH = 160
"""Width of a printed table in characters."""
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
"""Figure -> its heading, and the factor to its unit; other figures have their name as the heading."""


@dataclass(frozen=True)
class Cost:
    """The cost of a process tree."""

    cpu_seconds: float
    """Processor time, user and system, of the process and all its descendants."""
    seconds: float
    """Elapsed time."""
    rss_mb: float
    """Largest resident memory of all processes together, in 10^6 bytes.

    It is sampled every 0.1 s; a process counts from its second sample on.
    """


class TreeWatch:
    """Adds up the cost of a running process tree, while its block runs.

    Processes that end between two samples count with their last one. The system's own total would miss Spark's Python
    workers: nobody waits for them.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu: dict[tuple[int, float], float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.rss_mb = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, counted from the start of each process."""
        return sum(self._cpu.values())

    def look(self) -> None:
        """Take one sample."""
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
                    # a child that has not called exec yet has its parent's memory: count it from the next sample on
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
    """A measured program failed."""


def cost_of(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run a program to its end; return the cost of it and its descendants.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        log: the file to which its output is appended.

    Raises:
        Failed: its exit status was not 0; the end of its log is printed.
    """
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
        with TreeWatch(process.pid) as watch:
            # the system's total has every child that was waited for, ours the others
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
    """One way to do the same thing, and the results of its rounds."""

    name: str
    run: Callable[[], dict[str, float]]
    """Does it once, and returns its figures by name."""
    wrong: Callable[[], str] = lambda: ""
    """Compares the last round's results with the truth: returns what is wrong, or an empty text."""
    rounds: list[dict[str, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """The problems found, each different text once."""

    @property
    def figures(self) -> Collection[str]:
        """Names of the figures of its rounds; empty if no round succeeded."""
        return self.rounds[0].keys() if self.rounds else ()

    def middle(self, figure: str) -> float:
        """Return the median of a figure over the rounds; NaN without rounds."""
        return median(one[figure] for one in self.rounds) if self.rounds else math.nan


def take_turns(
    contestants: Sequence[Contestant],
    rounds: int = ROUNDS,
    *,
    warm_up: int = 0,
    after_round: Callable[[], None] = lambda: None,
) -> None:
    """Run each contestant once a round, starting with another one each round; rows are checked before a time counts.

    A failed peer is reported as wrong and skipped in later rounds: some hold the whole day in memory.

    Args:
        contestants: who takes part; the count continues from rounds that they already have.
        rounds: rounds that count.
        warm_up: rounds before them that do not.
        after_round: called after each round that counts.

    Raises:
        Failed: the first contestant failed, with which the others are compared.
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
            text = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items() if not _of_a_part(name))
            click.echo(f"{label}: {one.name}: {text}{f' WRONG: {problem}' if problem else ''}")
        if number >= had:
            after_round()


@dataclass(frozen=True)
class Run:
    """How a stage is run."""

    rounds: int = ROUNDS
    quick: bool = False
    """See :func:`keep`."""
    more: bool = False
    """Whether the rounds are added to the stored ones, which must be of the same code and machine."""


@dataclass(frozen=True)
class Goal:
    """A goal of a stage."""

    goal: str
    figure: float
    met: bool


def at_most(text: str, figure: float, limit: float, *contestants: Contestant) -> Goal:
    """A goal that is missed if a contestant has wrong rows.

    Args:
        text: what is measured, and its unit.
        figure: the measured value.
        limit: the largest value that meets the goal.
        contestants: from whose figures it is calculated.
    """
    return Goal(f"{text}, at most {shown(limit)}", figure, figure <= limit and _are_right(contestants))


def at_least(text: str, figure: float, limit: float, *contestants: Contestant) -> Goal:
    """Like :func:`at_most`, with a smallest value."""
    return Goal(f"{text}, at least {shown(limit)}", figure, figure >= limit and _are_right(contestants))


def _are_right(contestants: Sequence[Contestant]) -> bool:
    return not any(one.problems for one in contestants)


def _of_a_part(figure: str) -> bool:
    """Whether a figure is of one part, as "land_events s": it is shown in the results page, not on a terminal."""
    return figure.endswith(" s")


def medians(contestants: Sequence[Contestant], *, parts: bool = True) -> tuple[list[str], list[list[str]]]:
    """Return the headings and lines of a stage's table, with or without the figures of parts.

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
    """Return a figure with its significant digits.

    >>> shown(1234.5), shown(0.123456)
    ('1,234', '0.123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """Return the command line parser of a stage, with the option of every stage: ``--quick``.

    Args:
        description: what the stage does.
        quick: what its quick run does, and how long it takes.
    """
    end_cleanly()
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help=f"only check that it works: {quick}")
    return made


def add_rounds(line: argparse.ArgumentParser) -> None:
    """Add the options that :func:`rounds_asked` reads to a stage's command line."""
    line.add_argument("--rounds", type=int, default=ROUNDS)
    line.add_argument(
        "--more", action="store_true", help="add the rounds to the stored ones, which must be of the same code"
    )


def rounds_asked(args: argparse.Namespace) -> Run:
    """Return the run that the command line asks for; a quick run has one round."""
    return Run(1, quick=True) if args.quick else Run(args.rounds, more=args.more)


def end_cleanly() -> None:
    """Make a terminated benchmark close its blocks first: otherwise a broker or a stack would outlive it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def machine() -> str:
    """Describe the machine in a few words."""
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {sys.version.split()[0]}"


def keep(
    stage: str, title: str, contestants: Sequence[Contestant], goals: Sequence[Goal], *, quick: bool, **more: Any
) -> None:
    """Write the rounds of a stage to ``benchmarks/results/<stage>.json``, from which the report is made.

    Args:
        stage: name of the file.
        title: what was done, with its size.
        contestants: who took part.
        goals: the stage's goals.
        quick: a run that only shows that everything works: its results go to ``results/quick``, separate from the
            figures that count.
        more: other data for the report, as JSON types.
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
    """Run contestants in turns, store each round when it is over, and print the medians and goals.

    Days of millions of events take hours of rounds: an interrupted run retains its finished rounds, and ``--more`` adds
    to them.

    Args:
        stage: see :func:`keep`.
        title: see :func:`keep`.
        contestants: who takes part, without rounds.
        goals: makes the goals from the contestants' rounds.
        how: how many rounds, and whether they are added.

    Raises:
        SystemExit: the stored rounds are of other contestants.
    """
    if how.more:
        _recall(stage, contestants, quick=how.quick)
    take_turns(contestants, how.rounds, after_round=lambda: keep(stage, title, contestants, goals(), quick=how.quick))
    _show(title, contestants, goals())


def _recall(stage: str, contestants: Sequence[Contestant], *, quick: bool) -> None:
    """Give contestants their stored rounds."""
    file = _file_of(stage, quick=quick)
    if not file.exists():
        return
    stored = json.loads(file.read_text(encoding="utf-8"))["contestants"]
    if [one["name"] for one in stored] != [one.name for one in contestants]:
        sys.exit(f"{file} has rounds of other contestants; run without --more to start again")
    for one, earlier in zip(contestants, stored, strict=True):
        one.rounds, one.problems = earlier["rounds"], earlier["wrong"]


def conclude(
    stage: str, title: str, contestants: Sequence[Contestant], goals: Sequence[Goal], *, quick: bool, **more: Any
) -> None:
    """Store a stage, as :func:`keep` does, and print its medians and goals."""
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
    """Return a cost as figures by name."""
    return asdict(cost)
