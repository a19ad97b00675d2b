"""A generated day sent to the real intake: it counts acknowledgements, and a repetition does no harm."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from daybook.errors import BadInput
from daybook.pipeline.manifest import read_manifest
from daybook.settings import Settings
from event_generator.day import build_day
from event_generator.faults import KINDS, FaultProfile
from event_generator.manifest import Request
from event_generator.play import Load, Report, play_day
from event_generator.progress import Ack, Progress
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, record_ids, records, until

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = date(2026, 5, 3)


@pytest.fixture
def mine(settings: Settings, intake: OwnIntake, tmp_path: Path) -> Settings:
    """The running intake, with a folder of manifests for one test."""
    return settings.model_copy(update={"home": tmp_path})


def play(
    events: int,
    seed: int,
    settings: Settings,
    report: Report | None = None,
    *,
    load: Load | None = None,
    **shares: float,
) -> dict[str, Any]:
    """Generate the module's day; return its manifest as JSON."""
    manifest, _ = play_day(Request(DAY, events, seed, FaultProfile(**shares)), settings, load, report)
    return manifest.model_dump(mode="json")


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "DAYBOOK_HOME": str(settings.home),
        "DAYBOOK_API_PORT": str(settings.api_port),
        "DAYBOOK_KAFKA_PORT": str(settings.kafka_port),
    }


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("daybook")), "generate", *arguments]


def generate(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(settings), capture_output=True, text=True, timeout=300, check=False
    )


def test_a_day_played_to_its_end_is_in_the_topic_and_in_its_manifest(mine: Settings) -> None:
    before = records(mine).keys()
    progress: list[tuple[int, int]] = []
    result = play(1234, 7, mine, lambda done, of: progress.append((done, of)))
    added = {at: message for at, message in records(mine).items() if at not in before}

    assert progress[-1] == (1234, 1234)
    assert len(added) == 1234
    manifest = read_manifest(mine, DAY)
    assert manifest is not None
    assert result == json.loads(manifest.text())
    assert {name: result[name] for name in ("day", "seed", "requested", "sent", "accepted", "refused", "injected")} == {
        "day": "2026-05-03",
        "seed": 7,
        "requested": 1234,
        "sent": 1234,
        "accepted": 1234,
        "refused": 0,
        "injected": {"duplicates": 0, "late": {}, "invalid": {}},
    }
    highest: dict[str, int] = {}
    for partition, offset in added:
        highest[str(partition)] = max(offset, highest.get(str(partition), 0))
    assert result["offsets"] == highest

    values = [json.loads(message.value() or b"") for message in added.values()]
    accepted_ids = (mine.manifests_dir / manifest.accepted_ids).read_text().splitlines()
    assert accepted_ids == sorted(value["event_id"] for value in values)
    assert manifest.expected["daily_activity"] == [recount(values)]
    assert {value["occurred_at"][:10] for value in values} == {"2026-05-03"}
    by_id = {value["event_id"]: value for value in values}
    for event in build_day(DAY, 1234, 7, mine.items).at(range(1234)):
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
    first = play(50, 1, mine)
    before = len(records(mine))
    assert play(50, 1, mine) == first
    for events, seed in ((50, 2), (51, 1)):
        with pytest.raises(BadInput, match=r"2026-05-03 was already generated with seed 1 and 50 events.*--seed 1"):
            play(events, seed, mine)
    assert len(records(mine)) == before


class TestResume:
    @pytest.mark.parametrize("after", [1, 3, 9])
    def test_a_killed_run_continues_where_it_stopped(self, mine: Settings, after: int) -> None:
        class Killed(BaseException):
            pass

        requests = 0

        def kill(done: int, of: int) -> None:
            nonlocal requests
            requests += 1
            if requests == after:
                raise Killed

        seed = 100 + after
        with pytest.raises(Killed):
            play(3000, seed, mine, kill)
        assert read_manifest(mine, DAY) is None
        progress = mine.manifests_dir / "2026-05-03.progress"
        known = {line.split()[0] for line in progress.read_text().splitlines()[1:]}
        assert len(known) >= 200 * after
        with progress.open("a") as torn:  # as after a kill in the middle of a write
            torn.write("2999 0 12")

        assert play(3000, seed, mine)["accepted"] == 3000
        assert not progress.exists()
        accepted_ids = (mine.manifests_dir / "2026-05-03.ids").read_text().splitlines()
        sent = [event_id for event_id in record_ids(mine) if event_id in set(accepted_ids)]
        assert set(sent) == set(accepted_ids)
        # acknowledged events are not sent again; those in flight during a kill are
        assert len(sent) <= 3000 + 4 * 200
        assert len(sent) < 3000 + len(known)

    def test_it_survives_kill_9_of_the_command(self, mine: Settings) -> None:
        arguments = ("--day", "2026-05-03", "--events", "6000", "--seed", "77", "--batch", "20")
        running = subprocess.Popen(command(*arguments), env=environment(mine), stdout=subprocess.DEVNULL)
        progress = mine.manifests_dir / "2026-05-03.progress"
        until(lambda: progress.exists() and progress.read_bytes().count(b"\n") > 500, "playing")
        running.kill()
        running.wait(10)
        before = progress.read_bytes().count(b"\n") - 1
        assert before < 6000
        done = generate(mine, *arguments)
        assert done.returncode == 0, done.stderr
        assert f"{6000 - before} events in" in done.stdout
        manifest = read_manifest(mine, DAY)
        assert manifest is not None
        assert (manifest.accepted, manifest.refused) == (6000, 0)
        assert set((mine.manifests_dir / "2026-05-03.ids").read_text().split()) <= set(record_ids(mine))

    def test_a_day_that_was_begun_otherwise_is_not_mixed(self, mine: Settings) -> None:
        mine.manifests_dir.mkdir()
        begun = Request(DAY, 500, 3, FaultProfile(late=0.5))
        nothing_settled = Progress(mine, Request(DAY, 9, 9), 9)
        nothing_settled.close()
        started = Progress(mine, begun, 500)
        started.settle([Ack(0, 0, 17)])
        started.close()
        with pytest.raises(BadInput, match=r"2026-05-03 was already begun with seed 3 and 500 events.*--late 0.5"):
            play(500, 3, mine)

    def test_a_day_is_played_by_one_process_at_a_time(self, mine: Settings) -> None:
        held = Progress(mine, Request(DAY, 50, 3), 50)
        try:
            refused = generate(mine, "--day", "2026-05-03", "--events", "50", "--seed", "3")
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
            assert "being sent by another process" in refused.stderr
        finally:
            held.close()


