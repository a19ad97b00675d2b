"""A generated day in a real broker, its expected results, and Daybook's steps: shared by the benchmarks of a day.

Every contestant of a run reads the same topic, which is filled once. Some of its records are sent twice (same id, same
body, a later offset), and some are not events at all. So the rows of a contestant show whether it de-duplicates and
filters. The expected results are counted with NumPy from the generator's plan, not by an engine that is measured.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from benchmarks.measure import Cost, Run, TreeWatch, add_rounds, cost_of, parser, rounds_asked
from daybook.contract import client_event, complete, encode
from daybook.jobs import connect
from daybook.jobs.config import jars, submit_conf
from daybook.jobs.environment import job_environment, venv_bin
from daybook.jobs.submit import submit_command
from daybook.kafka.admin import kafka_admin
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.offsets import Offsets, offsets_text, topic_offsets
from daybook.lake.duckdb_engine import fetch
from daybook.settings import REPOSITORY, Settings
from daybook.sql.answers import AREAS
from event_generator.day import JOIN_GUILD, LABELS, Day, build_day
from event_generator.expected import expected_answers
from event_generator.faults import FaultProfile
from tests.integration.own_broker import OwnBroker, own_settings
from tests.integration.own_spark import OwnSpark

DAY = date(2026, 5, 3)
"""Fixed, so that all runs have the same bytes."""
SEED = 1
TROUBLE = FaultProfile(duplicates=0.02, invalid=0.01)
"""Additional records of a day for the contestants, as shares of its events."""
PRODUCED_AT_ONCE = 10_000
SIZES = (20_000, 100_000, 1_000_000, 5_000_000)
"""Sizes of the measured days in events, from a studio's first year to more than one laptop is meant for."""
QUICK_EVENTS = 2_000
MANY_RECORDS = 300_000
"""Number of events from which a user gives Spark more than the default heap (docs/sizing.md)."""
PEERS_DIR = REPOSITORY / "benchmarks" / "peers"

Record = dict[str, Any]
Event = tuple[str, str, str | None]
"""provider, event_type, item."""

