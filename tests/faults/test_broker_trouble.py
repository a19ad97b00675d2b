"""A broker in trouble under load: accepted events are in Kafka, and the intake recovers without help."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from daybook.settings import Settings
from tests.faults.clients import Players, balance, holds, workers
from tests.figures import Figures
from tests.integration.own_broker import OwnBroker, OwnIntake, records, until

pytestmark = [pytest.mark.integration, pytest.mark.long]

EVENTS_BETWEEN = 500
"""Accepted events before, between and after the troubles."""
TIMES = 3


def stopped(broker: OwnBroker, players: Players) -> None:
    """Kill the broker as a crash would (the page cache survives), wait until clients notice, start it again."""
    broker.kill()
    players.ledger.until(unavailable=players.ledger.answers[503] + 5)
    broker.start()


def restarted(broker: OwnBroker, players: Players) -> None:
    """Shut the broker down cleanly, as for an upgrade, and start it again."""
    assert broker.process is not None
    broker.signal(signal.SIGTERM)
    broker.process.wait(60)
    players.ledger.until(unavailable=players.ledger.answers[503] + 5)
    broker.start()


def paused(broker: OwnBroker, players: Players) -> None:
    """Freeze the broker with its connections open: it neither refuses nor answers."""
    broker.signal(signal.SIGSTOP)
    try:
        players.ledger.until(unavailable=players.ledger.answers[503] + 5)
    finally:
        broker.signal(signal.SIGCONT)


def slow(broker: OwnBroker, players: Players) -> None:
    """Let the broker run a tenth of the time until it has accepted some events: a slow broker."""
    wanted = len(players.ledger.accepted) + 100
    deadline = time.monotonic() + 60
    try:
        while len(players.ledger.accepted) < wanted:
            assert time.monotonic() < deadline, "a slow broker takes no events"
            broker.signal(signal.SIGSTOP)
            time.sleep(0.18)  # this makes the broker slow; it is not a wait for a condition
            broker.signal(signal.SIGCONT)
            time.sleep(0.02)
    finally:
        broker.signal(signal.SIGCONT)


@pytest.mark.parametrize("trouble", [stopped, restarted, paused, slow])
def test_nothing_accepted_is_lost_and_the_intake_recovers(
    settings: Settings,
    broker: OwnBroker,
    intake: OwnIntake,
    figures: Figures,
    trouble: Callable[[OwnBroker, Players], None],
) -> None:
    until(lambda: intake.status("/health/ready") == 200, "ready before")
    before = records(settings).keys()
    pids = [worker.pid for worker in workers(intake)]
    with Players(settings, seed=len(trouble.__name__)) as players:
        for _ in range(TIMES):
            players.ledger.until(accepted=len(players.ledger.accepted) + EVENTS_BETWEEN)
            trouble(broker, players)
        players.ledger.until(accepted=len(players.ledger.accepted) + EVENTS_BETWEEN)
    added = {at: message for at, message in records(settings).items() if at not in before}
    found = balance(players.ledger, added)
    figures({"times": TIMES, **players.ledger.figures(), **found.figures()})
    assert [worker.pid for worker in workers(intake)] == pids, "the intake came back by being started again"
    assert players.ledger.refused
    assert holds(players.ledger, found, producer_may_repeat=True)
