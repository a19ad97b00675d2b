"""``python -m benchmarks.intake``: the intake compared with its alternatives, as ratios within one run.

Three stages, each of interleaved rounds: single events on 64 connections, batches compared with Confluent's producer
alone, and single events on 4 connections. ApacheBench sends all requests, on persistent connections. After each turn
the records in the broker are counted: a program that answered 2xx for more events is marked wrong.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import click

from benchmarks.measure import ROUNDS, Contestant, Goal, TreeWatch, at_least, at_most, conclude, parser, take_turns
from daybook.contract import complete, encode
from daybook.files import last_lines
from daybook.kafka.admin import KafkaAdmin, kafka_admin
from daybook.kafka.offsets import topic_offsets
from daybook.kafka.topic import ensure_topic
from daybook.settings import REPOSITORY, Settings
from event_generator.day import build_day
from game_api.producer import LINGER_MS
from game_api.validation import check_event
from tests.integration.own_broker import OwnBroker, OwnIntake, kafka_environment, own_settings, until

PEERS: Final = REPOSITORY / "benchmarks" / "peers"
MANY, FEW = 64, 4
"""Connections: of a busy game, and of one server that forwards its players' events, as with batches."""
BATCHES: Final = (1, 20, 200, 1000)
LAG_SECONDS: Final = 20.0
"""Time limit for the records of peers that do not wait for the broker to reach it."""
NO_LAG_SECONDS: Final = 0.0
FEWEST_REQUESTS: Final = 51
"""With fewer requests, ApacheBench reads the 99th percentile beyond the end of its list."""

OURS: Final = "Daybook's intake"
UNAWAITED: Final = "Daybook's intake, not waiting"
OF_2019: Final = "shape of 2019"
SINGLE: Final = f"single-event route, {MANY} connections"
ALONE: Final = "Confluent's producer alone"


@dataclass(frozen=True)
class Sizes:
    """The sizes of a run."""

    rounds: int
    many_requests: int
    """Single events in a turn on 64 connections."""
    few_requests: int
    """Single events on 4 connections, also for batches of 1."""
    batch_events: int
    """Events in a turn of batches, and of the producer without an intake."""


FULL: Final = Sizes(rounds=ROUNDS, many_requests=4_000, few_requests=1_500, batch_events=60_000)
QUICK: Final = Sizes(rounds=2, many_requests=256, few_requests=64, batch_events=5_000)


@dataclass(frozen=True)
class Program:
    """A program that serves single events."""

    name: str
    command: Callable[[Settings], list[str]] | None
    """None is the intake, started as the product starts it."""
    lag_seconds: float | None
    """How long after its answers its records may arrive; None if it writes no records."""


class Server(OwnIntake):
    """A running program in place of the intake, on its own port, with its own topic."""

    def __init__(self, program: Program, settings: Settings) -> None:
        super().__init__(settings, DAYBOOK_API_WORKERS=str(settings.api_workers))
        self.program = program

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        own = self.program.command
        super()._spawn(own(self.settings) if own else command, environment)

    @property
    def pid(self) -> int:
        """The root process of its process tree."""
        assert self.process is not None
        return self.process.pid


@dataclass(frozen=True)
class Asked:
    """The results of ApacheBench for one turn."""

    requests: int
    answered: int
    """Requests that were answered with 2xx."""
    seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Question:
    """The requests of ApacheBench in one turn."""

    requests: int
    connections: int
    body: Path | None = None
    """A JSON array for ``POST /events``; without it each request is a 2019 route that buys a sword."""
    events: int = 1
    """Events in each request."""

    def ask(self, server: Server) -> Asked:
        """Send all requests.

        Raises:
            SystemExit: the server could not be measured; the text has the end of its log.
        """
        percentiles = server.settings.home / "percentiles.csv"
        url = server.settings.intake_url + ("/events" if self.body else "/purchase/sword")
        post = ["-p", str(self.body), "-T", "application/json"] if self.body else []
        # -r: a broken connection counts as a failed request; -l: answers may differ in length
        line = ["ab", "-q", "-k", "-r", "-l", "-n", str(self.requests), "-c", str(self.connections)]
        line += ["-e", str(percentiles), "-H", "Host: user53.att.com", *post, url]
        done = subprocess.run(line, capture_output=True, text=True, check=False)

        def number(pattern: str) -> float:
            found = re.search(pattern, done.stdout, re.MULTILINE)
            return float(found[1]) if found else 0.0

        complete = int(number(r"^Complete requests:\s+(\d+)"))
        answered = complete - int(number(r"^Failed requests:\s+(\d+)") + number(r"^Non-2xx responses:\s+(\d+)"))
        if done.returncode or answered <= 0:
            lines = "\n".join([*last_lines(server.log, 20), done.stderr])
            sys.exit(f"{lines}\nbench: {server.program.name} answered {answered} of {self.requests} requests")
        rows = dict(row.split(",") for row in percentiles.read_text(encoding="utf-8").splitlines()[1:])
        seconds = number(r"^Time taken for tests:\s+([\d.]+)")
        return Asked(self.requests, answered, seconds, float(rows["50"]), float(rows["99"]))