class TestFaults:
    def test_all_of_it_is_in_the_manifest_and_nothing_else_in_the_topic(self, mine: Settings) -> None:
        before = records(mine).keys()
        result = play(4000, 8, mine, duplicates=0.05, late=0.1, invalid=0.1)
        values = [json.loads(one.value() or b"") for at, one in records(mine).items() if at not in before]

        assert result["injected"]["duplicates"] == 200
        assert sum(result["injected"]["invalid"].values()) == 400
        assert set(result["injected"]["invalid"]) == set(KINDS)
        assert (result["sent"], result["accepted"], result["refused"]) == (4600, 4200, 400)
        ids = Counter(value["event_id"] for value in values)
        assert (len(values), len(ids)) == (4200, 4000)
        assert (mine.manifests_dir / "2026-05-03.ids").read_text().split() == sorted(ids)
        days = Counter({value["event_id"]: value["occurred_at"][:10] for value in values}.values())
        assert {day: count for day, count in days.items() if day != "2026-05-03"} == result["injected"]["late"]
        assert 300 < sum(result["injected"]["late"].values()) < 500
        assert days["2026-05-02"] > days["2026-05-01"] > days["2026-04-30"]
        manifest = read_manifest(mine, DAY)
        assert manifest is not None
        [activity] = manifest.expected["daily_activity"]
        assert activity["events"] == days["2026-05-03"]

    def test_single_events_are_sent_as_objects_and_judged_alike(self, mine: Settings) -> None:
        one = play(300, 8, mine, duplicates=0.1, invalid=0.2, load=Load(batch=1, connections=8))
        assert (one["sent"], one["accepted"], one["refused"]) == (390, 330, 60)


class TestLoad:
    def test_a_rate_is_kept(self, mine: Settings) -> None:
        request = Request(DAY, 300, 21)
        _, pace = play_day(request, mine, Load(batch=10, events_per_second=200))
        assert pace is not None
        assert pace.events == 300
        # 29 requests wait for their turn: the last one is scheduled 1.45 s after the first
        assert pace.seconds >= 1.45

    def test_falling_behind_is_printed(self, mine: Settings) -> None:
        done = generate(mine, "--events", "3000", "--rate", "1e9", "--batch", "1", "--connections", "1")
        assert done.returncode == 0
        assert "behind the rate" in done.stdout

    def test_the_intakes_limit_and_its_key_are_obeyed(self, mine: Settings, broker: OwnBroker, tmp_path: Path) -> None:
        own = mine.model_copy(update={"home": tmp_path / "limited", "api_port": own_settings(tmp_path).api_port})
        keys = tmp_path / "keys"
        key = "a-key-of-the-tests"
        keys.write_text(f"chess {hashlib.sha256(key.encode()).hexdigest()}\n")
        with OwnIntake(own, DAYBOOK_API_KEYS_FILE=str(keys), DAYBOOK_API_EVENTS_PER_SECOND="1000"):
            with pytest.raises(BadInput, match="rejected the API key"):
                play(10, 1, own)
            knows = own.model_copy(update={"api_key": SecretStr(key)})
            assert play(3000, 1, knows, load=Load(batch=500))["accepted"] == 3000


def test_refused_events_are_counted_and_expected_nowhere(mine: Settings) -> None:
    asked_for_more = mine.model_copy(update={"items": (*mine.items, "spoon")})
    result = play(400, 3, asked_for_more)
    assert result["refused"] > 0
    assert result["sent"] == result["accepted"] + result["refused"] == 400
    manifest = read_manifest(mine, DAY)
    assert manifest is not None
    popularity = manifest.expected["event_popularity"]
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
        result = play(8000, 5, mine, lose)
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
        assert "already generated" in second.stdout
        assert read_manifest(mine, date(2026, 5, 4)) is not None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--day", "3 May"], "is not a day"),
            (["--day", "2999-01-01"], "is not over yet"),
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
