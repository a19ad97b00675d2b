"""Computes the expected answers of a generated day with NumPy.

The expectations come from the generator's own data, never through :mod:`daybook.providers`, Spark or any other engine:
they are independent evidence. Each quotient divides the same two numbers as the answer's SQL, so it is equal to the
last bit.

Answers that name players (``Answer.names_players``: ``user_activity``) are left out: their rows, and so the manifest,
would grow with the number of players.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_generator.day import GUILDS, JOIN_GUILD, LABELS, MICROSECONDS_PER_HOUR, PROVIDER_WEIGHTS, Day

Row = dict[str, Any]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Events:
    """Some of a day's events as columns with the same meaning as in :class:`event_generator.day.Day`."""

    item: NDArray[np.int64]
    guild: NDArray[np.int64]
    user: NDArray[np.int64]
    label: NDArray[np.int64]
    microsecond: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def where(self, mask: NDArray[np.bool_]) -> _Events:
        return _Events(self.item[mask], self.guild[mask], self.user[mask], self.label[mask], self.microsecond[mask])

    @property
    def players(self) -> int:
        """Length of a column that has an element for each player's number."""
        return int(self.user.max(initial=0)) + 1


def expected_answers(day: Day, accepted: NDArray[np.bool_]) -> dict[str, list[Row]]:
    """Return each answer's expected rows for the day's accepted events, in the answer's order of columns and rows.

    Late events count on the days they happened on.

    Args:
        day: the events.
        accepted: for each event, whether the intake has acknowledged it.
    """
    every = _Events(day.item, day.guild, day.user, day.label, day.microsecond)
    events = every.where(accepted & (day.days_back == 0))
    joined = events.where(events.item == JOIN_GUILD)
    bought = events.where(events.item != JOIN_GUILD)
    return {
        "event_popularity": _event_popularity(day, events),
        "daily_activity": _daily_activity(events, len(bought), len(joined)),
        "hourly_activity": [
            {"hour": at, "events": count, "users": users}
            for (at,), count, users in _counted(events.user, events.microsecond // MICROSECONDS_PER_HOUR)
        ],
        "guild_joins": _guild_joins(joined),
        "purchases": _purchases(day, bought),
        "item_affinity": _item_affinity(day, bought),
        "purchase_funnel": _purchase_funnel(events, joined, bought),
        "provider_usage": _provider_usage(events),
        "provider_event_popularity": _provider_event_popularity(day, events),
        "provider_switchers": _provider_switchers(events.where(events.label < len(PROVIDER_WEIGHTS))),
    }


def _event_popularity(day: Day, events: _Events) -> list[Row]:
    rows: list[Row] = [
        {**_event(day, code), "events": count, "users": users, "share": count / len(events)}
        for (code,), count, users in _counted(events.user, events.item)
    ]
    return sorted(_ranked(rows), key=lambda row: (row["rank"], *_event_order(row)))


def _daily_activity(events: _Events, purchases: int, guild_joins: int) -> list[Row]:
    if not len(events):
        return []
    players = int(np.count_nonzero(np.bincount(events.user)))
    by_hour = np.bincount(events.microsecond // MICROSECONDS_PER_HOUR, minlength=24)
    return [
        {
            "events": len(events),
            "users": players,
            "events_per_user": len(events) / players,
            "purchases": purchases,
            "guild_joins": guild_joins,
            "busiest_hour": int(by_hour.argmax()),  # the first one of a tie
        }
    ]


def _guild_joins(joined: _Events) -> list[Row]:
    rows: list[Row] = [
        {"guild": GUILDS[code], "events": count, "users": users, "share": count / len(joined)}
        for (code,), count, users in _counted(joined.user, joined.guild)
    ]
    return sorted(_ranked(rows), key=lambda row: (row["rank"], row["guild"]))


def _purchases(day: Day, bought: _Events) -> list[Row]:
    buyers = int(np.count_nonzero(np.bincount(bought.user)))
    rows: list[Row] = [
        {
            "item": day.items[code],
            "events": count,
            "users": users,
            "share": count / len(bought),
            "buyers_share": users / buyers,
            "events_per_user": count / users,
        }
        for (code,), count, users in _counted(bought.user, bought.item)
    ]
    return sorted(_ranked(rows), key=lambda row: (row["rank"], row["item"]))


def _item_affinity(day: Day, bought: _Events) -> list[Row]:
    has = np.zeros((len(day.items), bought.players), dtype=np.bool_)
    has[bought.item, bought.user] = True
    buyers = int(np.count_nonzero(has.any(axis=0)))
    users = np.count_nonzero(has, axis=1).tolist()
    rows: list[Row] = []
    for one, other in combinations(sorted(range(len(day.items)), key=day.items.__getitem__), 2):
        if both := int(np.count_nonzero(has[one] & has[other])):
            rows.append(
                {
                    "item": day.items[one],
                    "other_item": day.items[other],
                    "users": both,
                    "buyers_share": both / buyers,
                    "lift": float(both) * buyers / (float(users[one]) * users[other]),
                }
            )
    return sorted(rows, key=lambda row: (-row["users"], row["item"], row["other_item"]))


def _purchase_funnel(events: _Events, joined: _Events, bought: _Events) -> list[Row]:
    if not len(events):
        return []
    first_joined = np.full(events.players, _NEVER)
    np.minimum.at(first_joined, joined.user, joined.microsecond)
    last_bought = np.full(events.players, -1)
    np.maximum.at(last_bought, bought.user, bought.microsecond)
    played = int(np.count_nonzero(np.bincount(events.user)))
    members = int(np.count_nonzero(first_joined != _NEVER))
    steps = (
        ("played", played, played),
        ("joined a guild", members, played),
        # a purchase in the microsecond of joining is not after it
        ("bought after joining", int(np.count_nonzero(last_bought > first_joined)), members),
    )
    return [
        {
            "step": step,
            "name": name,
            "users": users,
            "players_share": users / played,
            "step_share": users / before if before else None,
        }
        for step, (name, users, before) in enumerate(steps, start=1)
    ]


def _provider_usage(events: _Events) -> list[Row]:
    named = int(np.count_nonzero(events.label < len(PROVIDER_WEIGHTS)))
    rows: list[Row] = [
        {
            "provider": LABELS[code],
            "events": count,
            "users": users,
            "share": count / len(events),
            "coverage": named / len(events),
        }
        for (code,), count, users in _counted(events.user, events.label)
    ]
    return sorted(rows, key=lambda row: (-row["events"], *_provider_order(row)))


def _provider_event_popularity(day: Day, events: _Events) -> list[Row]:
    rows: list[Row] = [
        {"provider": LABELS[code], **_event(day, item), "events": count, "users": users}
        for (code, item), count, users in _counted(events.user, events.label, events.item)
    ]
    return sorted(
        _ranked(rows, within="provider"), key=lambda row: (*_provider_order(row), row["rank"], *_event_order(row))
    )


def _provider_switchers(named: _Events) -> list[Row]:
    """Return the rows of ``provider_switchers``.

    Args:
        named: the events whose host has a known provider.
    """
    seen = np.zeros((len(PROVIDER_WEIGHTS), named.players), dtype=np.bool_)
    seen[named.label, named.user] = True
    combination = (1 << np.arange(len(PROVIDER_WEIGHTS))) @ seen  # for each player, one bit per provider
    users = np.bincount(combination[combination > 0], minlength=1 << len(PROVIDER_WEIGHTS)).tolist()
    events = np.bincount(combination[named.user], minlength=1 << len(PROVIDER_WEIGHTS)).tolist()
    rows: list[Row] = []
    for bits in np.flatnonzero(users).tolist():
        providers = sorted(name for at, name in enumerate(PROVIDER_WEIGHTS) if bits >> at & 1)
        if len(providers) > 1:
            rows.append(
                {
                    "providers": " + ".join(providers),
                    "provider_count": len(providers),
                    "users": users[bits],
                    "users_share": users[bits] / sum(users),
                    "events": events[bits],
                }
            )
    return sorted(rows, key=lambda row: (-row["users"], row["providers"]))


def _counted(user: NDArray[np.int64], *keys: NDArray[np.int64]) -> list[tuple[tuple[int, ...], int, int]]:
    """Return key values in ascending order, with their number of events and of distinct players.

    Events are counted in bins, since keys have few values; only the pairs of key and player are sorted.
    """
    lowest = [int(key.min(initial=0)) for key in keys]
    sizes = [int(key.max(initial=low)) - low + 1 for key, low in zip(keys, lowest, strict=True)]
    group = np.ravel_multi_index([key - low for key, low in zip(keys, lowest, strict=True)], sizes)
    events = np.bincount(group)
    beyond = int(user.max(initial=0)) + 1
    pairs = np.sort(group * beyond + user)  # np.unique hashes: 140 ms for a million; sorting takes 5 ms
    users = np.bincount(pairs[np.diff(pairs, prepend=-1) > 0] // beyond, minlength=len(events))
    found = np.flatnonzero(events)
    values = [(at + low).tolist() for at, low in zip(np.unravel_index(found, sizes), lowest, strict=True)]
    return list(zip(zip(*values, strict=True), events[found].tolist(), users[found].tolist(), strict=True))


def _event(day: Day, code: int) -> Row:
    if code == JOIN_GUILD:
        return {"event_type": "join_guild", "item": None}
    return {"event_type": "purchase_item", "item": day.items[code]}


def _provider_order(row: Row) -> tuple[bool, str]:
    return row["provider"].startswith("("), row["provider"]  # buckets come after the providers


def _event_order(row: Row) -> tuple[str, bool, str]:
    return row["event_type"], row["item"] is not None, row["item"] or ""


def _ranked(rows: list[Row], within: str | None = None) -> list[Row]:
    """Add SQL's RANK() by events in descending order: ties share a rank, and the next rank is skipped."""
    return [
        {
            **row,
            "rank": 1
            + sum(
                other["events"] > row["events"] and (within is None or other[within] == row[within]) for other in rows
            ),
        }
        for row in rows
    ]
