"""Hostile requests over raw sockets: each is refused or cut, and the intake continues as before."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest

from daybook.settings import Settings
from tests.faults.clients import workers
from tests.faults.hostile_corpus import MARKUP, Case, Fate, corpus, post
from tests.figures import Figures
from tests.integration.own_broker import OwnBroker, OwnIntake, record_ids

pytestmark = [pytest.mark.integration, pytest.mark.long]

SEED = 20_191_204
CONNECTIONS = 8


@dataclass(frozen=True)
class Outcome:
    """The answers to a case."""

    case: Case
    raw: bytes
    answers: list[tuple[int, bytes]]
    """Status and body of each answer on the connection, in order."""

    @property
    def accepted(self) -> set[str]:
        """The ids that the answers accept; the case's own ids if an answer is a line of text."""
        ids: set[str] = set()
        for status, body in self.answers:
            if not 200 <= status < 300:
                continue
            if body.startswith(b"{"):
                rows = json.loads(body)["events"]
                ids |= {row["event_id"] for row in rows if row["status"] == "accepted"}
            else:
                ids |= set(self.case.ids)
        return ids

    @property
    def wrong(self) -> str | None:
        """The broken promise, or None."""
        statuses = [status for status, _ in self.answers]
        refused = all(400 <= status < 500 for status in statuses)
        right = {
            Fate.TAKEN: len(statuses) == 1 and 200 <= statuses[0] < 300 and self.accepted == set(self.case.ids),
            Fate.REFUSED: bool(statuses) and refused,
            Fate.CUT: refused,
            Fate.EITHER: all(200 <= status < 300 or 400 <= status < 500 for status in statuses),
        }[self.case.fate]
        return None if right else f"{self.case.name}: {self.case.fate.name}, but {statuses} {self.raw[:300]!r}"


def ask(settings: Settings, case: Case) -> Outcome:
    """Send the case's bytes, then read to the end."""
    raw = b""
    with socket.create_connection(("127.0.0.1", settings.api_port), timeout=30) as connection:
        with suppress(OSError):  # refused before its end: there may still be an answer
            connection.sendall(case.wire)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # cut: what arrived before counts
            while part := connection.recv(65_536):
                raw += part
    return Outcome(case, raw, list(_answers(raw)))


def _answers(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        assert status, f"no HTTP: {raw[:200]!r}"
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        end = int(length[1]) if length else len(rest)
        if int(status[1]) >= 200:  # 100 Continue is not the final answer
            yield int(status[1]), rest[:end]
        raw = rest[end:]


@pytest.fixture(scope="module")
def pids(intake: OwnIntake) -> list[int]:
    """The workers' process ids before the first case."""
    return [worker.pid for worker in workers(intake)]


@pytest.fixture(scope="module")
def outcomes(settings: Settings, intake: OwnIntake, pids: list[int]) -> list[Outcome]:
    """Send the whole corpus once."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return list(threads.map(lambda case: ask(settings, case), corpus(SEED)))


def test_every_answer_is_as_documented(outcomes: list[Outcome], figures: Figures) -> None:
    statuses = Counter(status for outcome in outcomes for status, _ in outcome.answers)
    silent = sum(not outcome.answers for outcome in outcomes)
    figures(
        {
            "cases": len(outcomes),
            **{str(status): statuses[status] for status in sorted(statuses)},
            "cut without an answer": silent,
        }
    )
    assert len(outcomes) >= 500
    wrong = [outcome.wrong for outcome in outcomes if outcome.wrong]
    assert not wrong, f"{len(wrong)} of {len(outcomes)}:\n" + "\n".join(wrong)


def test_exactly_what_was_called_accepted_is_in_kafka(settings: Settings, outcomes: list[Outcome]) -> None:
    accepted = [event_id for outcome in outcomes for event_id in outcome.accepted]
    assert Counter(record_ids(settings)) == Counter(accepted)


def test_no_markup_comes_back_or_into_the_log(outcomes: list[Outcome], intake: OwnIntake) -> None:
    echoed = [outcome.case.name for outcome in outcomes if b"<script" in outcome.raw.lower()]
    assert echoed == []
    assert "<script" not in intake.log.read_text().lower()


def test_the_log_has_no_defect_in_it(outcomes: list[Outcome], intake: OwnIntake) -> None:
    lines = [json.loads(line) for line in intake.log.read_text().splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical") or "exception" in line] == []


def test_the_same_workers_take_events_afterwards(
    settings: Settings, broker: OwnBroker, intake: OwnIntake, outcomes: list[Outcome], pids: list[int]
) -> None:
    assert [worker.pid for worker in workers(intake)] == pids
    good = {"event_type": "purchase_item", "item": "sword", "user_id": MARKUP, "host": "user1.att.com"}
    for _ in range(2 * CONNECTIONS):
        assert [status for status, _ in ask(settings, Case("good", post(good), Fate.TAKEN)).answers] == [201]
