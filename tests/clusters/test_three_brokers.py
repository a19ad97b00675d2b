"""A Kafka cluster of three brokers and three replicas: accepted events survive the loss of any broker."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psutil
import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # its documented home

from daybook.errors import DaybookError
from daybook.kafka.admin import kafka_admin
from daybook.kafka.topic import ensure_topic
from daybook.settings import Settings
from tests.clusters import in_full
from tests.faults.clients import Players, balance, holds, workers
from tests.faults.day_lab import DayLab, Fault, audit
from tests.figures import Figures
from tests.integration.own_broker import OwnBroker, OwnCluster, OwnIntake, cluster_settings, records, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

DAY = datetime.now(UTC).date() - timedelta(days=40)
PLAYED = {"occurred_at": f"{DAY}T12:00:00Z"}
EVENTS_BETWEEN = 500
"""Accepted events before, during and after the loss of a broker."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return cluster_settings(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def cluster(settings: Settings) -> Iterator[OwnCluster]:
    with OwnCluster(settings) as running:
        yield running


@pytest.fixture(scope="module")
def intake(settings: Settings, cluster: OwnCluster) -> Iterator[OwnIntake]:
    with OwnIntake(settings, DAYBOOK_API_WORKERS="2") as running:
        until(lambda: running.status("/health/ready") == 200, "intake ready")
        yield running


@pytest.fixture(scope="module")
def acknowledged() -> dict[str, date]:
    """Accepted id of all players of this module -> the day it happened."""
    return {}


@pytest.fixture
def whole(cluster: OwnCluster, intake: OwnIntake) -> None:
    """All replicas are in sync, and the intake is ready."""
    cluster.wait_until_whole()
    until(lambda: intake.status("/health/ready") == 200, "intake ready")


def test_the_topic_is_on_three_brokers_and_two_must_have_an_event(cluster: OwnCluster, settings: Settings) -> None:
    cluster.wait_until_whole()
    [kept] = ensure_topic(settings)
    assert kept == "kept topic events as it is: 3 partitions, 3 replicas"


@pytest.mark.usefixtures("cluster")
def test_more_replicas_than_brokers_are_refused_and_nothing_is_made(settings: Settings) -> None:
    many = settings.model_copy(update={"kafka_topic": "many", "kafka_replication": 4})
    with pytest.raises(DaybookError, match=r"cannot create DAYBOOK_KAFKA_REPLICATION=4 replicas .*nothing was changed"):
        ensure_topic(many, timeout_seconds=1)
    assert "many" not in kafka_admin(settings).list_topics(timeout=10).topics


@pytest.mark.usefixtures("cluster")
def test_the_differences_of_a_topic_made_by_others_are_reported(settings: Settings) -> None:
    admin = kafka_admin(settings)
    config = {"retention.ms": "3600000", "min.insync.replicas": "1"}
    for done in admin.create_topics([NewTopic("theirs", 4, 1, config=config)]).values():
        done.result(20)
    until(lambda: "theirs" in admin.list_topics(timeout=10).topics, "their topic is there")
    kept, *differs = ensure_topic(settings.model_copy(update={"kafka_topic": "theirs"}))
    assert kept == "kept topic theirs as it is: 4 partitions, 1 replicas"
    assert [line.partition(",")[0] for line in differs] == [
        "it has more partitions than DAYBOOK_KAFKA_PARTITIONS=3: Kafka never removes one",
        "its retention.ms is 3600000",
        "its message.timestamp.type is CreateTime",
        "its min.insync.replicas is 1",
        "it has 1 replicas",
    ]


@pytest.mark.usefixtures("cluster")
def test_a_compacted_topic_is_refused(settings: Settings) -> None:
    admin = kafka_admin(settings)
    for done in admin.create_topics([NewTopic("compacted", 3, 3, config={"cleanup.policy": "compact"})]).values():
        done.result(20)
    until(lambda: "compacted" in admin.list_topics(timeout=10).topics, "the topic is there")
    with pytest.raises(DaybookError, match=r"Kafka would remove all but the newest event of a user"):
        ensure_topic(settings.model_copy(update={"kafka_topic": "compacted"}))


@pytest.mark.usefixtures("whole")
def test_a_broker_killed_under_load_loses_nothing(
    settings: Settings, cluster: OwnCluster, intake: OwnIntake, acknowledged: dict[str, date], figures: Figures
) -> None:
    before = records(settings).keys()
    pids = [worker.pid for worker in workers(intake)]
    victim = cluster.brokers[cluster.leaders()[0]]
    with Players(settings, seed=3, fields=PLAYED) as players:
        players.ledger.until(accepted=EVENTS_BETWEEN)
        victim.kill()
        died_at = time.monotonic()
        until(lambda: is_led(cluster, victim), "the two others lead every partition")
        taken_over = time.monotonic() - died_at
        accepted = len(players.ledger.accepted)
        players.ledger.until(accepted=accepted + EVENTS_BETWEEN)
        accepted_by_two = time.monotonic() - died_at
        victim.start()
        cluster.wait_until_whole()
        players.ledger.until(accepted=len(players.ledger.accepted) + EVENTS_BETWEEN)
    acknowledged |= dict.fromkeys(players.ledger.accepted, DAY)
    added = {at: message for at, message in records(settings).items() if at not in before}
    found = balance(players.ledger, added)
    figures(
        {
            "seconds until two lead all": round(taken_over, 1),
            "seconds until they had taken 500 more": round(accepted_by_two, 1),
            **players.ledger.figures(),
            **found.figures(),
        }
    )
    assert [worker.pid for worker in workers(intake)] == pids, "the intake came back by being started again"
    assert holds(players.ledger, found, producer_may_repeat=True)


