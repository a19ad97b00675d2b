"""The generator's events of a day: those of its own run, and the late events of later runs."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from daybook.errors import DaybookError, NonRetryableError
from daybook.pipeline.manifest import Injected, ids_path, manifest_path
from daybook.settings import Settings
from event_generator.day import Day, build_day
from event_generator.expected import expected_answers
from event_generator.faults import FaultProfile
from event_generator.generated import generated_on
from event_generator.manifest import Request, write_manifest
from tests.unit.manifests import a_manifest

DAY = date(2026, 5, 3)
LATE = FaultProfile(late=0.3)


def play(settings: Settings, day: date, *, seed: int = 3, refused: int = 0, mischief: FaultProfile = LATE) -> Day:
    """Write the files of a run in which all events except the first few were acknowledged."""
    request = Request(day, 200, seed, mischief)
    plan = build_day(day, request.events, seed, settings.items, mischief)
    back = Counter(day - timedelta(days=days) for days in plan.days_back[refused:].tolist() if days)
    manifest = a_manifest(request, injected=Injected(duplicates=0, late=back, invalid={}))
    write_manifest(settings, manifest, plan.ids[refused:].tolist())
    return plan


def test_a_day_that_was_not_played_has_nothing(own_settings: Settings) -> None:
    assert generated_on(own_settings, DAY) is None


def test_a_day_of_its_own_play_has_what_its_manifest_expects(own_settings: Settings) -> None:
    plan = play(own_settings, DAY, refused=3)
    found = generated_on(own_settings, DAY)
    assert found is not None
    accepted = np.arange(len(plan)) >= 3
    assert found.expected == expected_answers(plan, accepted)
    assert found.ids == set(plan.ids[accepted & (plan.days_back == 0)].tolist())
    assert found.plays == [DAY]


def test_late_events_of_later_plays_are_of_the_day_they_happened_on(own_settings: Settings) -> None:
    plans = {days: play(own_settings, DAY + timedelta(days=days), refused=2) for days in (0, 1, 4, 31)}
    found = generated_on(own_settings, DAY)
    assert found is not None
    wanted = {
        event_id
        for days, plan in plans.items()
        for event_id in plan.ids[(plan.days_back == days) & (np.arange(len(plan)) >= 2)].tolist()
    }
    own = set(plans[0].ids[plans[0].days_back == 0].tolist())
    assert found.ids == wanted
    assert len(wanted - own) > 20
    assert found.plays == [DAY, DAY + timedelta(days=1), DAY + timedelta(days=4)]
    [activity] = found.expected["daily_activity"]
    assert activity["events"] == len(wanted)
    assert sum(row["events"] for row in found.expected["hourly_activity"]) == len(wanted)
    moments = {
        event["event_id"]: event["occurred_at"]
        for plan in plans.values()
        for event in plan.at(list(range(len(plan))))
        if event["event_id"] in wanted
    }
    hours = Counter(int(moment[11:13]) for moment in moments.values())
    assert {row["hour"]: row["events"] for row in found.expected["hourly_activity"]} == hours
    assert {moment[:10] for moment in moments.values()} == {str(DAY)}


def test_a_day_that_only_later_plays_speak_of_has_their_late_events(own_settings: Settings) -> None:
    plan = play(own_settings, DAY + timedelta(days=1))
    found = generated_on(own_settings, DAY)
    assert found is not None
    assert found.ids == set(plan.ids[plan.days_back == 1].tolist())


def test_a_seed_that_no_longer_gives_the_ids_is_reported(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(own_settings, DAY)
    other = build_day(DAY, 200, 4, own_settings.items, LATE)
    monkeypatch.setattr("event_generator.generated.build_day", lambda *_arguments: other)
    with pytest.raises(DaybookError, match="seed 3 no longer gives the ids"):
        generated_on(own_settings, DAY)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"seed": 1', '{"seed": 1}', '{"seed": "x"}', "\x00" * 9])
def test_a_broken_manifest_is_one_line(own_settings: Settings, text: str) -> None:
    play(own_settings, DAY)
    path = manifest_path(own_settings, DAY)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DaybookError, match=f"the manifest {path} cannot be read .*generate the day again") as raised:
        generated_on(own_settings, DAY)
    assert "\n" not in str(raised.value)


def test_lost_ids_of_a_played_day_are_one_line(own_settings: Settings) -> None:
    play(own_settings, DAY)
    path = ids_path(own_settings, DAY)
    path.unlink()
    with pytest.raises(DaybookError, match=f"{path} cannot be read"):
        generated_on(own_settings, DAY)


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 1', '{"sent": 1}', "\x00" * 9])
def test_a_broken_manifest_stops_publishing_in_one_line(tmp_path: Path, text: str) -> None:
    from daybook_spark.publishing import _read_manifest

    path = tmp_path / f"{DAY}.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NonRetryableError, match=f"the manifest {path} cannot be read .*clear publish_day") as raised:
        _read_manifest(DAY, path)
    assert "\n" not in str(raised.value)