class Turns:
    """Sends one server its requests, turn by turn, and counts the records in its topic."""

    def __init__(self, server: Server, question: Question, admin: KafkaAdmin) -> None:
        self._server = server
        self._question = question
        self._admin = admin
        self._problem = ""

    def contestant(self, name: str = "") -> Contestant:
        """Return the server as a contestant."""
        return Contestant(name or self._server.program.name, self.run, lambda: self._problem)

    def run(self) -> dict[str, float]:
        """Run one turn; processor time counts until its records have arrived: no work is left to the next turn."""
        first = self._written()
        before = TreeWatch(self._server.pid)
        before.look()
        with TreeWatch(self._server.pid) as watch:
            asked = self._question.ask(self._server)
            self._problem = self._compare(first, asked.answered * self._question.events)
        watch.look()
        events = asked.answered * self._question.events
        return {
            "events_per_second": events / asked.seconds,
            "p50_ms": asked.p50_ms,
            "p99_ms": asked.p99_ms,
            "cpu_seconds_per_1000_events": (watch.cpu_seconds - before.cpu_seconds) / events * 1000,
            "rss_mb": watch.rss_mb,
            "not_2xx": asked.requests - asked.answered,
        }

    def _compare(self, first: int, accepted: int) -> str:
        """Return what is wrong with the topic after the server's time limit."""
        lag_seconds = self._server.program.lag_seconds
        if lag_seconds is None:
            return ""
        with suppress(AssertionError):  # missing records are reported below
            until(lambda: self._written() - first >= accepted, "its records", lag_seconds)
        arrived = self._written() - first
        return f"answered 2xx for {accepted:,} events, {arrived:,} arrived" if arrived < accepted else ""

    def _written(self) -> int:
        """Count the records of the topic so far."""
        return sum(topic_offsets(self._admin, self._server.settings.kafka_topic).values())


class ProducerAlone:
    """Confluent's producer, which sends the same bytes as the intake, turn by turn."""

    def __init__(self, settings: Settings, records: Path, events: int, admin: KafkaAdmin) -> None:
        self._settings = settings
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")},
            "DAYBOOK_HOME": str(settings.home),
            "DAYBOOK_KAFKA_PORT": str(settings.kafka_port),
            **kafka_environment(settings),
        }
        self._command = [sys.executable, "-m", "benchmarks.peers.producer_alone", str(records), str(events)]
        self._events = events
        self._admin = admin
        self._arrived = 0

    def run(self) -> dict[str, float]:
        """Run one turn in a separate process, whose start does not count."""
        first = sum(topic_offsets(self._admin, self._settings.kafka_topic).values())
        with (
            subprocess.Popen(self._command, env=self._environment, stdout=subprocess.PIPE, text=True) as process,
            TreeWatch(process.pid) as watch,
        ):
            output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"bench: {ALONE} failed; its output is above")
        self._arrived = sum(topic_offsets(self._admin, self._settings.kafka_topic).values()) - first
        took = json.loads(output)
        return {
            "events_per_second": self._events / took["seconds"],
            "cpu_seconds_per_1000_events": took["cpu_seconds"] / self._events * 1000,
            "rss_mb": watch.rss_mb,
        }

    def wrong(self) -> str:
        """Return what is wrong with the topic."""
        sent = self._events + 1  # one before the measurement
        return "" if self._arrived == sent else f"sent {sent:,} events, {self._arrived:,} arrived"