NO_EVENTS: tuple[Callable[[Record], bytes | None], ...] = (
    lambda record: encode(record)[: len(encode(record)) // 2],
    lambda record: b"ping",
    lambda record: b"[" + encode(record) + b"]",
    lambda record: encode({name: value for name, value in record.items() if name != "event_id"}),
    lambda record: encode({name: value for name, value in record.items() if name != "occurred_at"}),
    lambda record: None,
)
"""Make values that are not events, each from an event with an id of its own."""


def driver_memory(events: int) -> str:
    """Return the heap of every Spark driver of a run: Daybook's default for small days, more for large ones.

    The heap is the same for Daybook's drivers and others. With 2.5 GB of it a driver uses less than the 4 GB that a day
    of five million events may take.
    """
    if events < MANY_RECORDS:
        return "1g"
    return "2g" if events <= 1_000_000 else "2560m"


def produce(settings: Settings, day: date, events: int, mischief: FaultProfile | None = None) -> Day:
    """Put a generated day into the topic, byte by byte as the intake would.

    Args:
        settings: of the broker.
        day: the day.
        events: how many events it has.
        mischief: its duplicates are sent again later; its invalid records are those of :data:`NO_EVENTS`, because the
            intake refuses all of the generator's own kinds.
    """
    producer = Producer({**librdkafka_conf(settings), "acks": "all", "linger.ms": 5})
    plan = build_day(day, events, SEED, settings.items, mischief)
    for start in range(0, len(plan.script), PRODUCED_AT_ONCE):
        places = range(start, min(start + PRODUCED_AT_ONCE, len(plan.script)))
        part = slice(places.start, places.stop)
        for place, kind, event in zip(
            places, plan.script.kind[part].tolist(), plan.at(plan.script.event[part]), strict=True
        ):
            record = _record(event)
            value: bytes | None = encode(record)
            if kind >= 0:
                value = NO_EVENTS[place % len(NO_EVENTS)]({**record, "event_id": str(plan.corrupted_ids[place])})
            # keyed by player: a duplicate reaches the same partition, after the original
            producer.produce(settings.kafka_topic, value, record["user_id"].encode())
        producer.poll(0)
        producer.flush()
    return plan


def _record(event: dict[str, Any]) -> Record:
    checked = client_event.validate_python(event)
    assert checked.occurred_at is not None
    received_at = checked.occurred_at + timedelta(seconds=0.2)
    return complete(checked, received_at=received_at, request_host="", user_agent="daybook-generator")


@dataclass(frozen=True)
class Truth:
    """The expected result of a day: each of its events once."""

    plan: Day

    @cached_property
    def events(self) -> Counter[Event]:
        """(provider, event_type, item) -> events."""
        items = len(self.plan.items)
        # a guild join comes after the last item
        item = np.where(self.plan.item == JOIN_GUILD, items, self.plan.item)
        counts = np.bincount(self.plan.label * (items + 1) + item, minlength=len(LABELS) * (items + 1)).tolist()
        kinds = [*(("purchase_item", name) for name in self.plan.items), ("join_guild", None)]
        named = [(label, *kind) for label in LABELS for kind in kinds]
        return Counter({event: count for event, count in zip(named, counts, strict=True) if count})

    @cached_property
    def microseconds(self) -> int:
        """Sum of the events' times, each in microseconds after midnight UTC."""
        return int(self.plan.microsecond.sum())

    @cached_property
    def answers(self) -> dict[str, list[dict[str, Any]]]:
        """Answer -> its rows, for all answers that name no players."""
        return expected_answers(self.plan, np.ones(len(self.plan), dtype=np.bool_))


def summed(events: Counter[Event], *places: int) -> Counter[tuple[str | None, ...]]:
    """Count events by some of the positions of :data:`Event`."""
    found: Counter[tuple[str | None, ...]] = Counter()
    for event, count in events.items():
        found[tuple(event[place] for place in places)] += count
    return found


def wrong_events(files: Sequence[str], truth: Truth) -> str:
    """Compare landed events with the truth, read by DuckDB; return what is wrong with them, or an empty text.

    Args:
        files: Parquet files below folders ``event_date=YYYY-MM-DD``, with the columns event_id, event_type, item,
            provider, occurred_at.
        truth: of the day.
    """
    import duckdb

    if not files:
        return "nothing was written"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        values: dict[str, Any] = {"files": list(files)}
        landed = "read_parquet($files, hive_partitioning = true)"
        [totals] = fetch(
            connection,
            "SELECT COUNT(*) AS rows, COUNT(DISTINCT event_id) AS ids, COUNT_IF(event_date = $day) AS of_day, "
            f"SUM(epoch_us(occurred_at) - epoch_us(TIMESTAMP '{DAY} 00:00:00')) AS microseconds FROM {landed}",
            {**values, "day": DAY},
        )
        rows = fetch(
            connection,
            f"SELECT provider, event_type, item, COUNT(*) AS events FROM {landed} GROUP BY ALL",
            values,
        )
    events: Counter[Event] = Counter({(one["provider"], one["event_type"], one["item"]): one["events"] for one in rows})
    expected = truth.events.total()
    found = [
        f"{totals[name]:,} {words} of {expected:,}"
        for name, words in (("rows", "rows"), ("ids", "distinct event ids"), ("of_day", "rows of the day"))
        if totals[name] != expected
    ]
    for words, places in (("event types and items", (1, 2)), ("providers", (0,)), ("providers' events", (0, 1, 2))):
        if summed(events, *places) != summed(truth.events, *places):
            found.append(f"other counts of {words}")
    if totals["microseconds"] != truth.microseconds:
        found.append("other times")
    return "; ".join(found)


@dataclass(frozen=True)
class InKafka:
    """A day in a separate broker."""

    settings: Settings
    """Settings to connect to it; its folder is removed together with it."""
    ends: Offsets
    truth: Truth

    @property
    def folder(self) -> Path:
        """The folder to which contestants may write."""
        return self.settings.home

    @property
    def log(self) -> Path:
        """The log for the output of contestants."""
        return self.settings.home / "contestants.log"

    def program(self, name: str, *arguments: object) -> Cost:
        """Run one of ``benchmarks/peers`` that needs no Spark; return its cost."""
        command = [sys.executable, "-m", f"benchmarks.peers.{name}", *map(str, arguments)]
        return cost_of(command, job_environment(self.settings), self.log)

    def spark_program(self, name: str, *arguments: object) -> Cost:
        """Submit one of ``benchmarks/peers`` that needs Spark, as Daybook submits its own jobs; return its cost.

        Jars, heap, master, shuffle partitions and Java's compilers are Daybook's. So only the difference between two
        programs remains. The session has no Iceberg, because no peer uses it.
        """
        conf = submit_conf(self.settings)
        of_iceberg = ("spark.sql.catalog.", "spark.sql.extensions")
        return self._submit(
            name, {key: value for key, value in conf.items() if not key.startswith(of_iceberg)}, arguments
        )

    def plain_spark_program(self, name: str, *arguments: object) -> Cost:
        """Like :meth:`spark_program`, but with the defaults of Spark and Java, as one submits a new script.

        Jars and heap are Daybook's, because it would not run without them, and days are in UTC.
        """
        conf = submit_conf(self.settings)
        needed = ("spark.driver.memory", "spark.sql.session.timeZone")
        return self._submit(name, {key: conf[key] for key in needed}, arguments)

    def _submit(self, name: str, conf: Mapping[str, str], arguments: Sequence[object]) -> Cost:
        settings = self.settings
        command = [
            *(str(venv_bin() / "spark-submit"), "--master", settings.spark_master, "--name", name),
            *("--jars", jars(settings)),
            *(part for key, value in conf.items() for part in ("--conf", f"{key}={value}")),
            *(str(PEERS_DIR / f"{name}.py"), *map(str, arguments)),
        ]
        return cost_of(command, job_environment(settings), self.log)


@contextmanager
def in_kafka(events: int) -> Iterator[InKafka]:
    """A day of this many events, with :data:`TROUBLE`, in a broker that runs while its block runs."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        settings = own_settings(Path(folder)).model_copy(update={"spark_driver_memory": driver_memory(events)})
        with OwnBroker(settings):
            plan = produce(settings, DAY, events, TROUBLE)
            ends = topic_offsets(kafka_admin(settings), settings.kafka_topic)
            yield InKafka(settings, ends, Truth(plan))


class DaybookDay:
    """Daybook's steps of a day, as Airflow runs them.

    Args:
        settings: of the broker and the lake; a missing lake is created.
        day: the day.
        ends: the frozen end offsets of the topic.
        server: the running Spark server; the Spark steps are its clients, as on a stack. Without it each step
            is a separate driver, as on a cluster.
    """

    def __init__(self, settings: Settings, day: date, ends: Offsets, server: OwnSpark | None = None) -> None:
        self.settings = settings
        self._server = server
        self.costs: dict[str, Cost] = {}
        """Step -> its cost; the server's cost of two parallel steps is in the first of them."""
        self._seconds = 0.0
        self._day = day
        self._ends = ends
        self._log = settings.home / "steps.log"
        (settings.home / "lake").mkdir(parents=True, exist_ok=True)

    def _step(self, name: str, arguments: Sequence[str], job: str = "") -> dict[str, Any]:
        """Run a step as the stack does if there is a server, else as a cluster does."""
        if self._server is not None:
            return self._clients(self._server, job or name, {name: arguments})[0]
        command = submit_command(self.settings, job or name, self._arguments(name, arguments))
        self._ran(name, cost_of(command, job_environment(self.settings), self._log))
        return self._summary(name)

    def _clients(self, server: OwnSpark, job: str, steps: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """Run steps in parallel, as clients of the server."""

        def run(name: str) -> Cost:
            command = connect.client_command(job, self._arguments(name, steps[name]))
            return cost_of(command, server.environment(), self._log)

        began = time.monotonic()
        with TreeWatch(server.watched.pid) as watch, ThreadPoolExecutor() as pool:
            before = watch.cpu_seconds
            first, *others = pool.map(run, steps)
        watch.look()
        self._seconds += time.monotonic() - began
        cpu_seconds = first.cpu_seconds + watch.cpu_seconds - before
        rss_mb = watch.rss_mb + sum(one.rss_mb for one in (first, *others))
        costs = [Cost(cpu_seconds, first.seconds, rss_mb), *others]
        self.costs |= dict(zip(steps, costs, strict=True))
        return [self._summary(name) for name in steps]

    def _arguments(self, name: str, arguments: Sequence[str]) -> list[str]:
        summary = ["--summary", str(self.settings.home / f"{name}.json")]
        return ["--day", str(self._day), "--run-id", "benchmark", *summary, *arguments]

    def _ran(self, name: str, cost: Cost) -> None:
        """Record the cost of a step that ran alone."""
        self.costs[name] = cost
        self._seconds += cost.seconds

    def _summary(self, name: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.settings.home / f"{name}.json").read_text(encoding="utf-8"))
        return summary

    def land(self) -> dict[str, Any]:
        """Run ``land_events``; return its stage, which the later steps need."""
        return self._step("land_events", ["--until", offsets_text(self._ends)])

    def answer_and_publish(self, stage: Mapping[str, Any]) -> None:
        """Run the answers of the areas, ``publish_day`` and ``write_report``."""
        staged = ["--stage", json.dumps(stage)]
        areas = {area: ["--area", area, *staged] for area in AREAS}
        if self._server is None:
            answers = [self._step(area, arguments, "answer_questions") for area, arguments in areas.items()]
        else:
            answers = self._clients(self._server, "answer_questions", areas)
        self._step("publish_day", [*staged, "--answers", json.dumps(answers)])
        code = (
            "from daybook.report.write import write_report; from daybook.settings import load_settings; "
            f"write_report(load_settings(), '{self._day}')"
        )
        self._ran("write_report", cost_of([sys.executable, "-c", code], job_environment(self.settings), self._log))

    @property
    def cost(self) -> Cost:
        """The cost of all steps: the time from the first to the last, and the memory of the largest."""
        costs = self.costs.values()
        return Cost(
            sum(one.cpu_seconds for one in costs),
            self._seconds,
            max(one.rss_mb for one in costs),
        )


DAYS_FOLDERS = ("lake", "reports")
"""The folders in a state folder that contain the days."""


def forget_days(settings: Settings) -> None:
    """Remove what a round has left of its day, but no file of a server that runs in the same state folder."""
    for one in DAYS_FOLDERS:
        shutil.rmtree(settings.home / one, ignore_errors=True)


def written(folder: Path) -> dict[str, float]:
    """Return the size in bytes and the number of all files below a folder, metadata and checkpoints included."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"bytes_written": sum(sizes), "files_written": len(sizes)}


def emptied(folder: Path) -> Path:
    """Return a folder, emptied of what an earlier round left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def run_stage(description: str | None, run: Callable[[int, Run], None]) -> None:
    """Run a stage from the command line.

    Args:
        description: what the stage does.
        run: runs it for a number of events.
    """
    line = parser(description, f"{QUICK_EVENTS:,} events, one round, a minute")
    line.add_argument("--events", type=int, nargs="+", default=SIZES, help="events of each day")
    add_rounds(line)
    args = line.parse_args()
    how = rounds_asked(args)
    for events in (QUICK_EVENTS,) if how.quick else args.events:
        run(events, how)
