"""A test lab for days: a broker, an intake and a lake, the steps on real Sparks, and the oracle.

The steps are clients of a Spark server, as on the embedded stack, or drivers of their own, as on a cluster.

The oracle compares the acknowledged events with the published days.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import urllib3

from daybook.jobs import connect
from daybook.jobs.environment import job_environment, venv_bin
from daybook.jobs.submit import submit_command
from daybook.kafka.admin import KafkaAdmin, kafka_admin
from daybook.kafka.offsets import BrokerUnavailable, TopicMissing, offsets_text, topic_offsets
from daybook.lake.catalog import catalog, load
from daybook.lake.ledger import Revision, read_ledger
from daybook.lake.snapshots import readable_snapshot
from daybook.lake.tables import EVENTS, NAMESPACE, RAW_EVENTS, REJECTED_EVENTS
from daybook.pipeline.due import waiting_days
from daybook.pipeline.position import position
from daybook.settings import Settings
from daybook.sql.answers import AREAS
from tests.integration.own_broker import OwnBroker, OwnIntake, kafka_environment, until
from tests.integration.own_spark import OwnSpark

STEP_TIMEOUT_SECONDS = 300
ATTEMPTS = 3
"""How often a step is retried after its faults, before the test fails."""
MOST_FAULTS = 30
"""Limit for one step of one day."""

Fault = Callable[[subprocess.Popen[bytes]], bool | None]
"""Called with a running driver; returns whether it has frozen the driver."""
Faults = Iterable[Fault]
"""The faults of a step's first try, its second, and so on, until one succeeds; may be infinite."""


@dataclass(frozen=True)
class Audit:
    """Acknowledged events compared with the published lake."""

    accepted: int
    landed: int
    lost: int
    doubled: int
    unbalanced: int
    """Days that are not published, or whose newest revision does not balance."""

    @property
    def is_clean(self) -> bool:
        """Nothing is lost, nothing doubled, every day balances."""
        return (self.lost, self.doubled, self.unbalanced) == (0, 0, 0) and self.landed == self.accepted