def _module(name: str) -> Callable[[Settings], list[str]]:
    return lambda _: [sys.executable, "-m", f"benchmarks.peers.{name}"]


def _gunicorn(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("gunicorn")), *arguments]


def _intake_unawaited(_settings: Settings) -> list[str]:
    configuration = REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"
    return _gunicorn("-c", str(configuration), "benchmarks.peers.intake_unawaited:create_unawaited_app()")


def _plain_gunicorn(app: str) -> Callable[[Settings], list[str]]:
    """Gunicorn's own threaded worker, with the intake's number of processes and threads, and keep-alive too."""

    def command(settings: Settings) -> list[str]:
        size = ["-w", str(settings.api_workers), "-k", "gthread", "--threads", str(settings.api_threads)]
        return _gunicorn(*size, "--keep-alive", "15", "-b", f"127.0.0.1:{settings.api_port}", f"benchmarks.peers.{app}")

    return command


def _fastify(_settings: Settings) -> list[str]:
    return ["node", str(PEERS / "fastify" / "server.mjs")]


PROGRAMS: Final = (
    Program(OURS, None, NO_LAG_SECONDS),
    Program(UNAWAITED, _intake_unawaited, LAG_SECONDS),
    Program(OF_2019, _module("shape_of_2019"), LAG_SECONDS),
    Program("Flask, gunicorn, not waiting", _plain_gunicorn("flask_gunicorn:create_app()"), LAG_SECONDS),
    Program("bare WSGI, gunicorn, no Kafka", _plain_gunicorn("bare_wsgi:app"), None),
    Program("Starlette, uvicorn, aiokafka", _module("starlette_awaited"), NO_LAG_SECONDS),
)
FASTIFY: Final = Program("fastify, KafkaJS", _fastify, NO_LAG_SECONDS)


def _why_no_fastify() -> str:
    """Install the Node peer if it is missing; return why it cannot take part, or an empty text."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node or npm is not installed"
    folder = PEERS / "fastify"
    installed = folder / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime:
        return ""
    line = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    return f"npm ci failed: {done.stderr.strip()[-200:]}" if done.returncode else ""


def _write_batches(home: Path, settings: Settings) -> tuple[dict[int, Path], Path]:
    """Write the first events of a generated day: bodies of each size, and the intake's records for the largest."""
    events = build_day(date(2026, 5, 1), max(BATCHES), 1, settings.items).at(range(max(BATCHES)))
    bodies = {}
    for size in BATCHES:
        bodies[size] = home / f"batch-{size}.json"
        bodies[size].write_text(json.dumps(events[:size]), encoding="utf-8")
    records = home / "records.jsonl"
    now = datetime.now(UTC)
    with records.open("w", encoding="utf-8") as file:
        for event in events:
            checked = check_event(event, items=settings.items, latest=now)
            record = complete(checked, received_at=now, request_host="user53.att.com", user_agent="ApacheBench/2.3")
            file.write(json.dumps([record["user_id"], encode(record).decode()]) + "\n")
    return bodies, records


def _ratio(one: Contestant, other: Contestant, figure: str) -> float:
    return one.middle(figure) / other.middle(figure)


def _single_goals(by_name: dict[str, Contestant]) -> list[Goal]:
    ours, unawaited, of_2019 = by_name[OURS], by_name[UNAWAITED], by_name[OF_2019]
    rate = "events_per_second"
    return [
        at_least("events/s, times the shape of 2019's", _ratio(ours, of_2019, rate), 5, ours, of_2019),
        at_most("p99, as part of the shape of 2019's", _ratio(ours, of_2019, "p99_ms"), 1 / 3, ours, of_2019),
        at_least("events/s, as part of the same without waiting", _ratio(ours, unawaited, rate), 0.65, ours, unawaited),
    ]


def _batch_goals(by_name: dict[str, Contestant]) -> list[Goal]:
    single, alone = by_name[SINGLE], by_name[ALONE]
    batches = [by_name[_batch_name(size)] for size in BATCHES]
    rate, cost = "events_per_second", "cpu_seconds_per_1000_events"
    fastest = max(batches, key=lambda one: one.middle(rate))
    cheapest = min(batches, key=lambda one: one.middle(cost))
    per_core = f"events per processor second of {cheapest.name}, as part of {ALONE}"
    return [
        at_least(f"events/s of {fastest.name}, times the {SINGLE}", _ratio(fastest, single, rate), 10, fastest, single),
        at_least(per_core, _ratio(alone, cheapest, cost), 0.1, cheapest, alone),
    ]


