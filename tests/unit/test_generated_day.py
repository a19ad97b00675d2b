"""The generated day: a seed always gives the same day, and the manifest's answers agree with a plain recount."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from click.testing import CliRunner

from daybook.contract import client_event
from daybook.errors import BadInput, DaybookError
from daybook.pipeline.manifest import manifest_path, read_manifest
from daybook.providers import resolve
from daybook.settings import Settings
from daybook.sql.answers import answers
from event_generator.command import generate
from event_generator.day import Day, build_day
from event_generator.expected import expected_answers
from event_generator.faults import KINDS, LONGEST_DELAY_DAYS, SHORTEST_GAP, FaultProfile, Script, corrupted
from event_generator.manifest import Request, write_manifest
from event_generator.play import play_day
from game_api.validation import BadBody, Refused, check_event, parse_body
from tests.unit.manifests import a_manifest

DAY = date(2026, 5, 3)
ITEMS = ("sword", "shield", "helmet", "knife", "gauntlets")


def build(day: date = DAY, events: int = 5000, seed: int = 1) -> Day:
    return build_day(day, events, seed, ITEMS)


def body(plan: Day) -> bytes:
    return json.dumps(plan.at(range(len(plan)))).encode()


def everything(plan: Day) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.ones(len(plan), dtype=np.bool_)


def test_the_same_seed_plays_the_same_day_to_the_byte() -> None:
    assert body(build()) == body(build())


@pytest.mark.parametrize("other", [{"seed": 2}, {"day": date(2026, 5, 4)}], ids=["seed", "day"])
def test_another_seed_or_day_has_other_ids(other: dict[str, Any]) -> None:
    assert not set(build().ids.tolist()) & set(build(**other).ids.tolist())


def test_every_event_is_one_of_the_contract_in_its_day_with_an_id_of_its_own() -> None:
    plan = build()
    values = plan.at(range(len(plan)))
    events = [client_event.validate_python(value) for value in values]
    assert {event.occurred_at.date() for event in events if event.occurred_at} == {DAY}
    assert all({"event_id", "user_id", "host", "occurred_at"} <= value.keys() for value in values)
    assert len({event.event_id for event in events}) == len(plan)
    assert all(UUID(str(event.event_id)).version == 4 for event in events)
    assert [value["occurred_at"] for value in values] == sorted(value["occurred_at"] for value in values)


def test_a_slice_of_the_day_is_the_same_as_the_slice_of_its_events() -> None:
    plan = build(events=450)
    assert plan.at(range(200, 400)) == plan.at(range(450))[200:400]


def test_a_day_has_its_shape() -> None:
    plan = build(events=50_000)
    items = Counter(plan.item.tolist())
    assert items[0] > items[1] > items[2] > items[3] > items[4] > 0
    hours = Counter((plan.microsecond // 3_600_000_000).tolist())
    assert max(hours, key=hours.__getitem__) in {19, 20, 21}
    assert len(hours) == 24
    assert set(plan.label.tolist()) == set(range(10))
    comcast = [
        row for row in expected_answers(plan, everything(plan))["provider_usage"] if row["provider"] == "comcast"
    ]
    assert 0.25 < comcast[0]["share"] < 0.4


def test_players_keep_their_home_provider_from_day_to_day() -> None:
    homes = [most_used_providers(build(day=day, events=20_000)) for day in (DAY, date(2026, 5, 4))]
    both = homes[0].keys() & homes[1].keys()
    assert len(both) > 100
    assert all(homes[0][user] == homes[1][user] for user in both)


def most_used_providers(plan: Day) -> dict[int, int]:
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for user, label in zip(plan.user.tolist(), plan.label.tolist(), strict=True):
        counts[user][label] += 1
    return {user: labels.most_common(1)[0][0] for user, labels in counts.items() if labels.total() > 20}


def test_the_lakes_rule_resolves_hosts_to_the_generators_providers() -> None:
    plan = build()
    usage = expected_answers(plan, everything(plan))["provider_usage"]
    recount = Counter(resolve(value["host"]).provider for value in plan.at(range(len(plan))))
    assert {row["provider"]: row["events"] for row in usage} == dict(recount)
    assert set(recount) >= {"(ip address)", "(bare name)", "(missing)", "(unmapped)", "earthlink"}


def test_one_event_is_a_day() -> None:
    plan = build(events=1)
    [row] = expected_answers(plan, everything(plan))["event_popularity"]
    assert (row["events"], row["users"], row["share"], row["rank"]) == (1, 1, 1.0, 1)


def hand_made(*rows: tuple[int, int, int, int]) -> Day:
    """A day from (item, user, label, hour) rows."""
    item, user, label, hour = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Day(
        day=DAY,
        items=ITEMS,
        ids=np.array([f"id{n}" for n in range(len(rows))]),
        item=item,
        guild=np.zeros(len(rows), dtype=np.int64),
        user=user,
        label=label,
        host=[""] * len(rows),
        microsecond=hour * 3_600_000_000,
        days_back=np.zeros(len(rows), dtype=np.int64),
        script=Script(np.arange(len(rows)), np.full(len(rows), -1)),
        corrupted_ids=np.array([""] * len(rows)),
    )


def test_the_answers_of_a_small_day_are_these() -> None:
    plan = hand_made(
        (0, 1, 0, 5),  # user 1 buys a sword on comcast at 5
        (0, 1, 1, 5),  # and another on att
        (-1, 2, 0, 7),  # user 2 joins a guild
        (-1, 3, 8, 7),
        (4, 3, 8, 9),  # (bare name): no provider
        (2, 3, 0, 9),  # not accepted, so in no answer
    )
    expected = expected_answers(plan, np.array([True] * 5 + [False]))
    assert expected == {
        "event_popularity": [
            {"event_type": "join_guild", "item": None, "events": 2, "users": 2, "share": 0.4, "rank": 1},
            {"event_type": "purchase_item", "item": "sword", "events": 2, "users": 1, "share": 0.4, "rank": 1},
            {"event_type": "purchase_item", "item": "gauntlets", "events": 1, "users": 1, "share": 0.2, "rank": 3},
        ],
        "daily_activity": [
            {
                "events": 5,
                "users": 3,
                "events_per_user": 5 / 3,
                "purchases": 3,
                "guild_joins": 2,
                "busiest_hour": 5,
            }
        ],
        "hourly_activity": [
            {"hour": 5, "events": 2, "users": 1},
            {"hour": 7, "events": 2, "users": 2},
            {"hour": 9, "events": 1, "users": 1},
        ],
        "guild_joins": [{"guild": "wolves", "events": 2, "users": 2, "share": 1.0, "rank": 1}],
        "purchases": [
            {
                "item": "sword",
                "events": 2,
                "users": 1,
                "share": 2 / 3,
                "buyers_share": 0.5,
                "events_per_user": 2.0,
                "rank": 1,
            },
            {
                "item": "gauntlets",
                "events": 1,
                "users": 1,
                "share": 1 / 3,
                "buyers_share": 0.5,
                "events_per_user": 1.0,
                "rank": 2,
            },
        ],
        "item_affinity": [],
        "purchase_funnel": [
            {"step": 1, "name": "played", "users": 3, "players_share": 1.0, "step_share": 1.0},
            {"step": 2, "name": "joined a guild", "users": 2, "players_share": 2 / 3, "step_share": 2 / 3},
            {"step": 3, "name": "bought after joining", "users": 1, "players_share": 1 / 3, "step_share": 0.5},
        ],
        "provider_usage": [
            {"provider": "comcast", "events": 2, "users": 2, "share": 0.4, "coverage": 0.6},
            {"provider": "(bare name)", "events": 2, "users": 1, "share": 0.4, "coverage": 0.6},
            {"provider": "att", "events": 1, "users": 1, "share": 0.2, "coverage": 0.6},
        ],
        "provider_event_popularity": [
            dict(zip(("provider", "event_type", "item", "events", "users", "rank"), row, strict=True))
            for row in (
                ("att", "purchase_item", "sword", 1, 1, 1),
                ("comcast", "join_guild", None, 1, 1, 1),
                ("comcast", "purchase_item", "sword", 1, 1, 1),
                ("(bare name)", "join_guild", None, 1, 1, 1),
                ("(bare name)", "purchase_item", "gauntlets", 1, 1, 1),
            )
        ],
        "provider_switchers": [
            {"providers": "att + comcast", "provider_count": 2, "users": 1, "users_share": 0.5, "events": 2}
        ],
    }


def test_every_answer_that_names_no_player_is_expected_in_its_own_order_of_columns_and_rows() -> None:
    plan = build()
    expected = expected_answers(plan, everything(plan))
    known = {name: answer for name, answer in answers().items() if not answer.names_players}
    assert set(expected) == set(known)
    for name, rows in expected.items():
        assert {tuple(row) for row in rows} == {tuple(known[name].columns)}, name
        in_order = rows
        for column, descending in reversed(known[name].order):
            in_order = sorted(in_order, key=lambda row: _as_readers_sort(column, row[column]), reverse=descending)
        assert rows == in_order, name


def test_an_event_is_ranked_among_those_of_its_provider() -> None:
    plan = hand_made((0, 1, 0, 1), (0, 2, 0, 1), (1, 2, 0, 1), (2, 3, 1, 1))
    rows = expected_answers(plan, everything(plan))["provider_event_popularity"]
    assert [(row["provider"], row["item"], row["events"], row["rank"]) for row in rows] == [
        ("att", "helmet", 1, 1),
        ("comcast", "sword", 2, 1),
        ("comcast", "shield", 1, 2),
    ]


def _as_readers_sort(column: str, value: Any) -> tuple[Any, ...]:
    """Nulls come first, and providers come before the buckets in brackets."""
    if value is None:
        return ()
    return (value.startswith("("), value) if column == "provider" else (value,)


def test_guilds_are_ranked_by_their_joins_alone() -> None:
    plan = hand_made((-1, 1, 0, 1), (-1, 1, 0, 2), (-1, 2, 0, 3), (-1, 3, 0, 4), (0, 3, 0, 5))
    plan = replace(plan, guild=np.array([1, 1, 0, 3, 2]))  # the guild of a purchase has no meaning
    rows = expected_answers(plan, everything(plan))["guild_joins"]
    assert [tuple(row.values()) for row in rows] == [
        ("ravens", 2, 1, 0.5, 1),
        ("foxes", 1, 1, 0.25, 2),
        ("wolves", 1, 1, 0.25, 2),
    ]


def test_each_buyer_counts_once_for_an_item_and_guild_joins_do_not_count() -> None:
    plan = hand_made((0, 1, 0, 1), (0, 1, 0, 1), (1, 1, 0, 1), (2, 2, 0, 1), (2, 3, 0, 1), (-1, 4, 0, 1), (-1, 4, 0, 1))
    rows = expected_answers(plan, everything(plan))["purchases"]
    assert [tuple(row.values()) for row in rows] == [  # item, events, users, share, buyers' share, each, rank
        ("helmet", 2, 2, 0.4, 2 / 3, 1.0, 1),
        ("sword", 2, 1, 0.4, 1 / 3, 2.0, 1),
        ("shield", 1, 1, 0.2, 1 / 3, 1.0, 3),
    ]


def test_a_pair_of_items_counts_each_player_once_however_often_both_were_bought() -> None:
    plan = hand_made(
        (0, 1, 0, 1),  # user 1: sword and shield twice, helmet
        (0, 1, 0, 2),
        (1, 1, 0, 3),
        (1, 1, 0, 3),
        (2, 1, 0, 4),
        (1, 2, 0, 1),  # user 2: shield, sword
        (0, 2, 0, 1),
        (0, 3, 0, 1),  # user 3: sword
        (-1, 4, 0, 1),  # user 4: joins a guild and is not a buyer
        (4, 5, 0, 1),  # user 5: gauntlets
    )
    rows = expected_answers(plan, everything(plan))["item_affinity"]
    assert [tuple(row.values()) for row in rows] == [  # buyers: 4; sword 3, shield 2, helmet 1, gauntlets 1
        ("shield", "sword", 2, 0.5, 2 * 4 / (2 * 3)),
        ("helmet", "shield", 1, 0.25, 1 * 4 / (1 * 2)),
        ("helmet", "sword", 1, 0.25, 1 * 4 / (1 * 3)),
    ]


def test_bought_after_joining_is_after_the_first_joining_and_not_in_the_same_microsecond() -> None:
    plan = hand_made(
        (-1, 1, 0, 0),  # user 1 joins, buys, joins again: bought after joining
        (0, 1, 0, 0),
        (-1, 1, 0, 0),
        (0, 2, 0, 0),  # user 2 buys, then joins: did not buy after joining
        (-1, 2, 0, 0),
        (-1, 3, 0, 0),  # user 3 does both in one microsecond: did not buy after joining
        (0, 3, 0, 0),
        (0, 4, 0, 0),  # user 4 buys in the first microsecond of the day and joins no guild
        (-1, 5, 0, 0),  # user 5 joins in the first microsecond of the day, buys in the next
        (0, 5, 0, 0),
    )
    plan = replace(plan, microsecond=np.array([10, 20, 30, 10, 11, 10, 10, 0, 0, 1]))
    rows = expected_answers(plan, everything(plan))["purchase_funnel"]
    assert [tuple(row.values()) for row in rows] == [
        (1, "played", 5, 1.0, 1.0),
        (2, "joined a guild", 4, 4 / 5, 4 / 5),
        (3, "bought after joining", 2, 2 / 5, 2 / 4),
    ]


def test_without_guild_joins_there_is_no_share_of_them() -> None:
    plan = hand_made((0, 1, 0, 1))
    rows = expected_answers(plan, everything(plan))["purchase_funnel"]
    assert [(row["users"], row["step_share"]) for row in rows] == [(1, 1.0), (0, 0.0), (0, None)]


def test_a_switcher_has_one_row_with_all_known_providers_and_only_their_events() -> None:
    plan = hand_made(
        (0, 1, 0, 1),  # user 1: comcast, att, and an address without a provider
        (0, 1, 1, 1),
        (0, 1, 6, 1),
        (0, 2, 1, 1),  # user 2: att twice, comcast
        (0, 2, 1, 1),
        (-1, 2, 0, 1),
        (0, 3, 0, 1),  # user 3: comcast, google, att
        (0, 3, 2, 1),
        (0, 3, 1, 1),
        (0, 4, 4, 1),  # user 4: cox, and a bare name: no switcher
        (0, 4, 8, 1),
        (0, 5, 9, 1),  # user 5: only unknown hosts, so not in the total of the share
        (0, 5, 7, 1),
    )
    rows = expected_answers(plan, everything(plan))["provider_switchers"]
    assert [tuple(row.values()) for row in rows] == [
        ("att + comcast", 2, 2, 0.5, 5),
        ("att + comcast + google", 3, 1, 0.25, 3),
    ]


def test_late_events_are_in_no_answer_of_the_day_they_come_on() -> None:
    plan = hand_made((0, 1, 0, 1), (1, 1, 1, 2), (-1, 1, 2, 3), (-1, 2, 3, 4))
    alone = hand_made((0, 1, 0, 1))
    late = replace(plan, days_back=np.array([0, 1, 2, 30]))
    assert expected_answers(late, everything(late)) == expected_answers(alone, everything(alone))


def test_a_day_of_which_nothing_was_accepted_has_empty_answers() -> None:
    assert set(map(len, expected_answers(build(events=9), np.zeros(9, dtype=np.bool_)).values())) == {0}


def test_an_unreadable_manifest_gives_one_line_with_the_next_step(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write_manifest(settings, a_manifest(Request(DAY, 1, 1)), [])
    manifest_path(settings, DAY).write_text("{")
    with pytest.raises(DaybookError, match=r"2026-05-03: .* remove it and generate the day again"):
        read_manifest(settings, DAY)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"day": date(2999, 1, 1)}, "is not over yet"),
        ({"day": date(1969, 1, 1)}, "before 1970-01-01"),
        ({"events": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"mischief": FaultProfile(late=1.5)}, "late is 1.5"),
        ({"mischief": FaultProfile(duplicates=-0.1)}, "duplicates is -0.1"),
        ({"mischief": FaultProfile(invalid=float("nan"))}, "invalid is nan"),
    ],
)
def test_a_day_that_cannot_be_is_bad_input_and_leaves_nothing(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    request = Request(**{"day": DAY, "events": 5, "seed": 1, **changed})
    with pytest.raises(BadInput, match=message):
        play_day(request, Settings(home=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        "--day 3-May",
        "--events many",
        "--seed 1.5",
        "--events 0",
        "--late x",
        "--duplicates 2",
        "--batch 0",
        "--batch 1001",
        "--rate 0",
        "--rate nan",
        "--connections 0",
    ],
)
def test_bad_arguments_are_bad_input(arguments: str) -> None:
    assert isinstance(CliRunner().invoke(generate, arguments.split()).exception, BadInput)


def test_mischief_leaves_the_days_own_events_as_they_are() -> None:
    good, bad = build(), build_day(DAY, 5000, 1, ITEMS, FaultProfile(duplicates=0.2, late=0.1, invalid=0.3))
    assert good.ids.tolist() == bad.ids.tolist()
    on_time = np.flatnonzero(bad.days_back == 0)
    assert good.at(on_time) == bad.at(on_time)
    assert 400 < len(good) - len(on_time) < 600
    assert bad.days_back.max() <= LONGEST_DELAY_DAYS


def test_the_script_sends_every_event_repeats_some_later_and_spoils_others() -> None:
    plan = build_day(DAY, 5000, 1, ITEMS, FaultProfile(duplicates=0.1, invalid=0.1))
    assert len(plan.script) == 5000 + 500 + 500
    own = plan.script.event[plan.script.kind < 0].tolist()
    assert set(own) == set(range(5000))
    first = {event: place for place, event in reversed(list(enumerate(own)))}
    gaps = {event: place - first[event] for place, event in enumerate(own) if place != first[event]}
    assert len(own) == 5500
    # except for the day's last events, a duplicate is in another request, however large that is
    assert min(gap for event, gap in gaps.items() if event < 4000) >= SHORTEST_GAP
    assert set(plan.script.kind.tolist()) == set(range(-1, len(KINDS)))


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_no_spoilt_event_is_one(kind: int) -> None:
    plan = build(events=20)
    for number, event in enumerate(plan.at(range(20))):
        sent = corrupted(kind, event, f"00000000-0000-4000-8000-{number:012d}")
        if isinstance(sent, bytes):
            with pytest.raises(BadBody):
                parse_body(sent)
        else:
            [value] = parse_body(json.dumps([sent]).encode())
            with pytest.raises(Refused):
                check_event(value, items=ITEMS, latest=datetime.now(UTC))
