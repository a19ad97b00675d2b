"""A generated day played against the real intake: counted by acknowledgements, harmless to repeat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from daybook.errors import BadInput
from daybook.settings import Settings
from event_generator.day import build_day
from event_generator.manifest import read_manifest
from event_generator.play import play_day
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, record_ids, records, until

pytestmark = pytest.mark.integration

DAY = date(2026, 5, 3)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return own_settings(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[OwnBroker]:
    with OwnBroker(settings) as running:
        yield running


@pytest.fixture(scope="module")
def intake(settings: Settings, broker: OwnBroker) -> Iterator[OwnIntake]:
    with OwnIntake(settings) as running:
        until(lambda: running.status("/health/ready") == 200, "intake ready")
        yield running


@pytest.fixture
def mine(settings: Settings, intake: OwnIntake, tmp_path: Path) -> Settings:
    """The running intake, with a folder of manifests of the test's own."""
    return settings.model_copy(update={"home": tmp_path})


def generate(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DAYBOOK_HOME": str(settings.home),
        "DAYBOOK_API_PORT": str(settings.api_port),
        "DAYBOOK_KAFKA_PORT": str(settings.kafka_port),
    }
    daybook = str(Path(sys.executable).with_name("daybook"))
    return subprocess.run(
        [daybook, "generate", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_day_played_to_its_end_is_in_the_topic_and_in_its_manifest(mine: Settings) -> None:
    before = records(mine).keys()
    told: list[tuple[int, int]] = []
    result = play_day(DAY, 1234, 7, mine, lambda done, of: told.append((done, of)))
    added = {at: message for at, message in records(mine).items() if at not in before}

    assert told[-1] == (1234, 1234)
    assert len(added) == 1234
    manifest = read_manifest(mine, DAY)
    assert manifest is not None
    assert result == {name: value for name, value in manifest.items() if name != "expected"}
    assert {
        name: manifest[name] for name in ("day", "seed", "requested", "sent", "accepted", "refused", "injected")
    } == {
        "day": "2026-05-03",
        "seed": 7,
        "requested": 1234,
        "sent": 1234,
        "accepted": 1234,
        "refused": 0,
        "injected": {"duplicates": 0, "late": 0, "invalid": 0},
    }
    highest: dict[str, int] = {}
    for partition, offset in added:
        highest[str(partition)] = max(offset, highest.get(str(partition), 0))
    assert manifest["offsets"] == highest

    values = [json.loads(message.value() or b"") for message in added.values()]
    accepted_ids = (mine.manifests_dir / manifest["accepted_ids"]).read_text().splitlines()
    assert accepted_ids == sorted(value["event_id"] for value in values)
    assert manifest["expected"]["daily_activity"] == [recount(values)]
    assert {value["occurred_at"][:10] for value in values} == {"2026-05-03"}
    by_id = {value["event_id"]: value for value in values}
    for event in build_day(DAY, 1234, 7, mine.items).events(0, 1234):
        assert event.items() <= by_id[event["event_id"]].items()


def recount(values: list[dict[str, Any]]) -> dict[str, Any]:
    hours = [int(value["occurred_at"][11:13]) for value in values]
    users = len({value["user_id"] for value in values})
    purchases = sum(value["event_type"] == "purchase_item" for value in values)
    return {
        "events": len(values),
        "users": users,
        "events_per_user": len(values) / users,
        "purchases": purchases,
        "guild_joins": len(values) - purchases,
        "busiest_hour": min(range(24), key=lambda hour: (-hours.count(hour), hour)),
    }


def test_a_day_that_was_played_is_not_played_again(mine: Settings) -> None:
    first = play_day(DAY, 50, 1, mine)
    before = len(records(mine))
    assert play_day(DAY, 50, 1, mine) == first
    for events, seed in ((50, 2), (51, 1)):
        with pytest.raises(BadInput, match=r"2026-05-03 was already played with seed 1 and 50 events.*--seed 1"):
            play_day(DAY, events, seed, mine)
    assert len(records(mine)) == before


def test_a_day_killed_half_way_leaves_no_manifest_and_the_same_ids_are_sent_again(mine: Settings) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, of: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        play_day(DAY, 3000, 11, mine, kill)
    assert read_manifest(mine, DAY) is None
    assert not list(mine.home.rglob("*.json"))

    assert play_day(DAY, 3000, 11, mine)["accepted"] == 3000
    accepted_ids = (mine.manifests_dir / "2026-05-03.ids").read_text().splitlines()
    sent = [event_id for event_id in record_ids(mine) if event_id in set(accepted_ids)]
    assert set(sent) == set(accepted_ids)
    assert len(sent) > 3000  # some twice: by their ids the day keeps each once


def test_what_the_intake_refuses_is_counted_and_expected_nowhere(mine: Settings) -> None:
    asked_for_more = mine.model_copy(update={"items": (*mine.items, "spoon")})
    result = play_day(DAY, 400, 3, asked_for_more)
    assert result["refused"] > 0
    assert result["sent"] == result["accepted"] + result["refused"] == 400
    manifest = read_manifest(mine, DAY)
    assert manifest is not None
    popularity = manifest["expected"]["event_popularity"]
    assert "spoon" not in {row["item"] for row in popularity}
    assert sum(row["events"] for row in popularity) == result["accepted"]
    assert len((mine.manifests_dir / "2026-05-03.ids").read_text().splitlines()) == result["accepted"]


def test_a_day_outlives_the_loss_of_its_broker(mine: Settings, broker: OwnBroker) -> None:
    lost = threading.Event()

    def lose(done: int, of: int) -> None:
        if not lost.is_set():
            broker.kill()
            lost.set()

    def bring_back() -> None:
        assert lost.wait(30)
        broker.start()

    rescue = threading.Thread(target=bring_back)
    rescue.start()
    try:
        result = play_day(DAY, 8000, 5, mine, lose)
    finally:
        rescue.join(60)
    assert result["accepted"] == 8000
    assert set((mine.manifests_dir / "2026-05-03.ids").read_text().splitlines()) <= set(record_ids(mine))


class TestCommand:
    def test_it_plays_a_day_once(self, mine: Settings) -> None:
        arguments = ("--day", "2026-05-04", "--events", "300", "--seed", "9")
        first, second = generate(mine, *arguments), generate(mine, *arguments)
        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
        assert "sent 300 = accepted 300 + refused 0" in first.stdout
        assert "already played" in second.stdout
        assert read_manifest(mine, date(2026, 5, 4)) is not None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--day", "3 May"], "is not a day"),
            (["--day", "2999-01-01"], "in the future"),
            (["--events", "0"], "at least 1"),
            (["--events", "many"], "not a whole number"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_bad_input_is_one_line_and_status_2(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        self._refused(generate(own_settings(tmp_path), *arguments), message)

    def test_a_stack_that_is_not_up_is_one_line_and_status_2(self, tmp_path: Path) -> None:
        self._refused(generate(own_settings(tmp_path), "--day", "2026-05-03"), "the stack is not up")

    def _refused(self, result: subprocess.CompletedProcess[str], message: str) -> None:
        assert result.returncode == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
