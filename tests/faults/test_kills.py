"""The kill oracle: the intake's workers and master are killed under load, and no accepted event is lost."""

from __future__ import annotations

import os
import signal
from random import Random

import psutil
import pytest

from daybook.settings import Settings
from tests.faults.clients import Players, balance, holds, workers
from tests.figures import Figures
from tests.integration.own_broker import OwnBroker, OwnIntake, records, until

pytestmark = [pytest.mark.integration, pytest.mark.long]

SEED = 20_191_204
KILLS = 200
MASTER_KILLS = 20
MAX_EVENTS_BETWEEN = 600
"""Accepted events between two kills, at most."""


def kill_worker(intake: OwnIntake, random: Random) -> None:
    """Kill a random worker as the kernel would when memory is short; the master starts another."""
    until(lambda: bool(workers(intake)), "a worker to kill")
    random.choice(workers(intake)).send_signal(signal.SIGKILL)


def kill_master(intake: OwnIntake) -> None:
    """Kill only the master; start the intake again at once, as the process manager does."""
    assert intake.process is not None
    orphans = workers(intake)
    os.kill(intake.process.pid, signal.SIGKILL)
    intake.process.wait(10)
    intake.start()
    _, left = psutil.wait_procs(orphans, timeout=20)
    assert not left, "workers outlived their master"
    assert intake.process.poll() is None, f"the port was not free for the new master; see {intake.log}"


@pytest.mark.timeout(900)
def test_two_hundred_kills_lose_nothing(
    settings: Settings, broker: OwnBroker, intake: OwnIntake, figures: Figures
) -> None:
    random = Random(SEED)
    kinds = ["master"] * MASTER_KILLS + ["worker"] * (KILLS - MASTER_KILLS)
    random.shuffle(kinds)
    with Players(settings, SEED) as players:
        for kind in kinds:
            players.ledger.until(accepted=len(players.ledger.accepted) + random.randint(1, MAX_EVENTS_BETWEEN))
            kill_worker(intake, random) if kind == "worker" else kill_master(intake)
        players.ledger.until(accepted=len(players.ledger.accepted) + MAX_EVENTS_BETWEEN)
    found = balance(players.ledger, records(settings))
    figures(
        {
            "workers killed": kinds.count("worker"),
            "masters killed": kinds.count("master"),
            **players.ledger.figures(),
            **found.figures(),
        }
    )
    # the kills hit open requests, and some events were refused: otherwise the oracle has tested nothing
    assert players.ledger.answers[0] > KILLS
    assert players.ledger.refused
    assert holds(players.ledger, found)