@dataclass
class DayLab:
    """The parts and their operator's commands."""

    settings: Settings
    broker: OwnBroker
    intake: OwnIntake
    server: OwnSpark | None = None
    """The Spark server of the steps; without it each step is a driver."""
    accepted: dict[str, date] = field(default_factory=dict)
    """Acknowledged id -> the day it happened."""
    injected: int = 0
    """Number of faults that hit."""
    killed_before: Counter[str] = field(default_factory=Counter)
    """Table -> how often a driver was killed before a commit of it."""
    given_up: int = 0
    """Acknowledged events that the broker lost before they were landed, and that an operator gave up."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step -> duration of its last, successful try."""

    @property
    def catalog(self) -> Path:
        """The lake's catalog."""
        assert self.settings.catalog_file is not None
        return self.settings.catalog_file

    @property
    def warehouse(self) -> Path:
        """The lake's files."""
        return Path(self.settings.warehouse.removeprefix("file://"))

    def commits(self) -> Counter[str]:
        """Table -> number of its commits, up to a hundred: Iceberg remembers no more."""
        tables = (load(self.settings, name) for _, name in catalog(self.settings).list_tables(NAMESPACE))
        return Counter({table.name()[-1]: len(table.metadata.metadata_log) for table in tables if table})

    def send(self, *moments: str) -> None:
        """Send an event for each moment, as a game does; retry until all are acknowledged."""
        events = self._events(moments)
        # the intake may still answer 503 for a broker that has just recovered
        until(lambda: self._post(events) == 201, "events accepted", 120)
        for event in events:
            self.accepted[event["event_id"]] = date.fromisoformat(event["occurred_at"][:10])

    def send_refused(self, *moments: str) -> None:
        """Send events with times that the intake refuses."""
        assert self._post(self._events(moments)) == 400

    def _events(self, moments: Iterable[str]) -> list[dict[str, str]]:
        return [
            {
                "event_id": str(uuid4()),
                "event_type": "purchase_item",
                "item": "sword",
                "user_id": f"user{number % 50}",
                "host": "user.att.com",
                "occurred_at": moment,
            }
            for number, moment in enumerate(moments)
        ]

    def _post(self, events: list[dict[str, str]]) -> int:
        answer = urllib3.request("POST", f"{self.settings.intake_url}/events", json=events, timeout=30)
        assert answer.status in {201, 207, 400, 503}, answer.data
        return answer.status

    def environment(self) -> dict[str, str]:
        """The environment of drivers and commands. It has the secrets too, which parts of the stack inherit."""
        return {**job_environment(self.settings), **kafka_environment(self.settings)}

    def daybook(self, *arguments: str) -> str:
        """Run the ``daybook`` command; return its output."""
        command = [str(venv_bin() / "daybook"), *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @cached_property
    def admin(self) -> KafkaAdmin:
        """Kafka's admin client. It is cached, because its answers come later and are lost with it."""
        return kafka_admin(self.settings)

    def offsets(self) -> dict[int, int] | None:
        """Return the topic's end offsets; None while the broker is not ready."""
        try:
            return topic_offsets(self.admin, self.settings.kafka_topic)
        except (TopicMissing, BrokerUnavailable):
            return None

    def ends(self) -> str:
        """Return the topic's end offsets, as the sensor freezes them."""
        return offsets_text(topic_offsets(self.admin, self.settings.kafka_topic))

    def step(
        self, name: str, job: str, arguments: list[str], faults: Faults = (), *, needs_jvm: bool = False
    ) -> dict[str, Any]:
        """Run a step as Airflow does: retry until it succeeds.

        A try that its fault has frozen is a zombie: the next try finishes, then the zombie wakes up and continues.

        Returns:
            The summary of the successful try.
        """
        result: dict[str, Any] | None = None
        with ExitStack() as drivers:
            frozen: list[subprocess.Popen[bytes]] = []
            for fault in chain(islice(faults, MOST_FAULTS), repeat(None, ATTEMPTS)):
                began = time.monotonic()
                process, summary = drivers.enter_context(self.driver(job, arguments, needs_jvm=needs_jvm))
                if fault is not None and fault(process):
                    frozen.append(process)
                    continue
                process.wait(STEP_TIMEOUT_SECONDS)
                result = _read(summary)
                if process.returncode == 0 and result is not None:
                    self.seconds[name] = time.monotonic() - began
                    break
            else:
                raise AssertionError(f"{job} {arguments}: {result}; see {self.log}")
            for process in frozen:
                os.killpg(process.pid, signal.SIGCONT)
                process.wait(STEP_TIMEOUT_SECONDS)
        return result

    @property
    def log(self) -> Path:
        """The drivers' log."""
        return self.settings.home / "drivers.log"

    @contextmanager
    def driver(
        self, job: str, arguments: list[str], *, needs_jvm: bool = False
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Run a real driver, or client, in its own process group; yield it with its summary file.

        It ends with the block.
        """
        with tempfile.TemporaryDirectory(prefix="daybook-lab-") as folder, self.log.open("ab") as log:
            summary = Path(folder) / "summary.json"
            given = [*arguments, "--summary", str(summary)]
            if self.server is None or needs_jvm:
                command, environment = submit_command(self.settings, job, given), self.environment()
            else:
                command = connect.client_command(job, given)
                environment = {**self.environment(), **connect.client_environment(self.settings)}
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.settings.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process, summary
            finally:
                if process.poll() is None:
                    kill(process)

    def run_day(self, day: date, faults: Mapping[str, Faults] | None = None) -> None:
        """Run every step of a day with its faults; afterwards the day is published, or nothing was stale."""
        chosen = faults or {}
        base = ["--day", str(day), "--run-id", f"lab-{uuid4().hex[:8]}"]
        landing = [*base, "--until", self.ends()]
        stage = self.step("land_events", "land_events", landing, chosen.get("land_events", ()))
        if "skip" in stage:
            return
        staged = [
            self.step(
                area, "answer_questions", ["--area", area, *base, "--stage", json.dumps(stage)], chosen.get(area, ())
            )
            for area in AREAS
        ]
        publishing = [*base, "--stage", json.dumps(stage), "--answers", json.dumps(staged)]
        self.step("publish_day", "publish_day", publishing, chosen.get("publish_day", ()))

    def refused(self, day: date) -> str:
        """Try to land for a day, which must fail; return the error. The position must not move."""
        before = position(self.settings, load(self.settings, RAW_EVENTS))
        landing = ["--day", str(day), "--run-id", f"lab-{uuid4().hex[:8]}", "--until", self.ends()]
        with self.driver("land_events", landing) as (process, summary):
            assert process.wait(STEP_TIMEOUT_SECONDS) == 1, f"it was not refused; see {self.log}"
            result = _read(summary) or {}
        assert position(self.settings, load(self.settings, RAW_EVENTS)) == before
        return str(result["error"])

    def give_up(self, gone: Iterable[str]) -> None:
        """Accept the loss of events that the broker has lost, as an operator would."""
        self.daybook("accept-loss", "--note", "lost by the broker, see the table of faults")
        for one in gone:
            del self.accepted[one]
            self.given_up += 1

    def settle(self) -> None:
        """Land what is in Kafka, then run every waiting day, as its own run would."""
        if offsets_text(position(self.settings, load(self.settings, RAW_EVENTS)).offsets) != self.ends():
            self.run_day(max(self.accepted.values()))
        for waiting in waiting_days(read_ledger(self.settings)):
            self.run_day(date.fromisoformat(waiting["day"]))


def audit(settings: Settings, accepted: Mapping[str, date]) -> Audit:
    """Compare acknowledged ids with the published days; ``accepted``: id -> the day it happened."""
    published = read_ledger(settings).newest
    landed: Counter[str] = Counter()
    placed: dict[str, date] = {}
    unbalanced = len(set(accepted.values()) - published.keys())
    for day, newest in published.items():
        ids = _ids(settings, EVENTS, newest)
        rejected = _ids(settings, REJECTED_EVENTS, newest)
        landed.update(ids + rejected)
        placed |= dict.fromkeys(ids + rejected, day)
        lines = json.loads(newest.lines)
        adds_up = newest.landed == newest.events + newest.duplicates + newest.rejected
        if not (adds_up and len(ids) == newest.events and all(line["ok"] for line in lines)):
            unbalanced += 1
    lost = sum(1 for one, day in accepted.items() if placed.get(one) != day)
    doubled = sum(1 for one in accepted if landed[one] > 1)
    found = sum(1 for one in accepted if landed[one])
    return Audit(len(accepted), found, lost, doubled, unbalanced)


def _ids(settings: Settings, table: str, newest: Revision) -> list[str]:
    metadata = load(settings, table)
    if metadata is None or metadata.current_snapshot() is None:
        return []
    pinned = newest.snapshots.get(table)
    snapshot = readable_snapshot(metadata, pinned) if pinned is not None else None
    rows = metadata.scan(row_filter=f"event_date = '{newest.day}'", snapshot_id=snapshot).to_arrow()
    if table == EVENTS:
        return [str(one) for one in rows["event_id"].to_pylist()]
    return [json.loads(value)["event_id"] for value in rows["value"].to_pylist()]


def _read(summary: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a driver, as the kernel does when memory is short: the JVM and its Python."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def kill_at(lab: DayLab, step: str, share: float) -> Fault:
    """Kill the driver after this share of its step's last duration; 20 s if the step never ran."""

    def fault(process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(share * lab.seconds.get(step, 20))
        except subprocess.TimeoutExpired:
            kill(process)
            lab.injected += 1

    return fault


def freeze_after_commit(lab: DayLab, number: int) -> Fault:
    """Freeze the driver after this many commits; it wakes up when its step is finished."""

    def fault(process: subprocess.Popen[bytes]) -> bool:
        commits = Commits(lab)
        commits.pass_by(process, number)
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGSTOP)
            if commits.can_be_made():
                lab.injected += 1
                return True
            os.killpg(process.pid, signal.SIGCONT)  # it holds the catalog: try again a moment later
            time.sleep(0.01)  # between two checks of the condition above
        return False

    return fault


class Commits:
    """Watches the lake's catalog, where every commit is one UPDATE, and can delay one commit.

    Readers are not blocked meanwhile: the lock is SQLite's RESERVED lock. A driver waits three seconds for it.
    """

    def __init__(self, lab: DayLab) -> None:
        self.lab = lab
        self.connection = sqlite3.connect(lab.catalog, isolation_level=None, timeout=1)

    def locations(self) -> dict[str, str]:
        """Return table -> its current metadata."""
        rows = self.connection.execute("SELECT table_name, metadata_location FROM iceberg_tables").fetchall()
        return dict(rows)

    def pass_by(self, process: subprocess.Popen[bytes], count: int) -> None:
        """Wait until the driver has made this many commits, or has ended."""
        known, seen = self.locations(), 0
        while process.poll() is None and seen < count:
            now = self.locations()
            seen += sum(1 for table, location in now.items() if known.get(table) != location)
            known = now
            time.sleep(0.002)  # between two checks of the condition above

    def can_be_made(self) -> bool:
        """Whether no process is committing or reading; a reader blocks SQLite's commits just as well."""
        at_once = sqlite3.connect(self.lab.catalog, isolation_level=None, timeout=0)
        try:
            at_once.execute("BEGIN EXCLUSIVE")
            at_once.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            at_once.close()
        return True

    def before_the_next(self, process: subprocess.Popen[bytes], do: Callable[[], object]) -> str | None:
        """Let the driver write the files of its next commit, then call ``do`` before the commit.

        Returns:
            The commit's table; None if the driver ended without a commit.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            known = set(self.lab.warehouse.rglob("*.metadata.json"))
            while process.poll() is None:
                if written := set(self.lab.warehouse.rglob("*.metadata.json")) - known:
                    do()
                    return written.pop().parent.parent.name
                time.sleep(0.02)  # between two checks of the condition above
            return None
        finally:
            self.connection.execute("ROLLBACK")


def kill_before_commit(lab: DayLab, number: int) -> Fault:
    """Kill the driver before its n-th commit, counted from 1."""

    def fault(process: subprocess.Popen[bytes]) -> None:
        commits = Commits(lab)
        commits.pass_by(process, number - 1)
        table = commits.before_the_next(process, partial(kill, process))
        if table:
            lab.injected += 1
            lab.killed_before[table] += 1

    return fault


def fill_disk_before_commit(lab: DayLab, number: int) -> Fault:
    """Fill the disk when the n-th commit's files are written, before the catalog's update; the driver must fail."""

    def fault(process: subprocess.Popen[bytes]) -> None:
        commits = Commits(lab)
        commits.pass_by(process, number - 1)
        with ExitStack() as full:
            assert commits.before_the_next(process, lambda: full.enter_context(full_disk(lab)))
            assert process.wait(STEP_TIMEOUT_SECONDS) != 0
        lab.injected += 1

    return fault


@contextmanager
def full_disk(lab: DayLab) -> Iterator[None]:
    """Fill the lake's file system, which is small and separate."""
    ballast = lab.catalog.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(lab: DayLab) -> Iterator[None]:
    """Make the lake's file system read-only for every file that is opened from now on.

    It is mounted over itself: a file system with a file open for writing, as by this process, cannot become read-only.
    """
    folder = str(lab.catalog.parent)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def lab_on(settings: Settings, *, has_server: bool = False) -> Iterator[DayLab]:
    """Start a lab; its lake is on a small separate file system if the machine can mount one."""
    lake = settings.home / "lake"
    lake.mkdir(parents=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(lake)]
    mounted = subprocess.run(small, check=False).returncode == 0
    try:
        with OwnBroker(settings) as broker, OwnIntake(settings) as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            with OwnSpark(settings) if has_server else nullcontext() as server:
                yield DayLab(settings, broker, intake, server)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(lake)], check=False)
