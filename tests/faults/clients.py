"""Clients that record what they send and how it is answered, and the oracle that compares this ledger with Kafka.

A client chooses the ids of its events before the first attempt. Without an answer, or after a 503, it retries with the
same ids, up to a limit. An event without a final answer stays unknown.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any
from uuid import UUID

import psutil
import urllib3
from confluent_kafka import Message

from daybook.settings import Settings
from tests.integration.own_broker import OwnIntake

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.05
"""Pause before the second attempt; it doubles each time. A delivery is given up after a third of a second."""
ANSWER_TIMEOUT_SECONDS = 20.0
MAX_BATCH = 20
INVALID_SHARE = 0.05

INVALID: tuple[dict[str, Any], ...] = (
    {"item": "spoon"},
    {"item": None},
    {"event_type": "sell_item"},
    {"guild": "wolves"},
    {"host": "<script>"},
    {"occurred_at": 1_777_777_777},
    {"schema_version": 2**63},
    {"surprise": 1},
)
"""Changes that make an event of :func:`event` violate the contract."""

At = tuple[int, int]
"""Partition and offset of a record."""


def new_id(random: Random) -> str:
    """Return an event id: the same one for the same state of the generator."""
    return str(UUID(int=random.getrandbits(128), version=4))


def event(random: Random, **fields: Any) -> dict[str, Any]:
    """Return a valid event with a new id; ``fields`` replace or add."""
    player = random.randrange(1000)
    return {
        "event_id": new_id(random),
        "event_type": "purchase_item",
        "item": random.choice(("sword", "shield", "helmet", "knife", "gauntlets")),
        "user_id": f"user{player}",
        "host": f"user{player}.att.com",
        **fields,
    }


@dataclass
class Ledger:
    """What the clients sent and the answers they got. Every change happens under :attr:`changed`."""

    sent: Counter[str] = field(default_factory=Counter)
    """How often each id was sent."""
    invalid: set[str] = field(default_factory=set)
    """Ids of the invalid events."""
    accepted: dict[str, At] = field(default_factory=dict)
    """Partition and offset from the answer."""
    refused: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    """Answers by HTTP status; 0 for a connection that broke or failed."""
    surprises: list[str] = field(default_factory=list)
    """Answers that the contract does not document."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def unknown(self) -> set[str]:
        """Ids without a final answer: they may or may not be in Kafka."""
        return self.sent.keys() - self.accepted.keys() - self.refused

    def until(self, *, accepted: int = 0, unavailable: int = 0, timeout_seconds: float = 60.0) -> None:
        """Wait for these totals since the beginning: accepted events, and requests answered with 503."""
        with self.changed:
            reached = self.changed.wait_for(
                lambda: len(self.accepted) >= accepted and self.answers[503] >= unavailable, timeout_seconds
            )
        assert reached, f"{len(self.accepted)} events accepted, answers {dict(self.answers)}, after {timeout_seconds} s"

    def figures(self) -> dict[str, int]:
        """Return the counts for the report."""
        return {
            "requests": self.answers.total(),
            "answered 503": self.answers[503],
            "unanswered": self.answers[0],
            "events sent": len(self.sent),
            "accepted": len(self.accepted),
            "refused": len(self.refused),
            "unknown": len(self.unknown),
        }


