"""A laboratory for days: a broker, an intake, a lake of its own, the day's steps as real Spark drivers, and the oracle.

The oracle holds what was acknowledged against what the published pages have.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import urllib3

from daybook.jobs.environment import job_environment, venv_bin
from daybook.jobs.submit import submit_command
from daybook.kafka.admin import KafkaAdmin, kafka_admin
from daybook.kafka.offsets import BrokerAway, TopicMissing, offsets_text, topic_offsets
from daybook.lake.catalog import catalog, load
from daybook.lake.ledger import latest_pages
from daybook.lake.snapshots import page_state
from daybook.lake.tables import EVENTS, NAMESPACE, RAW_EVENTS, REJECTED_EVENTS
from daybook.pipeline.due import waiting_days
from daybook.pipeline.position import position
from daybook.settings import Settings
from daybook.sql.answers import AREAS
from tests.integration.own_broker import OwnBroker, OwnIntake, kafka_environment, until

STEP_TIMEOUT_SECONDS = 300
ATTEMPTS = 3
"""How often a step is tried after its faults, before the test fails."""
MOST_FAULTS = 30
"""Of one step of one day."""

Fault = Callable[[subprocess.Popen[bytes]], bool | None]
"""What is done to a driver while it runs; whether it has been frozen by it."""
Faults = Iterable[Fault]
"""What is done to a step's first try, to its second, and so on, until one comes through; may have no end."""


