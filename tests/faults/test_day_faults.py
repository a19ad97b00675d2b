"""The day under every fault: one table of rows, and one oracle for all of them.

After each fault its step is retried, as Airflow would, while players continue to play. In the end every acknowledged
event is in the published lake once, on the day it happened, and every day balances. ``DAYBOOK_FAULTS=full`` (``make
test-faults``) repeats each row as often as ``full`` states; otherwise ``short`` applies.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain, count, islice, repeat
from random import Random
from typing import Any, Generic, TypeVar

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions, NewTopic  # type: ignore[attr-defined]  # their documented home

from daybook.jobs import connect
from daybook.kafka.topic_rules import topic_config
from daybook.settings import Settings
from daybook.sql.answers import AREAS, answers
from tests.faults.airflow_lab import PARTS, TASK_RUNNER, AirflowLab
from tests.faults.conftest import FaultTable
from tests.faults.day_lab import (
    STEP_TIMEOUT_SECONDS,
    Commits,
    DayLab,
    Fault,
    fill_disk_before_commit,
    freeze_after_commit,
    full_disk,
    kill,
    kill_at,
    kill_before_commit,
    lab_on,
    read_only,
)
from tests.faults.day_lab import audit as audit_of
from tests.integration.own_broker import own_settings, until
from tests.integration.own_spark import OwnSpark
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(7200)]

IS_FULL = os.environ.get("DAYBOOK_FAULTS") == "full"
DAY = datetime.now(UTC).date() - timedelta(days=40)
STEPS = ("publish_day", "land_events", "user_behaviour", "host_providers")
"""The steps that change what readers see come first: the short version uses these two."""
ALL_STEPS = (*("generate_events", "wait_for_offsets", "land_events"), *AREAS, *("publish_day", "write_report"))
FROZEN_SECONDS = 60
EVENTS = 2_000
"""Events of a generated day: enough to observe its generation while it runs."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DayLab]:
    settings = own_settings(tmp_path_factory.mktemp("lab"))
    with lab_on(settings) as made:
        play(made, DAY)
        made.run_day(DAY)  # creates the tables, and measures how long each step takes
        yield made


@pytest.fixture(scope="module")
def server_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DayLab]:
    settings = own_settings(tmp_path_factory.mktemp("server-lab"))
    with lab_on(settings, has_server=True) as made:
        play(made, DAY)
        made.run_day(DAY)
        yield made


def play(lab: DayLab, *days: date, events: int = 20) -> None:
    """Send some events on each of the days."""
    lab.send(*(f"{day}T{number % 24:02}:30:00Z" for day in days for number in range(events)))


def at_each_step(lab: DayLab, fault: Fault, steps: Sequence[str] = STEPS) -> None:
    """Run a day with the same fault at each of the steps."""
    play(lab, DAY)
    lab.run_day(DAY, {step: [fault] for step in steps})


def killed_before_every_commit(lab: DayLab, times: int) -> None:
    """Kill each step before its first commit, then before its second, until it succeeds.

    A retry starts again, but staged or published records of Kafka remain: after them its next commit is the second one.
    The ledger's row is staged by each try; publish_day commits it when every table is published.
    """
    commits = {
        "land_events": chain((1, 2, 2, 2), count(3)),
        "user_behaviour": count(1),
        "host_providers": count(1),
        "publish_day": chain((1,), repeat(2, len(answers()) + 2), repeat(3)),  # events, the answers, the row
    }
    steps = STEPS if IS_FULL else STEPS[:2]
    if IS_FULL:
        play(lab, DAY)
        before = lab.commits()
        lab.run_day(DAY)
        made = lab.commits() - before
    killed_before = Counter(lab.killed_before)
    play(lab, DAY)
    lab.run_day(DAY, {step: (kill_before_commit(lab, one) for one in islice(commits[step], times)) for step in steps})
    if IS_FULL:
        # on a busy machine a try may be killed no later than the previous one
        assert made - (lab.killed_before - killed_before) == {}, "commits that were passed over"


