"""Plays a day: sends its events to the intake over HTTP and counts what was acknowledged, nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import urllib3

from daybook.contract import FIRST_MOMENT, moment_text
from daybook.errors import BadInput, DaybookError
from daybook.settings import Settings
from event_generator.day import Day, build_day
from event_generator.manifest import expected_answers, ids_path, played_before, write_manifest

EVENTS_PER_REQUEST = 200
SENDER_THREADS = 4
PATIENCE_SECONDS = 60.0
"""How long a batch is tried while the intake or its broker is away."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 3.0
ANSWER_TIMEOUT_SECONDS = 30.0

Progress = Callable[[int, int], None]
"""Called with the number of events settled and the number of all."""


@dataclass
class _Tally:
    """What the intake has said about a batch, by the events' indices in the day."""

    accepted: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    """Highest acknowledged offset of each partition."""


def play_day(day: date, events: int, seed: int, settings: Settings, progress: Progress | None = None) -> dict[str, Any]:
    """Play a day to its end and write its manifest; a day that was played is not played again.

    Repeating is harmless: the same ids are sent, and the day keeps each once.

    Args:
        day: the UTC day that the events happen in; today or earlier.
        events: how many events, at least one.
        seed: decides the events together with the day.
        settings: where the intake is and where manifests lie.
        progress: told after each batch; called in this thread.

    Returns:
        The manifest without its ``expected`` answers.

    Raises:
        BadInput: the day, the number or the seed cannot be, the day was played with others, or no intake is there.
        DaybookError: the intake went away and stayed away; what was accepted stays accepted.
    """
    check_request(day, events, seed)
    manifest = played_before(settings, day, events=events, seed=seed)
    if manifest is None:
        manifest = _play(build_day(day, events, seed, settings.items), seed, settings, progress)
    return {name: value for name, value in manifest.items() if name != "expected"}


def check_request(day: date, events: int, seed: int) -> None:
    """Refuse a day that cannot be generated.

    Raises:
        BadInput: says which of the three is wrong.
    """
    today = datetime.now(UTC).date()
    if day > today:
        raise BadInput(f"{day} is in the future; the last day that can be generated is {today} (UTC)")
    if day < FIRST_MOMENT.date():
        raise BadInput(f"{day} is before {FIRST_MOMENT.date()}, the first day there is")
    if events < 1:
        raise BadInput(f"{events} events are no day; ask for at least 1")
    if seed < 0:
        raise BadInput(f"seed {seed} is negative; seeds start at 0")


def _play(plan: Day, seed: int, settings: Settings, progress: Progress | None) -> dict[str, Any]:
    pool = urllib3.PoolManager(
        maxsize=SENDER_THREADS,
        retries=False,
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=ANSWER_TIMEOUT_SECONDS),
    )
    _find_intake(pool, settings)
    accepted = np.zeros(len(plan), dtype=np.bool_)
    settled = refused = 0
    offsets: dict[int, int] = {}
    sender = _Sender(pool, settings, plan)
    with ThreadPoolExecutor(SENDER_THREADS, thread_name_prefix="player") as threads:
        batches = [
            threads.submit(sender.send, start, min(start + EVENTS_PER_REQUEST, len(plan)))
            for start in range(0, len(plan), EVENTS_PER_REQUEST)
        ]
        try:
            for batch in as_completed(batches):
                tally = batch.result()
                accepted[tally.accepted] = True
                refused += len(tally.refused)
                settled += len(tally.accepted) + len(tally.refused)
                _keep_highest(offsets, tally.offsets)
                if progress is not None:
                    progress(settled, len(plan))
        finally:  # on an error or Ctrl-C the other threads end after the request they are in
            sender.stop.set()
            threads.shutdown(cancel_futures=True)
    manifest = {
        "day": str(plan.day),
        "seed": seed,
        "requested": len(plan),
        "sent": settled,
        "accepted": int(accepted.sum()),
        "refused": refused,
        "injected": {"duplicates": 0, "late": 0, "invalid": 0},
        "offsets": {str(partition): offsets[partition] for partition in sorted(offsets)},
        "accepted_ids": ids_path(settings, plan.day).name,
        "expected": expected_answers(plan, accepted),
        "finished_at": moment_text(datetime.now(UTC)),
    }
    write_manifest(settings, plan.day, manifest, plan.ids[accepted].tolist())
    return manifest


def _find_intake(pool: urllib3.PoolManager, settings: Settings) -> None:
    try:
        status = pool.request("GET", f"{settings.intake_url}/health/live").status
    except urllib3.exceptions.HTTPError:
        status = 0
    if status != 200:
        raise BadInput(f"the stack is not up: no intake answers at {settings.intake_url}; start it with: make up")


def _keep_highest(offsets: dict[int, int], others: dict[int, int]) -> None:
    for partition, offset in others.items():
        offsets[partition] = max(offset, offsets.get(partition, -1))


class _Sender:
    """Sends batches; used by several threads."""

    def __init__(self, pool: urllib3.PoolManager, settings: Settings, plan: Day) -> None:
        self._pool = pool
        self._url = f"{settings.intake_url}/events"
        self._plan = plan
        self.stop = threading.Event()

    def send(self, start: int, stop: int) -> _Tally:
        """Send events ``start`` up to ``stop`` until each is accepted or refused.

        Raises:
            DaybookError: some were not acknowledged within :data:`PATIENCE_SECONDS`, or the intake answers nonsense.
        """
        events = dict(zip(range(start, stop), self._plan.events(start, stop), strict=True))
        tally = _Tally()
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        pause_seconds = FIRST_PAUSE_SECONDS
        while events:
            reason = self._attempt(events, tally)
            if not events:
                break
            if time.monotonic() > give_up_at or self.stop.wait(pause_seconds):
                raise DaybookError(
                    f"{self._plan.day}: the intake acknowledged nothing for {PATIENCE_SECONDS:.0f} s ({reason}). What "
                    "it accepted is safe; see to the stack (make up) and generate the day again: it sends the same ids"
                )
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        return tally

    def _attempt(self, events: dict[int, dict[str, Any]], tally: _Tally) -> str:
        """One request; what it settles moves from ``events`` to ``tally``. Returns why something was left."""
        indices = list(events)
        body = json.dumps(list(events.values()), separators=(",", ":")).encode()
        try:
            answer = self._pool.request("POST", self._url, body=body, headers={"Content-Type": "application/json"})
        except urllib3.exceptions.HTTPError as error:  # refused, broken or timed out: nobody knows what was taken
            return type(error).__name__
        if answer.status not in {201, 207, 400, 503}:
            raise DaybookError(f"{self._plan.day}: the intake at {self._url} answered {answer.status}; see its log")
        for row in answer.json().get("events", []):
            index = indices[row["index"]]
            if row["status"] == "accepted":
                tally.accepted.append(index)
                _keep_highest(tally.offsets, {row["partition"]: row["offset"]})
            elif row["status"] == "refused":
                tally.refused.append(index)
            else:
                continue
            del events[index]
        return f"status {answer.status}"
