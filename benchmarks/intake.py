"""``make bench``: what an acknowledgement costs the intake, as ratios within one run.

Three intakes on one broker: Daybook's; the same application that does not wait for the broker; and the shape of 2019
(development server, unawaited send). ApacheBench asks each in turn, several rounds, so that a noisy machine is noisy
for all of them; the middle round counts. Then Daybook's alone with batches.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from daybook.settings import Settings
from event_generator.manifest import Request
from event_generator.play import Load, play_day
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, until

ROUNDS = 5
REQUESTS = 2_000
CONNECTIONS = (4, 64)
BATCHES = (1, 20, 200, 1000)


class Variant(OwnIntake):
    """Another program in the intake's place."""

    def __init__(self, settings: Settings, command: Callable[[list[str]], list[str]]) -> None:
        super().__init__(settings, DAYBOOK_API_WORKERS="2")
        self._command_of = command

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        super()._spawn(self._command_of(command), environment)


@dataclass(frozen=True)
class Asked:
    """What ApacheBench said of one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def ask(settings: Settings, connections: int) -> Asked:
    """One round of single events by the 2019 route, on connections that are kept."""
    url = f"{settings.intake_url}/purchase/sword"
    line = ["ab", "-q", "-k", "-n", str(REQUESTS), "-c", str(connections), "-H", "Host: user53.att.com", url]
    told = subprocess.run(line, capture_output=True, text=True, check=True).stdout

    def number(pattern: str) -> float:
        found = re.search(pattern, told, re.MULTILINE)
        return float(found[1]) if found else 0.0

    # answers of another length are no failures: the intake's answers differ by nothing but the date
    failed = number(r"^Failed requests:\s+(\d+)") + number(r"^Non-2xx responses:\s+(\d+)")
    return Asked(
        number(r"^Requests per second:\s+([\d.]+)"),
        number(r"^\s+50%\s+(\d+)"),
        number(r"^\s+99%\s+(\d+)"),
        int(failed),
    )


def middle(rounds: list[Asked]) -> Asked:
    """The median of each figure, and all failures."""
    return Asked(
        median(one.per_second for one in rounds),
        median(one.p50_ms for one in rounds),
        median(one.p99_ms for one in rounds),
        sum(one.failed for one in rounds),
    )


def main() -> None:
    """Measure, print the tables, and print the figures as JSON in the last line."""
    if shutil.which("ab") is None:
        sys.exit("bench: ApacheBench (ab) is not installed; on Debian it is in the package apache2-utils")
    console = Console(width=100)
    home = Path(tempfile.mkdtemp(prefix="daybook-bench-"))
    base = own_settings(home)
    names = ("daybook", "daybook, not waiting", "shape of 2019")
    places = dict(zip(names, (base.api_port, base.api_port + 400, base.api_port + 401), strict=True))
    apart = {
        name: base.model_copy(update={"home": home / str(port), "api_port": port}) for name, port in places.items()
    }
    commands: dict[str, Callable[[list[str]], list[str]]] = {
        names[0]: lambda command: command,
        names[1]: lambda command: [*command[:-1], "benchmarks.intake_variants:create_unawaited_app()"],
        names[2]: lambda _: [sys.executable, "-m", "benchmarks.intake_variants"],
    }
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    figures: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        stack.enter_context(OwnBroker(base))
        running = {name: stack.enter_context(Variant(apart[name], commands[name])) for name in names}
        until(lambda: running[names[0]].status("/health/ready") == 200, "ready")
        for connections in CONNECTIONS:
            rounds: dict[str, list[Asked]] = {name: [] for name in names}
            for number in range(ROUNDS + 1):
                for name in names:
                    found = ask(apart[name], connections)
                    if number:  # the first round warms up
                        rounds[name].append(found)
            table = Table(title=f"Single events, {connections} connections, {ROUNDS} rounds of {REQUESTS:,}")
            for column in ("", "events/s", "p50 ms", "p99 ms", "failed", "p50 against daybook"):
                table.add_column(column, justify="left" if not column else "right")
            ours = middle(rounds[names[0]])
            for name in names:
                one = middle(rounds[name])
                figures[f"{name}, {connections}"] = vars(one)
                ratio = f"{one.p50_ms / ours.p50_ms:.2f}"
                figures_of = (f"{one.per_second:,.0f}", f"{one.p50_ms:.0f}", f"{one.p99_ms:.0f}", str(one.failed))
                table.add_row(name, *figures_of, ratio)
            console.print(table)
        table = Table(title="Batches, 4 connections, acknowledged")
        for column in ("events a request", "events/s", "p50 ms", "p99 ms"):
            table.add_column(column, justify="right")
        for number, batch in enumerate(BATCHES):
            request = Request(date(2026, 5, 1 + number), 3_000 if batch == 1 else 60_000, 1)
            _, pace = play_day(request, apart[names[0]], Load(batch=batch))
            if pace is None:
                sys.exit("bench: the day was played before")
            per_second = pace.events / pace.seconds
            figures[f"batch {batch}"] = {"per_second": per_second, "p50_ms": pace.p50_ms, "p99_ms": pace.p99_ms}
            table.add_row(str(batch), f"{per_second:,.0f}", f"{pace.p50_ms:.0f}", f"{pace.p99_ms:.0f}")
        console.print(table)
    shutil.rmtree(home)
    console.print_json(json.dumps(figures))


if __name__ == "__main__":
    main()