def killed_at_random(lab: DayLab, times: int) -> None:
    """Kill each step's first tries, up to ten, until this many kills have found their driver alive."""
    random = Random(5)
    until = lab.injected + times
    while lab.injected < until:
        play(lab, DAY)
        tries = min(10, -(-(until - lab.injected) // len(STEPS)))
        lab.run_day(DAY, {step: [kill_at(lab, step, random.uniform(0.05, 1)) for _ in range(tries)] for step in STEPS})


def leftovers_of_a_killed_run(lab: DayLab, _times: int) -> None:
    """A run dies between staging and publishing, and is never repeated; the next day's run finds its leftovers."""
    play(lab, DAY)
    with pytest.raises(Gone):
        lab.run_day(DAY, {"land_events": [kill_before_commit(lab, 2), gone]})
    play(lab, DAY, DAY + timedelta(days=1))
    with pytest.raises(Gone):
        lab.run_day(DAY + timedelta(days=1), {"publish_day": [kill_before_commit(lab, 3), gone]})
    play(lab, DAY + timedelta(days=1))


class Gone(Exception):
    """Raised in place of a retry: nobody repeats the step."""


def gone(_process: subprocess.Popen[bytes]) -> None:
    """Prevent a retry."""
    raise Gone


def one_day_twice_at_once(lab: DayLab, times: int) -> None:
    for _ in range(times):
        play(lab, DAY)
        with ThreadPoolExecutor(2) as runs:
            for run in [runs.submit(lab.run_day, DAY) for _ in range(2)]:
                run.result()
        lab.injected += 1


def two_days_at_once(lab: DayLab, times: int) -> None:
    for _ in range(times):
        play(lab, DAY, DAY + timedelta(days=1))
        with ThreadPoolExecutor(2) as runs:
            for run in [runs.submit(lab.run_day, DAY + timedelta(days=number)) for number in range(2)]:
                run.result()
        lab.injected += 1


def zombie(lab: DayLab, times: int) -> None:
    """A driver freezes after a commit; its step is retried to the end, then it wakes up and continues."""
    for number in range(1, times + 1):
        at_each_step(lab, freeze_after_commit(lab, number), ("land_events", "publish_day"))


def under(trouble: Callable[[DayLab], AbstractContextManager[None]], lab: DayLab, times: int) -> None:
    """Each step in turn fails while the lake cannot be written, and is retried afterwards."""
    needs_own_file_system(lab)

    def fault(process: subprocess.Popen[bytes]) -> None:
        with trouble(lab):
            assert process.wait(120) != 0
        lab.injected += 1

    for _ in range(times):
        at_each_step(lab, fault)


def disk_full_before_a_commit(lab: DayLab, times: int) -> None:
    """The files are written, and the disk is full when the catalog is updated."""
    needs_own_file_system(lab)
    for number in range(1, times + 1):
        at_each_step(lab, fill_disk_before_commit(lab, number), ("land_events", "publish_day"))


def needs_own_file_system(lab: DayLab) -> None:
    """Skip if the lake is on the machine's own file system: filling that would affect others."""
    if not os.path.ismount(lab.catalog.parent):
        pytest.skip("this machine mounts no file system for the lake")


def broker_killed_while_landing(lab: DayLab, times: int) -> None:
    random = Random(7)

    def fault(process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(random.uniform(0.3, 1) * lab.seconds["land_events"])
        except subprocess.TimeoutExpired:
            lab.broker.kill()
            lab.injected += 1
            kill_or_wait(process)
            lab.broker.start()

    for _ in range(times):
        play(lab, DAY)
        lab.run_day(DAY, {"land_events": [fault, fault]})


def kill_or_wait(process: subprocess.Popen[bytes]) -> None:
    """Give the driver half a minute to report that the broker is unavailable."""
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        kill(process)


def lost_by_the_broker(lose: Callable[[DayLab], None], message: str, lab: DayLab, times: int) -> None:
    """Acknowledged events are lost before they are landed: no run continues until an operator accepts it."""
    for _ in range(times):
        before = set(lab.accepted)
        play(lab, DAY)
        lose(lab)
        lab.injected += 1
        error = lab.refused(DAY)
        assert re.search(message, error), error
        lab.give_up(set(lab.accepted) - before)
        play(lab, DAY)


def retention_passed(lab: DayLab) -> None:
    """Retention deletes all records."""
    ends = [TopicPartition(lab.settings.kafka_topic, at, end) for at, end in (lab.offsets() or {}).items()]
    for done in lab.admin.delete_records(ends).values():
        done.result(20)


def log_truncated(lab: DayLab) -> None:
    """The disk of the only replica has lost the topic's log."""
    lab.broker.kill()
    for folder in lab.settings.home.rglob(f"{lab.settings.kafka_topic}-[0-9]*"):
        shutil.rmtree(folder)
    lab.broker.start()
    until(lambda: set((lab.offsets() or {1: 1}).values()) == {0}, "the empty log is served")


def topic_made_anew(lab: DayLab) -> None:
    """Somebody deletes and recreates the topic."""
    topic, partitions = lab.settings.kafka_topic, len(lab.offsets() or {})
    lab.admin.delete_topics([topic])[topic].result(20)
    until(lambda: lab.offsets() is None, "the topic is gone")
    lab.admin.create_topics([NewTopic(topic, partitions, 1, config=topic_config(lab.settings))])[topic].result(20)
    until(lambda: set((lab.offsets() or {1: 1}).values()) == {0}, "the new topic is served")


def partitions_raised(lab: DayLab, times: int) -> None:
    """The topic gets more partitions, and a restarted intake writes to them."""
    topic = lab.settings.kafka_topic
    for _ in range(times):
        play(lab, DAY)
        more = len(lab.offsets() or {}) + 2
        lab.admin.create_partitions([NewPartitions(topic, more)])[topic].result(20)
        until(lambda more=more: len(lab.offsets() or {}) == more, "the new partitions are served")  # type: ignore[misc]
        lab.intake.kill()
        lab.intake.start()
        play(lab, DAY, events=100)
        assert all((lab.offsets() or {0: 0}).values()), "a partition is empty"
        lab.injected += 1


def the_edges_of_days(lab: DayLab, _times: int) -> None:
    """The first and last moments of days, a leap day, and clients whose clocks are years off."""
    lab.send(f"{DAY - timedelta(days=1)}T23:59:59.999Z", f"{DAY}T00:00:00Z", f"{DAY}T23:59:59.999Z")
    lab.send("2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999Z")
    lab.send_refused(f"{datetime.now(UTC).date() + timedelta(days=2)}T00:00:00Z", "2035-01-01T00:00:00Z")
    lab.injected += 3


# --- on the Spark server ----------------------------------------------------------------------------------------------


def server_killed_before_each_commit(lab: DayLab, times: int) -> None:
    """Kill the server before a step's first commit, its second, and so on; each time it is started again."""

    def fault(process: subprocess.Popen[bytes], number: int) -> None:
        server = the_server(lab)
        commits = Commits(lab)
        commits.pass_by(process, number - 1)
        if commits.before_the_next(process, server.kill):
            lab.injected += 1
            server.start()
            assert process.wait(120) != 0, "a step whose server has ended must fail"
            message = lab.log.read_text(encoding="utf-8").splitlines()[-1]
            assert "the Spark server ended while this step ran" in message, message

    play(lab, DAY)
    numbers = range(1, times + 1)
    lab.run_day(DAY, {step: [partial(fault, number=number) for number in numbers] for step in STEPS[:2]})


def server_frozen_while_it_lands(lab: DayLab, times: int) -> None:
    """The server stops for longer than its clients wait for an answer, then continues."""

    def fault(process: subprocess.Popen[bytes]) -> bool:
        server = the_server(lab)
        try:
            process.wait(lab.seconds["land_events"] / 2)
        except subprocess.TimeoutExpired:
            lab.injected += 1
        server.signal(signal.SIGSTOP)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(FROZEN_SECONDS)
        finally:
            server.signal(signal.SIGCONT)
        process.wait(STEP_TIMEOUT_SECONDS)
        return False

    for _ in range(times):
        play(lab, DAY)
        lab.run_day(DAY, {"land_events": [fault]})


FILLS_THE_HEAP = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.sql("SELECT SIZE(COLLECT_LIST(id)) FROM range(0, 1000000000, 1, 1)").collect()
"""


def server_out_of_memory_while_it_lands(lab: DayLab, times: int) -> None:
    """Another client fills the server's heap while it lands; the server ends and is started again."""

    def fault(process: subprocess.Popen[bytes]) -> None:
        server = the_server(lab)
        environment = {**lab.environment(), **connect.client_environment(lab.settings)}
        command = [sys.executable, "-c", FILLS_THE_HEAP]
        filling = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert server.process is not None
            server.process.wait(STEP_TIMEOUT_SECONDS)
            lands = process.poll() is None
            assert "java.lang.OutOfMemoryError" in server.log.read_text(encoding="utf-8"), server.log
            server.start()
        finally:
            filling.kill()
            filling.wait(30)
        if lands:
            lab.injected += 1
            assert process.wait(120) != 0, "a step whose server has ended must fail"
            message = lab.log.read_text(encoding="utf-8").splitlines()[-1]
            assert "its memory was too small for the step" in message, message

    aim, tries = lab.injected + times, 0
    while lab.injected < aim:
        tries += 1
        assert tries <= 3 * times, "landing ended before the heap was full"
        play(lab, DAY)
        lab.run_day(DAY, {"land_events": [fault]})


def the_server(lab: DayLab) -> OwnSpark:
    """Return the lab's server."""
    assert lab.server is not None
    return lab.server


# --- on the running stack ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def airflow(stack: Stack) -> AirflowLab:
    """The shared stack, with a day for this module; the schedule has built its day before the faults."""
    lab = AirflowLab(stack)
    lab.call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
    until(lambda: bool(lab.runs("scheduled__")), "the scheduled run", 120, 1)
    lab.follow(lab.runs("scheduled__"))
    return lab


def own_days() -> Iterator[date]:
    """Days that no other test uses."""
    return (DAY - timedelta(days=500 + number) for number in count())


FREE_DAYS = own_days()


def a_run(lab: AirflowLab, name: str, faults: Mapping[str, Callable[[dict[str, Any]], None]]) -> tuple[str, date]:
    """Run a generated day under faults: step -> fault when it is first seen running."""
    day = next(FREE_DAYS)
    run_id = re.sub(r"\W+", "-", f"{name} {day}")  # Airflow accepts neither spaces nor apostrophes
    lab.trigger(run_id, day, EVENTS)
    lab.follow([run_id], faults)
    lab.acknowledged(day)
    return run_id, day


def a_part_at_each_step(lab: AirflowLab, _times: int) -> None:
    faults = {
        "generate_events": ["intake"],
        "land_events": [TASK_RUNNER],
        "user_behaviour": ["Spark server"],
        "host_providers": ["broker"],
        "publish_day": ["Airflow's API", "Spark server"],
    }
    a_run(lab, "parts", {step: lab.kill(*parts) for step, parts in faults.items()})


def killed_at_each_step(parts: Sequence[str], lab: AirflowLab, _times: int) -> None:
    """Kill all of the parts at once, at every step of one day."""
    a_run(lab, parts[0], {step: lab.kill(*parts) for step in ALL_STEPS})


def triggerer_killed_while_it_waits(lab: AirflowLab, times: int) -> None:
    """The wait is deferred because the broker does not answer; then its triggerer dies."""
    for number in range(times):
        day = next(FREE_DAYS)
        run_id = f"deferred-{number}"
        with lab.broker_frozen():
            lab.trigger(run_id, day, 0)
            lab.wait_until_deferred(run_id)
            lab.kill("triggerer")({})
        lab.follow([run_id])


def cleared_after_publish(lab: AirflowLab, times: int) -> None:
    run_id, _ = a_run(lab, "cleared", {})
    for step in ALL_STEPS[:times]:
        lab.clear(run_id, step)
        lab.injected += 1
        lab.follow([run_id])


def triggered_twice(lab: AirflowLab, times: int) -> None:
    for number in range(times):
        day = next(FREE_DAYS)
        run_ids = [f"twice-{number}-{name}" for name in ("a", "b")]
        for run_id in run_ids:
            lab.trigger(run_id, day, EVENTS)
        lab.injected += 1
        lab.follow(run_ids)
        lab.acknowledged(day)


def backfills(lab: AirflowLab, _times: int) -> None:
    """Three past days alongside scheduled runs; a second backfill is refused, then created after the first."""
    first, *_, last = (DAY - timedelta(days=300 - number) for number in range(3))
    lab.backfill(first, last, EVENTS)
    lab.stack.airflow("dags", "unpause", DAG_ID, "-y")  # this starts the schedule's own run if it does not exist yet
    refused = lab.backfill(first, last, EVENTS)
    assert "AlreadyRunningBackfill" in refused, refused
    lab.injected += 2
    lab.follow([*lab.runs("backfill__"), *lab.runs("scheduled__")])
    for again in ("none", "completed"):
        lab.backfill_when_free(first, last, EVENTS, "--reprocess-behavior", again)
        lab.injected += 1
        lab.follow(lab.runs("backfill__"))
    for number in range(3):
        lab.acknowledged(first + timedelta(days=number))


L = TypeVar("L", DayLab, AirflowLab)


@dataclass(frozen=True)
class Row(Generic[L]):
    """A fault, and how often it is repeated."""

    name: str
    inject: Callable[[L, int], None]
    short: int
    full: int


DRIVER_ROWS: tuple[Row[DayLab], ...] = (
    Row("driver killed before each commit", killed_before_every_commit, 0, 30),
    Row("driver killed at random", killed_at_random, 0, 100),
    Row("leftovers of a killed run", leftovers_of_a_killed_run, 0, 1),
    Row("one day run twice at once", one_day_twice_at_once, 0, 1),
    Row("two days at once", two_days_at_once, 0, 1),
    Row("zombie driver", zombie, 0, 2),
    Row("disk full", partial(under, full_disk), 0, 1),
    Row("disk full at the commit", disk_full_before_a_commit, 0, 1),
    Row("lake read-only for a while", partial(under, read_only), 0, 1),
    Row("broker killed while landing", broker_killed_while_landing, 0, 2),
    Row("retention passed", partial(lost_by_the_broker, retention_passed, r"records lost, offsets"), 0, 1),
    Row("log truncated", partial(lost_by_the_broker, log_truncated, "its log was truncated"), 0, 1),
    Row("topic created again", partial(lost_by_the_broker, topic_made_anew, "deleted and created again"), 0, 1),
    Row("partitions raised", partitions_raised, 0, 1),
    Row("clock skew and the edges of days", the_edges_of_days, 0, 1),
)

SERVER_ROWS: tuple[Row[DayLab], ...] = (
    Row("Spark server killed before a commit", server_killed_before_each_commit, 1, 6),
    Row("Spark server frozen while it lands", server_frozen_while_it_lands, 0, 2),
    Row("Spark server out of memory while it lands", server_out_of_memory_while_it_lands, 0, 2),
    Row("client killed before each commit", killed_before_every_commit, 1, 30),
    Row("client killed at random", killed_at_random, 0, 30),
    Row("zombie client", zombie, 0, 2),
    Row("one day run twice at once on the server", one_day_twice_at_once, 0, 1),
    Row("two days at once on the server", two_days_at_once, 1, 2),
)

AIRFLOW_ROWS: tuple[Row[AirflowLab], ...] = (
    Row("a part of the stack killed at each step", a_part_at_each_step, 1, 0),
    *(
        Row(name, partial(killed_at_each_step, parts), 0, 1)
        for name, parts in (
            ("all parts but the scheduler killed at each step", tuple(part for part in PARTS if part != "scheduler")),
            ("scheduler killed at each step", ("scheduler",)),
            ("task runner killed at each step", (TASK_RUNNER,)),
        )
    ),
    Row("triggerer killed while it waits", triggerer_killed_while_it_waits, 0, 1),
    Row("one day triggered twice at once", triggered_twice, 0, 1),
    Row("each task cleared after publish", cleared_after_publish, 0, len(ALL_STEPS)),
    Row("backfill beside the schedule, two backfills", backfills, 0, 1),
)


def of_this_run(rows: Sequence[Row[L]]) -> list[Any]:
    """Return a test for each row.

    A row that this run repeats 0 times is one of the other run; it is skipped before its lab is built.
    """
    elsewhere = "in `make test-all`" if IS_FULL else "in `make test-faults`"
    return [
        pytest.param(row, id=row.name, marks=() if times(row) else pytest.mark.skip(reason=elsewhere)) for row in rows
    ]


def times(row: Row[Any]) -> int:
    """Return how often this run repeats a row."""
    return row.full if IS_FULL else row.short


@pytest.mark.long
class TestDrivers:
    """The steps with drivers of their own, as on a cluster.

    A class for each lab, so that two processes can each take one.
    """

    @pytest.mark.parametrize("row", of_this_run(DRIVER_ROWS))
    def test_a_driver_in_trouble_loses_nothing(self, lab: DayLab, row: Row[DayLab], fault_table: FaultTable) -> None:
        hold(row, lab, lab.settings, fault_table)


@pytest.mark.long
class TestServer:
    """The steps on a Spark server; `make test` kills it in the whole stack."""

    @pytest.mark.parametrize("row", of_this_run(SERVER_ROWS))
    def test_a_server_in_trouble_loses_nothing(
        self, server_lab: DayLab, row: Row[DayLab], fault_table: FaultTable
    ) -> None:
        hold(row, server_lab, server_lab.settings, fault_table)


class TestStack:
    """The whole stack, in which a step fails and is retried as Airflow decides."""

    @pytest.mark.parametrize("row", of_this_run(AIRFLOW_ROWS))
    def test_airflow_in_trouble_loses_nothing(
        self, airflow: AirflowLab, row: Row[AirflowLab], fault_table: FaultTable
    ) -> None:
        hold(row, airflow, airflow.stack.settings, fault_table)


def hold(row: Row[L], lab: L, settings: Settings, fault_table: FaultTable) -> None:
    """Inject a row's faults, wait until all is settled, and compare acknowledged events with published ones."""
    began, injected, given_up = time.monotonic(), lab.injected, lab.given_up
    row.inject(lab, times(row))
    lab.settle()
    audit = audit_of(settings, lab.accepted)
    fault_table(
        {
            "row": row.name,
            "faults": lab.injected - injected,
            "accepted": audit.accepted,
            "landed": audit.landed,
            "given up": lab.given_up - given_up,
            "lost": audit.lost,
            "doubled": audit.doubled,
            "unbalanced": audit.unbalanced,
            "seconds": round(time.monotonic() - began),
        }
    )
    assert audit.is_clean, audit
    assert lab.injected > injected, "no fault hit"