@dataclass(frozen=True)
class Audit:
    """What the published lake holds of what was acknowledged."""

    accepted: int
    landed: int
    lost: int
    doubled: int
    unbalanced: int
    """Days whose newest page does not add up, or that have no page."""

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing doubled, every day balanced."""
        return (self.lost, self.doubled, self.unbalanced) == (0, 0, 0) and self.landed == self.accepted


@dataclass
class DayLab:
    """The parts, and the verbs of an operator."""

    settings: Settings
    broker: OwnBroker
    intake: OwnIntake
    accepted: dict[str, date] = field(default_factory=dict)
    """Acknowledged id -> the day it happened."""
    injected: int = 0
    """Faults that hit."""
    killed_before: Counter[str] = field(default_factory=Counter)
    """Table -> how often a driver was killed before a commit of it."""
    given_up: int = 0
    """Acknowledged events that the broker lost before they were landed, and an operator decided to go on without."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step -> how long its last try took, the one that succeeded."""

    @property
    def catalog(self) -> Path:
        """The lake's catalog."""
        return Path(self.settings.catalog_uri.removeprefix("jdbc:sqlite:"))

    @property
    def warehouse(self) -> Path:
        """The lake's files."""
        return Path(self.settings.warehouse.removeprefix("file://"))

    def commits(self) -> Counter[str]:
        """Table -> how many commits it has seen, up to a hundred: so many does Iceberg remember."""
        tables = (load(self.settings, name) for _, name in catalog(self.settings).list_tables(NAMESPACE))
        return Counter({table.name()[-1]: len(table.metadata.metadata_log) for table in tables if table})

    def send(self, *moments: str) -> None:
        """Send an event for each moment, as a game does, until every one is acknowledged."""
        events = self._events(moments)
        # a broker that was hurt a moment ago may still be refused by the intake, which says so by a 503
        until(lambda: self._post(events) == 201, "events accepted", 120)
        for event in events:
            self.accepted[event["event_id"]] = date.fromisoformat(event["occurred_at"][:10])

    def send_refused(self, *moments: str) -> None:
        """Send events for moments that the intake does not take."""
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
        """What drivers and commands run in: secrets, which the stack's parts inherit, come here from the settings."""
        return {**job_environment(self.settings), **kafka_environment(self.settings)}

    def daybook(self, *arguments: str) -> str:
        """Run the ``daybook`` command; what it prints."""
        command = [str(venv_bin() / "daybook"), *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @cached_property
    def admin(self) -> KafkaAdmin:
        """Kafka's administration; one that stays, since its answers come later and die with it."""
        return kafka_admin(self.settings)

    def offsets(self) -> dict[int, int] | None:
        """The topic's end offsets; none while the broker is still at work on it."""
        try:
            return topic_offsets(self.admin, self.settings.kafka_topic)
        except (TopicMissing, BrokerAway):
            return None

    def ends(self) -> str:
        """The topic's end offsets, as the sensor freezes them."""
        return offsets_text(topic_offsets(self.admin, self.settings.kafka_topic))

    def step(self, name: str, job: str, arguments: list[str], faults: Faults = ()) -> dict[str, Any]:
        """Run a step as Airflow does: tried again until it succeeds.

        A try that its fault has frozen is a zombie: the next one runs to its end, then the zombie wakes up and goes on.

        Returns:
            The summary of the try that succeeded.
        """
        told: dict[str, Any] | None = None
        with ExitStack() as drivers:
            frozen: list[subprocess.Popen[bytes]] = []
            for fault in chain(islice(faults, MOST_FAULTS), repeat(None, ATTEMPTS)):
                began = time.monotonic()
                process, summary = drivers.enter_context(self.driver(job, arguments))
                if fault is not None and fault(process):
                    frozen.append(process)
                    continue
                process.wait(STEP_TIMEOUT_SECONDS)
                told = _read(summary)
                if process.returncode == 0 and told is not None:
                    self.seconds[name] = time.monotonic() - began
                    break
            else:
                raise AssertionError(f"{job} {arguments}: {told}; see {self.log}")
            for process in frozen:
                os.killpg(process.pid, signal.SIGCONT)
                process.wait(STEP_TIMEOUT_SECONDS)
        return told

    @property
    def log(self) -> Path:
        """What the drivers wrote."""
        return self.settings.home / "drivers.log"

    @contextmanager
    def driver(self, job: str, arguments: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """A real driver, in a process group of its own, and the file of its summary; ended with the block."""
        with tempfile.TemporaryDirectory(prefix="daybook-lab-") as folder, self.log.open("ab") as log:
            summary = Path(folder) / "summary.json"
            process = subprocess.Popen(
                submit_command(self.settings, job, [*arguments, "--summary", str(summary)]),
                env=self.environment(),
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
        """Every step of a day with the faults of each; then its page is published, or nothing was due."""
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
        """Try to land for a day, which must fail; what is said of it. Nothing has moved."""
        before = position(self.settings, load(self.settings, RAW_EVENTS))
        landing = ["--day", str(day), "--run-id", f"lab-{uuid4().hex[:8]}", "--until", self.ends()]
        with self.driver("land_events", landing) as (process, summary):
            assert process.wait(STEP_TIMEOUT_SECONDS) == 1, f"it was not refused; see {self.log}"
            told = _read(summary) or {}
        assert position(self.settings, load(self.settings, RAW_EVENTS)) == before
        return str(told["error"])

    def give_up(self, gone: Iterable[str]) -> None:
        """An operator decides to go on without events that the broker has lost."""
        self.daybook("accept-loss", "--note", "lost by the broker, see the table of faults")
        for one in gone:
            del self.accepted[one]
            self.given_up += 1

    def settle(self) -> None:
        """Land what is in Kafka, then run every day whose page does not show all of it, as their own runs would."""
        if offsets_text(position(self.settings, load(self.settings, RAW_EVENTS)).offsets) != self.ends():
            self.run_day(max(self.accepted.values()))
        for waiting in waiting_days(self.settings):
            self.run_day(date.fromisoformat(waiting["day"]))


def audit(settings: Settings, accepted: Mapping[str, date]) -> Audit:
    """Hold acknowledged ids against the pages as readers see them; ``accepted``: id -> the day it happened."""
    pages = latest_pages(settings).to_dict("records")
    landed: Counter[str] = Counter()
    placed: dict[str, date] = {}
    unbalanced = len(set(accepted.values()) - {page["event_date"] for page in pages})
    for page in pages:
        ids = _ids(settings, EVENTS, page)
        rejected = _ids(settings, REJECTED_EVENTS, page)
        landed.update(ids + rejected)
        placed |= dict.fromkeys(ids + rejected, page["event_date"])
        lines = json.loads(page["lines"])
        adds_up = page["landed"] == page["events"] + page["duplicates"] + page["rejected"]
        if not (adds_up and len(ids) == page["events"] and all(line["ok"] for line in lines)):
            unbalanced += 1
    lost = sum(1 for one, day in accepted.items() if placed.get(one) != day)
    doubled = sum(1 for one in accepted if landed[one] > 1)
    found = sum(1 for one in accepted if landed[one])
    return Audit(len(accepted), found, lost, doubled, unbalanced)


def _ids(settings: Settings, table: str, page: dict[str, Any]) -> list[str]:
    metadata = load(settings, table)
    if metadata is None or metadata.current_snapshot() is None:
        return []
    snapshot = page_state(metadata, page["snapshots"][table]) if table in page["snapshots"] else None
    rows = metadata.scan(row_filter=f"event_date = '{page['event_date']}'", snapshot_id=snapshot).to_arrow()
    if table == EVENTS:
        return [str(one) for one in rows["event_id"].to_pylist()]
    return [json.loads(value)["event_id"] for value in rows["value"].to_pylist()]


def _read(summary: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return told


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a driver at once, as the kernel does when memory is short: the JVM and its Python."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def kill_at(lab: DayLab, step: str, share: float) -> Fault:
    """Kill the driver when this share of the time is over that its step took the last time; 20 s if never seen."""

    def fault(process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(share * lab.seconds.get(step, 20))
        except subprocess.TimeoutExpired:
            kill(process)
            lab.injected += 1

    return fault


def freeze_after_commit(lab: DayLab, number: int) -> Fault:
    """Stop the driver in its tracks once it has made so many commits; it wakes up when its step is done."""

    def fault(process: subprocess.Popen[bytes]) -> bool:
        commits = Commits(lab)
        commits.pass_by(process, number)
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGSTOP)
            if commits.can_be_made():
                lab.injected += 1
                return True
            os.killpg(process.pid, signal.SIGCONT)  # it holds the catalog: a moment later, then
            time.sleep(0.01)  # between two looks at the condition above
        return False

    return fault


class Commits:
    """Watches the lake's catalog, where every commit is one UPDATE, and holds one back.

    Readers go on while it is held: the lock is SQLite's RESERVED one. A driver waits three seconds for it.
    """

    def __init__(self, lab: DayLab) -> None:
        self.lab = lab
        self.connection = sqlite3.connect(lab.catalog, isolation_level=None, timeout=1)

    def locations(self) -> dict[str, str]:
        """Table -> its current metadata."""
        rows = self.connection.execute("SELECT table_name, metadata_location FROM iceberg_tables").fetchall()
        return dict(rows)

    def pass_by(self, process: subprocess.Popen[bytes], count: int) -> None:
        """Wait until the driver has made so many commits, or has ended."""
        known, seen = self.locations(), 0
        while process.poll() is None and seen < count:
            now = self.locations()
            seen += sum(1 for table, location in now.items() if known.get(table) != location)
            known = now
            time.sleep(0.002)  # between two looks at the condition above

    def can_be_made(self) -> bool:
        """Whether nobody is in the middle of a commit, or of a look, which holds SQLite's commits up just as well."""
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
        """Let the driver write its next commit's files, then do something before the commit.

        Returns:
            The commit's table; None if the driver ended without one.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            known = set(self.lab.warehouse.rglob("*.metadata.json"))
            while process.poll() is None:
                if written := set(self.lab.warehouse.rglob("*.metadata.json")) - known:
                    do()
                    return written.pop().parent.parent.name
                time.sleep(0.02)  # between two looks at the condition above
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
    """Fill the disk when the n-th commit's files are written and the catalog is next; then the driver must fail."""

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
    """No byte is left on the lake's file system, which is a small one of its own."""
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
    """The lake's file system can be read and not written, by whoever opens a file from now on.

    It is mounted over itself: no file system becomes read-only while somebody, as this process, has a file open to
    write.
    """
    folder = str(lab.catalog.parent)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def lab_on(settings: Settings) -> Iterator[DayLab]:
    """A laboratory; its lake lies on a small file system of its own where the machine allows to mount one."""
    lake = settings.home / "lake"
    lake.mkdir(parents=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(lake)]
    mounted = subprocess.run(small, check=False).returncode == 0
    try:
        with OwnBroker(settings) as broker, OwnIntake(settings) as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            yield DayLab(settings, broker, intake)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(lake)], check=False)
