"""Sends a day's events to the intake over HTTP and counts only the acknowledged ones."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import urllib3
from numpy.typing import NDArray

from daybook.contract import FIRST_MOMENT, moment_text
from daybook.errors import BadInput, DaybookError, NotNow
from daybook.lake.state import check_state
from daybook.pipeline.manifest import Injected, Manifest, ids_path
from daybook.settings import Settings
from event_generator.day import Day, build_day
from event_generator.expected import expected_answers
from event_generator.manifest import Request, played_before, write_manifest
from event_generator.progress import ACCEPTED, OPEN, REFUSED, Ack, Progress

PATIENCE_SECONDS = 60.0
"""How long a batch is retried while the intake or its broker is unavailable."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
SECONDS_BETWEEN_REASONS = 3.0
CONNECT_TIMEOUT_SECONDS = 3.0
ANSWER_TIMEOUT_SECONDS = 30.0
MAX_EVENTS_PER_REQUEST = 1000
USER_AGENT = "daybook-generator"
"""Marks generated events in the column ``user_agent`` of ``events``; the check ``delayed_share`` leaves them out."""
MAX_CONNECTIONS = 512


class NoIntake(NotNow):
    """The intake does not answer before the first request: it was not started, or is restarting."""


Report = Callable[[int, int], None]
"""Called with the number of settled places of the script and the total number."""
Waits = Callable[[str], None]
"""Called with the reason why events were not acknowledged yet."""


@dataclass(frozen=True)
class Load:
    """How a day is sent; has no effect on the content."""

    connections: int = 4
    """Concurrent requests."""
    batch: int = 200
    """Events per request; 1 sends each event as a single JSON object."""
    events_per_second: float | None = None
    """Rate of sending, counted from the start; None = as fast as the intake accepts events."""

    def check(self) -> None:
        """Refuse invalid values.

        Raises:
            BadInput: a value is invalid; the message names it.
        """
        if not 1 <= self.connections <= MAX_CONNECTIONS:
            raise BadInput(f"{self.connections} connections; use 1 to {MAX_CONNECTIONS}")
        if not 1 <= self.batch <= MAX_EVENTS_PER_REQUEST:
            raise BadInput(f"{self.batch} events per request; the intake accepts 1 to {MAX_EVENTS_PER_REQUEST}")
        if self.events_per_second is not None and not self.events_per_second > 0:
            raise BadInput(f"a rate of {self.events_per_second} events per second sends nothing; use more than 0")


@dataclass(frozen=True)
class Pace:
    """Timing of the sending, in this process only; not part of the manifest."""

    events: int
    seconds: float
    p50_ms: float
    p99_ms: float
    """Percentiles of the time from a request to its answer."""
    behind_seconds: float
    """Largest delay of a request compared with the requested rate."""


def play_day(
    request: Request,
    settings: Settings,
    load: Load | None = None,
    report: Report | None = None,
    waits: Waits | None = None,
) -> tuple[Manifest, Pace | None]:
    """Send a day completely and write its manifest; a day that was sent before is not sent again.

    Repeating is harmless: the same ids are sent, and each counts once. A killed run continues with the events that were
    not settled.

    Args:
        request: the UTC day of the events (today or earlier), how many, and what determines them.
        settings: where the intake is and where manifests are stored.
        load: how to send.
        report: called after each request, in this thread.
        waits: called every few seconds with the reason why a request is sent again, in this thread.

    Returns:
        The manifest, and the timing; None if nothing was sent.

    Raises:
        BadInput: the request is invalid, the day was sent with another request, or the intake rejects the API key.
        NoIntake: the intake does not answer.
        NonRetryableError: the state folder may belong to another state; nothing was sent.
        DaybookError: the intake became unavailable and did not return; accepted events stay accepted.
    """
    load = load or Load()
    check_request(request)
    load.check()
    check_state(settings)
    pace = None
    manifest = played_before(settings, request)
    if manifest is None:
        plan = build_day(request.day, request.events, request.seed, settings.items, request.mischief)
        pool = _find_intake(settings, load)
        progress = Progress(settings, request, len(plan.script))
        try:
            pace = _send(plan, pool, settings, load, progress, report, waits)
            manifest = _manifest(request, plan, progress, settings)
            write_manifest(settings, manifest, plan.ids[_accepted(plan, progress)].tolist())
            progress.remove()
        finally:
            progress.close()
    return manifest, pace


