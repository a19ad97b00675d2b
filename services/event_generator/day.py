"""A day of players: which events happen, when, by whom and from where. Pure: no clock, no network, no files.

The same day, seed and number of events give byte-identical events; another day or seed gives other ids. Under one seed
a player has the same home provider every day, so that days resemble each other as real ones do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_generator.faults import FaultProfile, Script, corrupted, days_back, script

MICROSECONDS_PER_HOUR = 3_600_000_000

HOUR_WEIGHTS = np.array([4, 3, 2, 1.5, 1, 1, 1.5, 2, 3, 4, 4.5, 5, 6, 6, 5.5, 5.5, 6, 7, 9, 11, 12, 11, 9, 6.5])
"""Relative activity of each hour of the day (UTC): lowest before dawn, highest in the evening."""

PURCHASE_SHARE = 0.85
GUILDS = ("wolves", "ravens", "bears", "foxes")

PROVIDER_WEIGHTS = {"comcast": 34.0, "att": 24.0, "google": 9.0, "frontier": 7.0, "cox": 16.0, "earthlink": 10.0}
"""Providers by their share of players; a player's host is ``user53.att.com``."""
SWITCH_SHARE = 0.02
"""Share of events sent through a provider other than the player's own: at a friend's, on the road."""

IP_ADDRESS, BARE_NAME, MISSING, UNMAPPED = "(ip address)", "(bare name)", "(missing)", "(unmapped)"
NO_PROVIDER_SHARES = {IP_ADDRESS: 0.012, UNMAPPED: 0.01, BARE_NAME: 0.006, MISSING: 0.008}
"""Shares of events whose host has no known provider."""

LABELS: tuple[str, ...] = (*PROVIDER_WEIGHTS, *NO_PROVIDER_SHARES)
"""Providers and buckets as the provider answers name them; :attr:`Day.label` is an index into this."""

DOCUMENTATION_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
"""Networks reserved for documentation (RFC 5737): nobody uses these addresses."""

EVENTS_PER_PLAYER = 12

JOIN_GUILD = -1
"""Value in :attr:`Day.item` for an event that is not a purchase."""


