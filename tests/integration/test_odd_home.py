"""A small day in a state folder with a space, a non-ASCII letter, a URI escape and an apostrophe in its path."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from daybook.lake.answers import read_answer
from daybook.lake.ledger import read_ledger
from daybook.lake.state import State
from daybook.stack import postgres
from tests.faults.day_lab import audit, lab_on
from tests.integration.own_broker import own_settings

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = date(2026, 5, 3)
ODD = "a b é %20'x;y+&=$"


def test_a_day_stays_in_its_folder_and_balances(tmp_path: Path) -> None:
    settings = own_settings(tmp_path / ODD / "home")
    with lab_on(settings, has_server=True) as lab:
        lab.send(*(f"{DAY}T10:00:{second:02d}Z" for second in range(20)))
        lab.run_day(DAY)
        lab.broker.kill()
        lab.broker.start()
        lab.send(f"{DAY}T11:00:00Z")  # the broker has found its log again: the offsets continue
        lab.run_day(DAY)
        assert audit(settings, lab.accepted).is_clean
        assert int(read_answer(settings, "daily_activity", str(DAY))["events"][0]) == 21
        verified = lab.daybook("verify", "--day", str(DAY))
        assert "Kafka" in verified
        assert "DIFFERENT" not in verified
        with postgres.serving(settings):
            assert postgres.query(settings, "SELECT 1") == [(1,)]
        old = Path(f"{settings.warehouse}/game/events/data/left-by-a-kill.parquet".removeprefix("file://"))
        old.write_bytes(b"x")
        for file in (settings.home / "lake").rglob("*"):
            os.utime(file, (1_000_000_000, 1_000_000_000))
        maintenance = ["--day", str(DAY), "--run-id", "m", "--step"]
        lab.step(
            "snapshots", "maintain_lake", [*maintenance, "expire_snapshots"], needs_jvm=True
        )  # with its own driver
        lab.step("orphans", "maintain_lake", [*maintenance, "remove_orphan_files"])
        assert not old.exists()
        assert len(read_ledger(settings).newest) == 1
        assert "DIFFERENT" not in lab.daybook("verify", "--day", str(DAY))
    state = State.read(settings.home)
    assert state is not None
    assert state.home == str(settings.home)
    assert [path.name for path in tmp_path.iterdir()] == [ODD], "something lies beside the folder"
    assert [path.name for path in (tmp_path / ODD).iterdir()] == ["home"]