def check_request(request: Request) -> None:
    """Refuse a day that cannot be generated.

    Raises:
        BadInput: the message names the problem.
    """
    last = datetime.now(UTC).date() - timedelta(days=1)
    if request.day > last:
        # the intake refuses events with a time later today
        raise BadInput(f"{request.day} is not over yet; the last day that can be generated is {last} (UTC)")
    if request.day < FIRST_MOMENT.date():
        raise BadInput(f"{request.day} is before {FIRST_MOMENT.date()}, the first possible day")
    if request.events < 1:
        raise BadInput(f"a day cannot have {request.events} events; request at least 1")
    if request.seed < 0:
        raise BadInput(f"seed {request.seed} is negative; seeds start at 0")
    request.mischief.check()


def _accepted(plan: Day, progress: Progress) -> NDArray[np.bool_]:
    """Return for each of the day's events whether it was accepted at least once."""
    accepted = np.zeros(len(plan), dtype=np.bool_)
    accepted[plan.script.event[(progress.verdict == ACCEPTED) & (plan.script.kind < 0)]] = True
    return accepted


def _manifest(request: Request, plan: Day, progress: Progress, settings: Settings) -> Manifest:
    accepted = _accepted(plan, progress)
    acknowledged = int(np.count_nonzero(progress.verdict == ACCEPTED))
    back, counts = np.unique(plan.days_back[accepted & (plan.days_back > 0)], return_counts=True)
    return Manifest(
        day=request.day,
        seed=request.seed,
        requested=request.events,
        mischief=asdict(request.mischief),
        sent=len(plan.script),
        accepted=acknowledged,
        refused=int(np.count_nonzero(progress.verdict == REFUSED)),
        injected=Injected(
            duplicates=acknowledged - int(np.count_nonzero(accepted)),
            late={
                request.day - timedelta(days=days): count
                for days, count in zip(back.tolist(), counts.tolist(), strict=True)
            },
            invalid={name: count for name, count in plan.script.counts().items() if count},
        ),
        offsets={partition: progress.offsets[partition] for partition in sorted(progress.offsets)},
        accepted_ids=ids_path(settings, request.day).name,
        expected=expected_answers(plan, accepted),
        finished_at=moment_text(datetime.now(UTC)),
    )


def _find_intake(settings: Settings, load: Load) -> urllib3.PoolManager:
    """Return a connection pool for the intake.

    Raises:
        NoIntake: the intake does not answer.
    """
    key = settings.api_key.get_secret_value()
    pool = urllib3.PoolManager(
        maxsize=load.connections,
        retries=False,
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=ANSWER_TIMEOUT_SECONDS),
        headers={
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            **({"Authorization": f"Bearer {key}"} if key else {}),
        },
    )
    try:
        status = pool.request("GET", f"{settings.intake_url}/health/live").status
    except urllib3.exceptions.HTTPError:
        status = 0
    if status != 200:
        raise NoIntake(f"the stack is not up: no intake answers at {settings.intake_url}; start it with: make up")
    return pool


def _requests(plan: Day, progress: Progress, batch: int) -> Iterator[list[int]]:
    """Yield the open places of the script in order, split into requests."""
    together: list[int] = []
    for place in np.flatnonzero(progress.verdict == OPEN).tolist():
        if plan.script.is_alone(place):
            yield [place]
            continue
        together.append(place)
        if len(together) == batch:
            yield together
            together = []
    if together:
        yield together


def _send(
    plan: Day,
    pool: urllib3.PoolManager,
    settings: Settings,
    load: Load,
    progress: Progress,
    report: Report | None,
    waits: Waits | None,
) -> Pace:
    sender = _Sender(plan, pool, settings, load, progress)
    requests = list(_requests(plan, progress, load.batch))
    events = sum(map(len, requests))
    with ThreadPoolExecutor(load.connections, thread_name_prefix="player") as threads:
        done = 0
        running = set()
        for places in requests:
            running.add(threads.submit(sender.send, places, done))
            done += len(places)
        try:
            while running:
                try:
                    for one in as_completed(running, SECONDS_BETWEEN_REASONS):
                        running.discard(one)
                        settled = one.result()
                        if report is not None:
                            report(settled, len(plan.script))
                except TimeoutError:
                    if waits is not None and sender.refused_for:
                        waits(sender.refused_for)
        finally:  # on an error or Ctrl-C the other threads end after their current request
            sender.stop.set()
            threads.shutdown(cancel_futures=True)
    answered = np.array(sender.answer_seconds or [0.0])
    return Pace(
        events=events,
        seconds=time.monotonic() - sender.started_at,
        p50_ms=float(np.percentile(answered, 50)) * 1000,
        p99_ms=float(np.percentile(answered, 99)) * 1000,
        behind_seconds=sender.behind_seconds,
    )