class Players:
    """Client threads that each send one request at a time, from the start of the block to its end.

    The seed alone determines what they send; the intake determines how far they come. ``fields`` apply to every event.
    """

    def __init__(self, settings: Settings, seed: int, count: int = 8, fields: Mapping[str, Any] | None = None) -> None:
        self.ledger = Ledger()
        self._fields = fields or {}
        self._url = f"{settings.intake_url}/events"
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(count)
        self._randoms = [Random(f"{seed}/{number}") for number in range(count)]
        self._playing: list[Future[None]] = []

    def __enter__(self) -> Players:
        self._playing = [self._threads.submit(self._play, random) for random in self._randoms]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._threads.shutdown()
        if error is None:
            for player in self._playing:
                player.result()

    def _play(self, random: Random) -> None:
        with urllib3.PoolManager(retries=False, timeout=ANSWER_TIMEOUT_SECONDS) as connections:
            while not self._over.is_set():
                self._deliver(connections, self._events(random))

    def _events(self, random: Random) -> list[dict[str, Any]]:
        """Return a single event or a batch; now and then with an invalid event in it."""
        events = [event(random, **self._fields) for _ in range(random.choice((1, random.randint(2, MAX_BATCH))))]
        for one in events:
            if random.random() < INVALID_SHARE:
                one |= random.choice(INVALID)
                with self.ledger.changed:
                    self.ledger.invalid.add(one["event_id"])
        return events

    def _deliver(self, connections: urllib3.PoolManager, events: list[dict[str, Any]]) -> None:
        """Send events until each is accepted or refused, or no attempts are left."""
        pause_seconds = FIRST_PAUSE_SECONDS
        for _ in range(ATTEMPTS):
            status, rows, surprise = self._post(connections, events)
            decided = self._note(events, status, rows, surprise)
            events = [one for one in events if one["event_id"] not in decided]
            if not events:
                return
            time.sleep(pause_seconds)
            pause_seconds *= 2

    def _post(
        self, connections: urllib3.PoolManager, events: list[dict[str, Any]]
    ) -> tuple[int, list[dict[str, Any]], str | None]:
        """Return the status (0: no answer), the verdicts, and what is wrong with the answer itself."""
        body = json.dumps(events[0] if len(events) == 1 else events)
        with self.ledger.changed:  # before sending: every id in Kafka must be in the ledger
            self.ledger.sent.update(one["event_id"] for one in events)
        try:
            answer = connections.request("POST", self._url, body=body, headers={"Content-Type": "application/json"})
        except urllib3.exceptions.HTTPError:
            return 0, [], None
        if answer.status not in (201, 207, 400, 503):
            return answer.status, [], f"{answer.status} {answer.data[:200]!r}"
        if answer.status == 503 and int(answer.headers.get("Retry-After", 0)) < 1:
            return answer.status, [], "503 without Retry-After"
        return answer.status, answer.json()["events"], None

    def _note(
        self, events: list[dict[str, Any]], status: int, rows: list[dict[str, Any]], surprise: str | None
    ) -> set[str]:
        """Record an answer in the ledger; return the ids that got a final verdict."""
        decided: set[str] = set()
        with self.ledger.changed:
            self.ledger.answers[status] += 1
            if surprise:
                self.ledger.surprises.append(surprise)
            for row in rows:
                event_id = events[row["index"]]["event_id"]
                if row["status"] == "accepted":
                    self.ledger.accepted[event_id] = (row["partition"], row["offset"])
                elif row["status"] == "refused":
                    self.ledger.refused.add(event_id)
                else:
                    continue
                decided.add(event_id)
            self.ledger.changed.notify_all()
        return decided


@dataclass(frozen=True)
class Balance:
    """The ledger compared with Kafka."""

    records: int
    distinct: int
    wrong: dict[str, list[str]]
    """Promise -> ids that break it; empty if all promises hold."""
    repeated_by_producer: list[str]
    """Ids with more records than requests that sent them. Not a promise if deliveries failed, see :func:`holds`."""

    def figures(self) -> dict[str, int]:
        """Return the counts for the report."""
        return {
            "records in Kafka": self.records,
            "of them repeated": self.records - self.distinct,
            **{promise: len(ids) for promise, ids in self.wrong.items()},
            "more often than sent": len(self.repeated_by_producer),
        }


def balance(ledger: Ledger, topic: Mapping[At, Message]) -> Balance:
    """Compare the ledger with the topic's records of the same time.

    Args:
        ledger: of clients that have ended.
        topic: the records that reached the topic while they sent, by partition and offset.
    """
    at = {place: json.loads(message.value() or b"")["event_id"] for place, message in topic.items()}
    copies = Counter(at.values())

    wrong = {
        "lost": sorted(ledger.accepted.keys() - copies.keys()),
        "not where the answer said": sorted(
            event_id for event_id, place in ledger.accepted.items() if at.get(place) != event_id
        ),
        "invalid in Kafka": sorted(copies.keys() & (ledger.invalid | ledger.refused)),
        "invalid but accepted": sorted(ledger.accepted.keys() & ledger.invalid),
        "valid but refused": sorted(ledger.refused - ledger.invalid),
    }
    return Balance(
        records=copies.total(),
        distinct=len(copies),
        wrong=wrong,
        repeated_by_producer=sorted(event_id for event_id in copies if copies[event_id] > ledger.sent[event_id]),
    )


def holds(ledger: Ledger, balanced: Balance, *, producer_may_repeat: bool = False) -> bool:
    """Whether every promise held; a failing assertion names the broken ones.

    Args:
        ledger: of clients that have ended.
        balanced: the ledger compared with Kafka.
        producer_may_repeat: after the loss of a broker. An event that librdkafka gives up at its time-out raises the
            idempotent producer's epoch, and events in flight to other partitions are sent again under the new epoch:
            the broker cannot know them (librdkafka's issue 4953, open). Landing counts each id once.
    """
    assert not ledger.surprises, ledger.surprises[:5]
    broken = {promise: ids[:5] for promise, ids in balanced.wrong.items() if ids}
    if balanced.repeated_by_producer and not producer_may_repeat:
        broken["more often than sent"] = balanced.repeated_by_producer[:5]
    assert not broken, broken
    return True


def workers(intake: OwnIntake) -> list[psutil.Process]:
    """Return the intake's worker processes, oldest first."""
    assert intake.process is not None
    return sorted(psutil.Process(intake.process.pid).children(), key=lambda worker: (worker.create_time(), worker.pid))
