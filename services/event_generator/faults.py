"""Badly behaved clients: events that are late, sent twice, or invalid. Pure and seeded, like the day they disturb.

*Late* events are a share of the day's own events and happened on an earlier day. Their delay in days is geometrically
distributed with p = 1/2 (half of them yesterday, a quarter the day before ...), at most :data:`LONGEST_DELAY_DAYS`.
*Repeated* and *invalid* events are added to the day's events. A repeated event is sent again later, in another request,
with the same id and body. An invalid event is one of :data:`INVALID_KINDS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from daybook.contract import MAX_NAME_CHARACTERS
from daybook.errors import BadInput

LONGEST_DELAY_DAYS: Final = 30
"""The same as the lake's lateness window: later events restate no day."""
SHORTEST_GAP: Final = 1000
"""Approximate minimum number of events between an event and its repetition, so that they are in different requests;
except for the last events."""

Event = dict[str, Any]


@dataclass(frozen=True)
class FaultProfile:
    """Faults of the day's clients: shares of the day's events, 0 to 1."""

    duplicates: float = 0.0
    late: float = 0.0
    invalid: float = 0.0

    def check(self) -> None:
        """Refuse a share outside 0 to 1.

        Raises:
            BadInput: a share is invalid; the message names it.
        """
        for name, share in asdict(self).items():
            if not 0 <= share <= 1:
                raise BadInput(f"{name} is {share}; it must be a share of the day's events, from 0 to 1")


def _without(name: str) -> Callable[[Event], Event]:
    return lambda event: {key: value for key, value in event.items() if key != name}


def _with(**fields: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, **fields}


INVALID_KINDS: dict[str, Callable[[Event], Any]] = {
    "no type": _without("event_type"),
    "unknown type": _with(event_type="dance"),
    "unknown item": _with(event_type="purchase_item", item="spoon", guild=None),
    "no item": _with(event_type="purchase_item", item=None, guild=None),
    "item of a guild join": _with(event_type="join_guild", item="sword"),
    "unknown field": _with(price=5),
    "number for a player": _with(user_id=53),
    "control character": _with(user_id="user\x00"),
    "long player": _with(user_id="u" * (MAX_NAME_CHARACTERS + 1)),
    "bad host": _with(host="<script>"),
    "bad id": _with(event_id="17"),
    "time without a zone": _with(occurred_at="2026-05-03T12:00:00"),
    "number for a time": _with(occurred_at=1_777_777_777),
    "time before the game": _with(occurred_at="1969-12-31T23:59:59Z"),
    "unknown schema": _with(schema_version=2**63),
    "list for an event": lambda event: [event],
    "text for an event": lambda event: "event",
}
"""Faults of an event in a batch: name -> function that returns what is sent instead."""

UNREADABLE_KINDS: dict[str, Callable[[bytes], bytes]] = {
    "NaN": lambda body: body[:-1] + b',"schema_version":NaN}',
    "cut off": lambda body: body[: len(body) // 2],
    "not UTF-8": lambda body: body[:-2] + b'\xff"}',
    "a name twice": lambda body: body[:-1] + b',"event_type":"join_guild","event_type":"join_guild"}',
    "deeply nested": lambda body: b"[" * 10_000,
}
"""Faults that make a whole body unreadable, so such an event is a separate request. Name -> function on the bytes."""

KINDS: tuple[str, ...] = (*INVALID_KINDS, *UNREADABLE_KINDS)


def days_back(random: np.random.Generator, events: int, share: float) -> NDArray[np.int64]:
    """Draw how many days before the day each event happened: 0 for most events."""
    delay = np.minimum(random.geometric(0.5, size=events), LONGEST_DELAY_DAYS)
    return np.where(random.random(events) < share, delay, 0)


@dataclass(frozen=True)
class Script:
    """The order of sending: each place has an event, and whether it is sent unchanged or corrupted."""

    event: NDArray[np.int64]
    """Index of the event in the day."""
    kind: NDArray[np.int64]
    """Index of the fault in :data:`KINDS`, or -1 for an unchanged event."""

    def __len__(self) -> int:
        return len(self.event)

    def is_alone(self, place: int) -> bool:
        """Whether the event at this place must be a separate request."""
        return int(self.kind[place]) >= len(INVALID_KINDS)

    def counts(self) -> dict[str, int]:
        """Return how many events of each kind are sent."""
        found = np.bincount(self.kind[self.kind >= 0], minlength=len(KINDS)).tolist()
        return dict(zip(KINDS, found, strict=True))


def script(random: np.random.Generator, events: int, mischief: FaultProfile) -> Script:
    """Build the order of sending: every event once, repeated ones again later, invalid ones anywhere in between.

    An invalid event is made from one of the day's events, with a new id (:func:`corrupted`).
    """
    repeats, spoils = round(events * mischief.duplicates), round(events * mischief.invalid)
    repeated = random.integers(0, events, size=repeats)
    # sort key: an event's own index; for its repetition, a random position after the gap
    key = [np.arange(events, dtype=np.float64), repeated + SHORTEST_GAP + events * random.random(repeats)]
    key.append(events * random.random(spoils))
    event = np.concatenate([np.arange(events), repeated, random.integers(0, events, size=spoils)])
    kind = np.full(len(event), -1)
    kind[events + repeats :] = random.integers(0, len(KINDS), size=spoils)
    order = np.argsort(np.concatenate(key), kind="stable")
    return Script(event[order], kind[order])


def corrupted(kind: int, event: Event, event_id: str) -> Any:
    """Return what is sent instead of an event; bytes for a kind that is a separate request.

    Args:
        kind: index into :data:`KINDS`.
        event: the original event.
        event_id: an id that no event of the day has, so that its verdict is not confused with another event's.
    """
    name = KINDS[kind]
    own = {**event, "event_id": event_id}
    if name in INVALID_KINDS:
        return INVALID_KINDS[name](own)
    return UNREADABLE_KINDS[name](json.dumps(own, separators=(",", ":")).encode())