class _Sender:
    """Sends requests; used by several threads."""

    def __init__(
        self, plan: Day, pool: urllib3.PoolManager, settings: Settings, load: Load, progress: Progress
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._url = f"{settings.intake_url}/events"
        self._load = load
        self._progress = progress
        self.stop = threading.Event()
        self.started_at = time.monotonic()
        self.answer_seconds: list[float] = []
        self.behind_seconds = 0.0
        self.refused_for = ""
        """Why the latest request must be sent again; empty if it was settled."""

    def send(self, places: list[int], before: int) -> int:
        """Send some places of the script until each is accepted or refused.

        Args:
            places: the places of one request.
            before: how many events are sent before them.

        Returns:
            The total number of settled places.

        Raises:
            DaybookError: some were not acknowledged within :data:`PATIENCE_SECONDS`, or the response is unexpected.
        """
        self._wait_until_due(before)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        pause_seconds = FIRST_PAUSE_SECONDS
        settled = 0
        while places:
            verdicts, reason, retry_after_seconds = self._attempt(places)
            settled = self._progress.settle(verdicts)
            done = {one.place for one in verdicts}
            places = [place for place in places if place not in done]
            self.refused_for = reason if places else ""
            if not places:
                break
            if time.monotonic() > give_up_at or self.stop.wait(max(pause_seconds, retry_after_seconds)):
                raise DaybookError(
                    f"{self._plan.day}: the intake acknowledged nothing for {PATIENCE_SECONDS:.0f} s ({reason}). What "
                    "it accepted is safe. Check the stack (make up) and generate the day again: it continues from here"
                )
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        return settled

    def _wait_until_due(self, before: int) -> None:
        """Delay a request until the rate allows it; falling behind is recorded, but nothing is skipped."""
        if self._load.events_per_second is None:
            return
        ahead = self.started_at + before / self._load.events_per_second - time.monotonic()
        if ahead > 0:
            self.stop.wait(ahead)
        else:
            self.behind_seconds = max(self.behind_seconds, -ahead)

    def _attempt(self, places: Sequence[int]) -> tuple[list[Ack], str, float]:
        """Send one request; return the settled places, the reason for open ones, and the seconds to wait."""
        sent = self._plan.sent(places)
        if isinstance(sent[0], bytes):
            body = sent[0]
        else:
            # a list sent as a single corrupted event would be read as a batch
            alone = len(sent) == 1 and isinstance(sent[0], dict)
            body = json.dumps(sent[0] if alone else sent, separators=(",", ":")).encode()
        started_at = time.monotonic()
        try:
            answer = self._pool.request("POST", self._url, body=body)
        except urllib3.exceptions.HTTPError as error:  # refused, broken or timed out: it is unknown what was accepted
            return [], type(error).__name__, 0.0
        self.answer_seconds.append(time.monotonic() - started_at)
        if answer.status == 401:
            raise BadInput(
                f"the intake at {self._url} rejected the API key; set DAYBOOK_API_KEY to a key that it knows "
                "(`daybook api-key GAME` creates one). No event of this request was accepted"
            )
        if answer.status not in {201, 207, 400, 408, 413, 429, 503}:
            raise DaybookError(f"{self._plan.day}: the intake at {self._url} answered {answer.status}; see its log")
        retry_after_seconds = float(answer.headers.get("Retry-After", 0))
        if answer.status in {408, 429}:
            return [], f"status {answer.status}", retry_after_seconds
        rows = answer.json().get("events")
        if rows is None:  # the body as a whole was refused
            return [Ack(place) for place in places], f"status {answer.status}", 0.0
        verdicts = [
            Ack(places[row["index"]], row.get("partition"), row.get("offset"))
            for row in rows
            if row["status"] in {"accepted", "refused"}
        ]
        return verdicts, f"status {answer.status}", retry_after_seconds