@dataclass(frozen=True)
class Day:
    """The events of a day as columns, ordered by time; :meth:`at` returns them in the intake's format."""

    day: date
    items: tuple[str, ...]
    ids: NDArray[np.str_]
    """Event ids, as UUID text."""
    item: NDArray[np.int64]
    """The bought item, an index into :attr:`items`, or :data:`JOIN_GUILD`."""
    guild: NDArray[np.int64]
    """The joined guild, an index into :data:`GUILDS`; meaningless for a purchase."""
    user: NDArray[np.int64]
    """The player's number: 53 is ``user53``."""
    label: NDArray[np.int64]
    """Provider or bucket of the host, an index into :data:`LABELS`."""
    host: list[str]
    microsecond: NDArray[np.int64]
    """Time of the event, in microseconds after midnight UTC."""
    days_back: NDArray[np.int64]
    """How many days before the day the event happened; 0 for an event that is not late."""
    script: Script
    """The order of sending."""
    corrupted_ids: NDArray[np.str_]
    """For each place of the script, the id of the corrupted event that is sent there; empty for other places."""

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, indices: Sequence[int] | NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return events by their indices, as client events of the contract."""
        part = np.asarray(indices, dtype=np.int64)
        moments = (
            np.datetime64(self.day, "us")
            - self.days_back[part].astype("timedelta64[D]")
            + self.microsecond[part].astype("timedelta64[us]")
        )
        columns = zip(
            self.ids[part].tolist(),
            self.item[part].tolist(),
            self.guild[part].tolist(),
            self.user[part].tolist(),
            [self.host[index] for index in part.tolist()],
            np.datetime_as_string(moments, unit="us").tolist(),
            strict=True,
        )
        return [
            {
                "event_id": event_id,
                **(
                    {"event_type": "join_guild", "guild": GUILDS[guild]}
                    if item == JOIN_GUILD
                    else {"event_type": "purchase_item", "item": self.items[item]}
                ),
                "user_id": f"user{user}",
                "host": host,
                "occurred_at": f"{moment}Z",
            }
            for event_id, item, guild, user, host, moment in columns
        ]

    def sent(self, places: Sequence[int]) -> list[Any]:
        """Return what is sent at these places of the script: valid or corrupted events; bytes for a separate body."""
        events = self.at(self.script.event[list(places)])
        return [
            event if kind < 0 else corrupted(kind, event, str(self.corrupted_ids[place]))
            for place, kind, event in zip(places, self.script.kind[list(places)].tolist(), events, strict=True)
        ]


def build_day(day: date, events: int, seed: int, items: Sequence[str], mischief: FaultProfile | None = None) -> Day:
    """Build the events of a day.

    Args:
        day: the UTC day of all events.
        events: how many, at least one.
        seed: determines everything, together with the day.
        items: the catalogue, the most popular item first.
        mischief: faults of the clients; no faults if absent. The day's own events stay the same.
    """
    mischief = mischief or FaultProfile()
    random = np.random.default_rng([seed, day.toordinal()])
    players = max(1, events // EVENTS_PER_PLAYER)
    activity = np.random.default_rng([seed, 0]).lognormal(0.0, 1.0, players)
    home = np.random.default_rng([seed, 1]).choice(
        len(PROVIDER_WEIGHTS), size=players, p=_shares(list(PROVIDER_WEIGHTS.values()))
    )
    # a separate generator, so that good events do not depend on bad ones
    disturbed = np.random.default_rng([seed, day.toordinal(), 1])
    order = script(disturbed, events, mischief)
    user = random.choice(players, size=events, p=_shares(activity))
    label = _labels(random, home[user])
    return Day(
        day=day,
        items=tuple(items),
        ids=_uuids(random, events),
        item=np.where(random.random(events) < PURCHASE_SHARE, _items(random, events, len(items)), JOIN_GUILD),
        guild=random.choice(len(GUILDS), size=events, p=_shares([4, 3, 2, 1])),
        user=user + 1,
        label=label,
        host=_hosts(random, user + 1, label),
        microsecond=_microseconds(random, events),
        days_back=days_back(disturbed, events, mischief.late),
        script=order,
        corrupted_ids=np.where(order.kind >= 0, _uuids(disturbed, len(order)), ""),
    )


def _shares(weights: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    shares: NDArray[np.float64] = values / values.sum()
    return shares


def _items(random: np.random.Generator, events: int, items: int) -> NDArray[np.int64]:
    """Each item of the catalogue is less popular than the one before it."""
    return random.choice(items, size=events, p=_shares(1.0 / np.arange(1, items + 1) ** 0.7))


def _labels(random: np.random.Generator, home: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw hosts' labels: usually the player's own provider, sometimes another one, rarely an unknown one."""
    events, providers = len(home), len(PROVIDER_WEIGHTS)
    elsewhere = (home + random.integers(1, providers, size=events)) % providers
    named = np.where(random.random(events) < SWITCH_SHARE, elsewhere, home)
    shares = list(NO_PROVIDER_SHARES.values())
    draw = random.choice(len(shares) + 1, size=events, p=[1.0 - sum(shares), *shares])
    return np.where(draw == 0, named, providers - 1 + draw)


def _hosts(random: np.random.Generator, user: NDArray[np.int64], label: NDArray[np.int64]) -> list[str]:
    network = random.integers(0, len(DOCUMENTATION_NETWORKS), size=len(user)).tolist()
    station = random.integers(1, 255, size=len(user)).tolist()
    domains = [f".{provider}.com" for provider in PROVIDER_WEIGHTS]
    others: dict[int, Callable[[int, int], str]] = {
        LABELS.index(IP_ADDRESS): lambda at, _: f"{DOCUMENTATION_NETWORKS[network[at]]}.{station[at]}",
        LABELS.index(UNMAPPED): lambda _, number: f"user{number}.example-isp.net",
        LABELS.index(BARE_NAME): lambda _, number: f"user{number}",
        LABELS.index(MISSING): lambda _at, _number: "",
    }
    return [
        f"user{number}{domains[where]}" if where < len(domains) else others[where](at, number)
        for at, (number, where) in enumerate(zip(user.tolist(), label.tolist(), strict=True))
    ]


def _microseconds(random: np.random.Generator, events: int) -> NDArray[np.int64]:
    hour = random.choice(24, size=events, p=_shares(HOUR_WEIGHTS))
    return np.sort(hour * MICROSECONDS_PER_HOUR + random.integers(0, MICROSECONDS_PER_HOUR, size=events))


def _uuids(random: np.random.Generator, events: int) -> NDArray[np.str_]:
    """Return random UUIDs of version 4, as text."""
    raw = random.integers(0, 256, size=(events, 16), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40  # version 4
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80  # the variant of RFC 9562
    digits = np.frombuffer(raw.tobytes().hex().encode(), dtype=np.uint8).reshape(events, 32)
    text = np.full((events, 36), ord("-"), dtype=np.uint8)
    for start, stop, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        text[:, at : at + stop - start] = digits[:, start:stop]
    return text.view("S36").reshape(events).astype("U36")