def _few_goals(by_name: dict[str, Contestant]) -> list[Goal]:
    ours = by_name[OURS]
    return [at_most(f"p50 in ms, of it {LINGER_MS} of linger", ours.middle("p50_ms"), LINGER_MS + 4, ours)]


def _batch_name(size: int) -> str:
    return f"{size:,} events a request" if size > 1 else "1 event a request"


@dataclass(frozen=True)
class Stage:
    """Contestants that take turns, and their requests."""

    name: str
    title: str
    contestants: list[Contestant]
    goals_of: Callable[[dict[str, Contestant]], list[Goal]]
    """Makes the goals from the contestants by name, after their rounds."""


def _start(sizes: Sizes, home: Path, stack: ExitStack) -> list[Stage]:
    """Start the broker and every program; return the stages, which have not run yet."""
    base = own_settings(home)
    programs = list(PROGRAMS)
    if reason := _why_no_fastify():
        click.echo(f"{FASTIFY.name} is left out: {reason}")
    else:
        programs.append(FASTIFY)
    stack.enter_context(OwnBroker(base))
    admin = kafka_admin(base)

    def apart(number: int) -> Settings:
        own = {"home": home / f"contestant-{number}", "kafka_topic": f"contestant-{number}"}
        chosen = base.model_copy(update={**own, "api_port": base.api_port + 400 + number})
        ensure_topic(chosen)
        return chosen

    with ThreadPoolExecutor() as pool:  # each takes seconds for its imports
        waiting = [Server(program, apart(number)) for number, program in enumerate(programs)]
        servers = list(pool.map(stack.enter_context, waiting))
    ours = servers[0]
    until(lambda: ours.status("/health/ready") == 200, "ready")

    def singles(requests: int, connections: int) -> list[Contestant]:
        question = Question(requests, connections)
        return [Turns(server, question, admin).contestant() for server in servers]

    bodies, records = _write_batches(home, base)
    batches = [Turns(ours, Question(sizes.many_requests, MANY), admin).contestant(SINGLE)]
    for size, body in bodies.items():
        requests = sizes.few_requests if size == 1 else max(sizes.batch_events // size, FEWEST_REQUESTS)
        batches.append(Turns(ours, Question(requests, FEW, body, size), admin).contestant(_batch_name(size)))
    alone = ProducerAlone(apart(len(servers)), records, sizes.batch_events, admin)
    batches.append(Contestant(ALONE, alone.run, alone.wrong))

    many, few = singles(sizes.many_requests, MANY), singles(sizes.few_requests, FEW)
    rounds = f"medians of {sizes.rounds} rounds"
    return [
        Stage(
            "intake_single",
            f"{sizes.many_requests:,} single events, {MANY} connections, {rounds}",
            many,
            _single_goals,
        ),
        Stage(
            "intake_batches",
            f"{sizes.batch_events:,} events in batches, {FEW} connections, {rounds}",
            batches,
            _batch_goals,
        ),
        Stage("intake_four", f"{sizes.few_requests:,} single events, {FEW} connections, {rounds}", few, _few_goals),
    ]


def main() -> None:
    """Measure, store the figures, and print the tables."""
    args = parser(__doc__, "few requests, two rounds, a minute").parse_args()
    if shutil.which("ab") is None:
        sys.exit("bench: ApacheBench (ab) is not installed; on Debian it is in the package apache2-utils")
    sizes = QUICK if args.quick else FULL
    home = Path(tempfile.mkdtemp(prefix="daybook-bench-"))
    with ExitStack() as stack:
        stages = _start(sizes, home, stack)
        for stage in stages:
            click.echo(stage.title)
            take_turns(stage.contestants, sizes.rounds, warm_up=1)
    shutil.rmtree(home)
    for stage in stages:
        goals = stage.goals_of({one.name: one for one in stage.contestants})
        conclude(stage.name, stage.title, stage.contestants, goals, quick=args.quick)


if __name__ == "__main__":
    main()
