"""How every benchmark measures: process trees, interleaved rounds, medians, and no time for a wrong answer.

The machines are shared and noisy, so a figure counts beside another one of the same run alone: contestants take turns
(each round in another order), the median of the rounds counts, and what is compared is a ratio. Processor time of the
whole process tree tells more than the clock. A contestant whose rows are not the truth is shown as wrong, whatever its
time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import psutil

from daybook.settings import REPOSITORY
from daybook.stack.folders import last_lines

RESULTS_DIR = REPOSITORY / "benchmarks" / "results"
QUICK_DIR = RESULTS_DIR / "quick"
ROUNDS = 5
LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """What a process tree took."""

    cpu_seconds: float
    """Processor time, user and system, of the process and all that it started."""
    seconds: float
    """On the clock."""
    rss_mb: float
    """Largest resident memory of all processes together, in 10^6 bytes, looked at every 0.1 s."""


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
                    times = one.cpu_times()
                    self._cpu[one.pid, one.create_time()] = times.user + times.system
                    rss += one.memory_info().rss
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


def cost_of(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run a program to its end; what it and all that it started took.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        log: where its output goes, added to what is there.

    Raises:
        SystemExit: it failed; the text has the end of its log.
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
        told = "\n".join(last_lines(log, 20))
        sys.exit(f"{told}\n{' '.join(command)[-100:]} failed; the last lines of its log are above")
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

    def middle(self, figure: str) -> float:
        """The median of a figure over the rounds."""
        return median(one[figure] for one in self.rounds)


def take_turns(contestants: Sequence[Contestant], rounds: int = ROUNDS, *, warm_up: int = 0) -> None:
    """Let each run once a round, each round beginning with another one; rows are checked before a time is kept.

    Args:
        contestants: who takes part.
        rounds: rounds that count.
        warm_up: rounds before them that do not.
    """
    for number in range(-warm_up, rounds):
        first = number % len(contestants)
        for one in [*contestants[first:], *contestants[:first]]:
            figures = one.run()
            problem = one.wrong()
            if problem and problem not in one.problems:
                one.problems.append(problem)
            if number >= 0:
                one.rounds.append(figures)
            # seconds of a part, as "land_events s", stand in the results
            told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items() if not name.endswith(" s"))
            label = f"round {number + 1} of {rounds}" if number >= 0 else "warm-up"
            click.echo(f"{label}: {one.name}: {told}{f' WRONG: {problem}' if problem else ''}")


def end_cleanly() -> None:
    """Let a benchmark that is told to end close its blocks first: a broker or a stack would outlive it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def machine() -> str:
    """The machine in a few words."""
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {sys.version.split()[0]}"


def keep(stage: str, title: str, contestants: Sequence[Contestant], *, quick: bool, **more: Any) -> None:
    """Write the rounds of a stage to ``benchmarks/results/<stage>.json``, which the report is made from.

    Args:
        stage: name of the file.
        title: what was done, with its size.
        contestants: who took part.
        quick: a run that only shows that all works: it goes to ``results/quick``, away from the figures that count.
        more: what else the report needs, as JSON types.
    """
    file = (QUICK_DIR if quick else RESULTS_DIR) / f"{stage}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "title": title,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "contestants": [{"name": one.name, "rounds": one.rounds, "wrong": one.problems} for one in contestants],
        **more,
    }
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def figures_of(cost: Cost) -> dict[str, float]:
    """A cost as figures by name."""
    return asdict(cost)
