"""The day on a Spark cluster of two workers, in client mode: the same rows as on one machine, even with one killed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.clusters import in_full
from tests.clusters.published import compare_days
from tests.clusters.spark_cluster import SparkCluster
from tests.faults.day_lab import DayLab, lab_on
from tests.figures import Figures
from tests.integration.own_broker import own_settings, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_200), in_full]

DAY = datetime.now(UTC).date() - timedelta(days=60)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DayLab]:
    """Broker, intake, and a lake whose jobs run on this machine."""
    settings = own_settings(tmp_path_factory.mktemp("local"))
    with lab_on(settings) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(local: DayLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    """Run a master and two workers."""
    with SparkCluster(local.settings, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def clustered(local: DayLab, cluster: SparkCluster, tmp_path_factory: pytest.TempPathFactory) -> DayLab:
    """The same broker and intake, with another lake, whose jobs run on the cluster."""
    return DayLab(cluster.settings(local.settings, tmp_path_factory.mktemp("clustered")), local.broker, local.intake)


def play(lab: DayLab, day: date) -> None:
    """Send a day of players with everything that clients do to it."""
    shares = ["--late", "0.05", "--duplicates", "0.05"]
    lab.daybook("generate", "--day", str(day), "--events", "600", "--seed", "5", *shares)


def test_two_workers_do_the_work_and_the_days_are_those_of_one_machine(
    local: DayLab, clustered: DayLab, cluster: SparkCluster, figures: Figures
) -> None:
    play(local, DAY)
    for lab in (local, clustered):
        lab.run_day(DAY)
    compared = compare_days(clustered.settings, local.settings)
    seconds = cluster.task_seconds()
    assert "driver" not in seconds, "the driver plans and commits, and runs no task"
    assert len([one for one in seconds.values() if one > 0]) == 2, seconds
    every = sum(seconds.values())
    figures(
        {
            "days compared": compared,
            "task seconds": round(every, 1),
            **{f"executor {name}": f"{part / every:.0%}" for name, part in sorted(seconds.items())},
        }
    )


def test_a_worker_killed_in_the_middle_of_landing_costs_time_alone(
    local: DayLab, clustered: DayLab, cluster: SparkCluster, figures: Figures
) -> None:
    day = DAY + timedelta(days=1)
    play(local, day)

    def kill_a_worker(_driver: subprocess.Popen[bytes]) -> bool:
        until(lambda: cluster.busy() == 2, "both executors at work", 120, 0.1)
        cluster.kill(cluster.workers[0])
        return False

    tried: list[str] = []

    def fault(driver: subprocess.Popen[bytes]) -> bool:
        tried.append("landing")
        return kill_a_worker(driver) if len(tried) == 1 else False

    clustered.run_day(day, {"land_events": [fault]})
    local.run_day(day)
    compared = compare_days(clustered.settings, local.settings)
    until(lambda: len(cluster.alive()) == 1, "the master has seen that one is gone", 120)
    figures(
        {"workers left": len(cluster.alive()), "tries of the landing": len(tried), "days compared, equal": compared}
    )