def is_led(cluster: OwnCluster, dead: OwnBroker) -> bool:
    """Whether running brokers lead every partition."""
    [node] = [node for node, broker in cluster.brokers.items() if broker is dead]
    return not {node, -1} & set(cluster.leaders().values())


@in_full
@pytest.mark.usefixtures("whole")
def test_with_two_brokers_dead_nothing_is_accepted_and_all_comes_back_by_itself(
    settings: Settings, cluster: OwnCluster, intake: OwnIntake, acknowledged: dict[str, date], figures: Figures
) -> None:
    before = records(settings).keys()
    pids = [worker.pid for worker in workers(intake)]
    dead = [cluster.brokers[1], cluster.brokers[2]]
    with Players(settings, seed=4, fields=PLAYED) as players:
        players.ledger.until(accepted=EVENTS_BETWEEN)
        for broker in dead:
            broker.kill()
        players.ledger.until(unavailable=players.ledger.answers[503] + 50)
        # the remaining broker repeats what it knew before: that all is healthy
        until(lambda: intake.status("/health/ready") == 503, "not ready with one of three")
        # open requests are finished: from here on nothing can be accepted
        accepted = len(players.ledger.accepted)
        for _ in range(10):
            players.ledger.until(unavailable=players.ledger.answers[503] + 10)
            assert intake.status("/health/ready") == 503, "ready with one of three"
        assert len(players.ledger.accepted) == accepted, "one broker alone has accepted events"
        for broker in dead:
            broker.begin()
        back_at = time.monotonic()
        players.ledger.until(accepted=accepted + EVENTS_BETWEEN)
        recovered = time.monotonic() - back_at
    cluster.wait_until_whole()
    until(lambda: intake.status("/health/ready") == 200, "ready again")
    acknowledged |= dict.fromkeys(players.ledger.accepted, DAY)
    added = {at: message for at, message in records(settings).items() if at not in before}
    found = balance(players.ledger, added)
    figures(
        {
            "seconds from the start of the dead until 500 more were taken": round(recovered, 1),
            **players.ledger.figures(),
            **found.figures(),
        }
    )
    assert [worker.pid for worker in workers(intake)] == pids, "the intake came back by being started again"
    assert holds(players.ledger, found, producer_may_repeat=True)


@in_full
@pytest.mark.usefixtures("whole")
def test_a_broker_killed_in_the_middle_of_landing_loses_nothing(
    settings: Settings, cluster: OwnCluster, intake: OwnIntake, acknowledged: dict[str, date], figures: Figures
) -> None:
    lab = DayLab(settings, cluster.brokers[1], intake)
    (settings.home / "lake").mkdir(exist_ok=True)
    with Players(settings, seed=5, fields=PLAYED) as players:
        players.ledger.until(accepted=2 * EVENTS_BETWEEN)
    acknowledged |= dict.fromkeys(players.ledger.accepted, DAY)
    lab.accepted = acknowledged  # the same day for all tests: check their accepted events too
    victim = cluster.brokers[cluster.leaders()[0]]
    lab.run_day(DAY, {"land_events": [killed_while_it_is_read(lab, victim)]})
    victim.start()
    lab.settle()
    landed = audit(settings, lab.accepted)
    figures(
        {
            "acknowledged": landed.accepted,
            "landed": landed.landed,
            "lost": landed.lost,
            "doubled": landed.doubled,
            "unbalanced": landed.unbalanced,
            "brokers killed while the driver read": lab.injected,
            "drivers that landed": lab.log.read_text().count(f"land_events {DAY}: Spark was up"),
            "seconds of landing with two brokers": round(lab.seconds["land_events"], 1),
        }
    )
    assert landed.is_clean, landed
    assert lab.injected == 1, "the driver had ended before its broker was killed"


def killed_while_it_is_read(lab: DayLab, broker: OwnBroker) -> Fault:
    """Kill a broker as soon as Spark's Kafka source is connected to it; the driver continues."""

    def fault(process: subprocess.Popen[bytes]) -> None:
        port = broker.settings.kafka_port
        until(lambda: process.poll() is not None or is_read_by(process, port), f"driver on port {port}", 120, 0.01)
        if process.poll() is None:
            broker.kill()
            lab.injected += 1

    return fault


def is_read_by(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether Java has a connection to the port; the Python that read the offsets before does not count."""
    try:
        whole = psutil.Process(process.pid)
        return any(
            one.raddr and one.raddr.port == port
            for member in (whole, *whole.children(recursive=True))
            if member.name() == "java"
            for one in member.net_connections("tcp")
        )
    except psutil.NoSuchProcess:
        return False
