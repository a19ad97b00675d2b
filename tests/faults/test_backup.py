"""Restore a destroyed state folder from a backup: with the same Kafka, and with an empty one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from daybook.lake.ledger import read_ledger
from tests.faults.day_lab import DayLab, audit
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200), pytest.mark.long]

DAY = datetime.now(UTC).date() - timedelta(days=10)
NEXT, THIRD = (DAY + timedelta(days=days) for days in (1, 2))


def play(lab: DayLab, *days: date) -> None:
    lab.send(*(f"{day}T{hour:02}:30:00Z" for day in days for hour in range(20)))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[DayLab]:
    """Kafka's files are outside the state folder, so that one can be lost without the other."""
    beside = own_settings(tmp_path / "kafka")
    state = beside.model_copy(update={"home": tmp_path / "state"})
    (state.home / "lake").mkdir(parents=True)
    with OwnBroker(beside) as broker, OwnIntake(beside) as intake:
        until(lambda: intake.status("/health/ready") == 200, "intake ready")
        yield DayLab(state, broker, intake)


def verified(lab: DayLab) -> list[str]:
    """Verify every published day; return the days."""
    days = [str(day) for day in read_ledger(lab.settings).newest]
    verdicts = json.loads(lab.daybook("verify", "--json", *(word for day in days for word in ("--day", day))))
    assert {one["verdict"] for one in verdicts} <= {"equal", "not compared"}
    assert all(any(one["day"] == day and one["verdict"] == "equal" for one in verdicts) for day in days)
    return days


def test_a_destroyed_state_folder_comes_back(lab: DayLab, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    play(lab, DAY)
    lab.run_day(DAY)
    play(lab, NEXT, DAY)  # late events restate the first day
    lab.run_day(NEXT)
    play(lab, THIRD)  # acknowledged, not landed
    lab.daybook("backup", "--to", str(folder))
    revisions, until_backup = read_ledger(lab.settings).revisions, dict(lab.accepted)
    assert [(one.event_date, one.revision) for one in revisions] == [(DAY, 1), (DAY, 2), (NEXT, 1)]
    landing = ["--day", str(THIRD), "--run-id", "before-the-end", "--until", lab.ends()]
    lab.step("land_events", "land_events", landing)
    play(lab, THIRD, NEXT)

    # the state folder is gone, Kafka is not
    shutil.rmtree(lab.settings.home)
    lab.daybook("restore", "--from", str(folder))
    assert read_ledger(lab.settings).revisions == revisions
    assert verified(lab) == [str(DAY), str(NEXT)]
    with_what_kafka_has = lab.daybook("restore", "--from", str(folder), "--send-records")
    assert with_what_kafka_has == "0 records sent to Kafka, 20 were still there\n"
    lab.run_day(THIRD)
    assert audit(lab.settings, lab.accepted).is_clean
    assert verified(lab) == [str(day) for day in (DAY, NEXT, THIRD)]

    # Kafka is gone too, and the restored folder has another path
    shutil.rmtree(lab.settings.home)
    lab.intake.kill()
    lab.broker.kill()
    elsewhere = lab.settings.model_copy(update={"home": tmp_path / "elsewhere"})
    new_kafka = lab.broker.settings.model_copy(update={"home": tmp_path / "new-kafka"})
    with OwnBroker(new_kafka) as broker, OwnIntake(new_kafka) as intake:
        until(lambda: intake.status("/health/ready") == 200, "intake ready")
        other = DayLab(elsewhere, broker, intake, accepted=until_backup)
        message = other.daybook("restore", "--from", str(folder))
        assert f"daybook restore --from {folder} --send-records   (20 not landed yet)" in message
        assert read_ledger(elsewhere).revisions == revisions
        assert verified(other) == [str(DAY), str(NEXT)]
        assert "deleted and created again" in other.refused(THIRD)
        assert other.daybook("restore", "--from", str(folder), "--send-records").startswith(
            "20 records sent to Kafka, 0"
        )
        play(other, THIRD)
        other.daybook("accept-loss", "--note", "restored")
        other.run_day(THIRD)
        assert audit(elsewhere, other.accepted).is_clean
        assert verified(other) == [str(day) for day in (DAY, NEXT, THIRD)]
        other.daybook("backup", "--to", str(folder))  # a moved lake can be backed up like any other
        # its files have the same names as those of the first lake, which is unchanged
        taken = sorted(path.name for path in (folder / "backups").iterdir())
        assert len(taken) == 2
        for name in taken:
            assert "is complete" in other.daybook("restore", "--from", str(folder), "--at", name, "--check")
        again = DayLab(other.settings.model_copy(update={"home": tmp_path / "again"}), broker, intake)
        again.daybook("restore", "--from", str(folder), "--at", taken[0])
        assert read_ledger(again.settings).revisions == revisions
        assert verified(again) == [str(DAY), str(NEXT)]
