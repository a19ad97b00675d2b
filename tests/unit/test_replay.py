"""A replay when the intake does not accept a batch; a server with preset answers replaces the intake."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daybook.cli import corrections
from daybook.errors import DaybookError
from daybook.lake.tables import REPLAYED_RECORDS
from daybook.operations.replay import Coordinates, send_again
from daybook.settings import Settings
from tests.unit.small_lake import SmallLake
from tests.unit.test_rejected import EVENT, a_record

Answer = tuple[int, dict[str, str], Any]
Respond = Callable[[list[dict[str, Any]]], Answer]


class Intake:
    """Answers each request as configured, and stores the bodies."""

    def __init__(self) -> None:
        self.respond: Respond = self.takes
        self.bodies: list[list[dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(json.loads(raw))
                status, headers, body = outer.respond(outer.bodies[-1])
                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def takes(self, body: list[dict[str, Any]]) -> Answer:
        events = [{"index": at, "status": "accepted", "event_id": one["event_id"]} for at, one in enumerate(body)]
        return 201, {}, {"events": events}

    @property
    def accepted(self) -> list[str]:
        """The ids in the last bodies that were accepted completely."""
        return [one["event_id"] for body in self.bodies if self.respond(body)[0] == 201 for one in body]


@pytest.fixture
def intake(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    SmallLake(own_settings).table(REPLAYED_RECORDS)
    one = Intake()
    thread = threading.Thread(target=one.server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(Settings, "intake_url", f"http://127.0.0.1:{one.server.server_port}")
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr("daybook.operations.replay.time.sleep", seconds.append)
    return seconds


def events_of(number: int) -> dict[Coordinates, dict[str, Any]]:
    return {(1, 0, at): {**EVENT, "event_id": str(at)} for at in range(number)}


def written(settings: Settings) -> list[int]:
    from daybook.lake.catalog import load

    table = load(settings, REPLAYED_RECORDS)
    assert table is not None
    return sorted(row["kafka_offset"] for row in table.scan().to_arrow().to_pylist())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, {"detail": "body is over 1048576 bytes"}),
        (400, {"detail": "body holds NaN", "errors": [{"field": "body", "message": "holds NaN"}]}),
        (413, "a proxy's own words"),
        (400, ["no object"]),
    ],
)
def test_one_odd_record_does_not_stop_the_others(
    own_settings: Settings, intake: Intake, status: int, body: Any
) -> None:
    intake.respond = lambda sent: (
        (status, {}, body) if any(one["event_id"] == "5" for one in sent) else intake.takes(sent)
    )
    days, refused = send_again(own_settings, events_of(9))
    assert days == {date(2026, 5, 3)}
    assert [one["coordinates"] for one in refused] == [(1, 0, 5)]
    [error] = refused[0]["errors"]
    known = body if isinstance(body, dict) else {}
    assert error["message"] == (
        known["errors"][0]["message"]
        if "errors" in known
        else known.get("detail", f"the intake responded with status {status}")
    )
    assert written(own_settings) == [0, 1, 2, 3, 4, 6, 7, 8]


def test_events_that_are_too_large_together_go_apart(own_settings: Settings, intake: Intake) -> None:
    intake.respond = lambda sent: (413, {}, {}) if len(sent) > 1 else intake.takes(sent)
    _, refused = send_again(own_settings, events_of(5))
    assert refused == []
    assert sorted(intake.accepted) == ["0", "1", "2", "3", "4"]
    assert written(own_settings) == [0, 1, 2, 3, 4]


def test_a_replay_waits_as_long_as_it_is_asked_to(own_settings: Settings, intake: Intake, slept: list[float]) -> None:
    intake.respond = lambda sent: intake.takes(sent) if slept else (429, {"Retry-After": "7"}, {})
    _, refused = send_again(own_settings, events_of(3))
    assert (slept, refused, written(own_settings)) == ([7], [], [0, 1, 2])


@pytest.mark.parametrize("asked", ["0", "", "soon", "4"])
def test_a_replay_does_not_wait_for_ever(
    own_settings: Settings, intake: Intake, slept: list[float], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr("daybook.operations.replay.LONGEST_WAIT_SECONDS", 9)
    intake.respond = lambda sent: (429, {"Retry-After": asked}, {})
    with pytest.raises(
        DaybookError, match="asks for waits of more than 9 s in total; events that it accepted before are"
    ):
        send_again(own_settings, events_of(3))
    assert 9 - 4 < sum(slept) <= 9
    assert written(own_settings) == []


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_error_not_caused_by_a_record_stops_the_replay(own_settings: Settings, intake: Intake, status: int) -> None:
    intake.respond = lambda sent: (status, {}, {})
    with pytest.raises(
        DaybookError, match=f"responded with status {status}; events that it accepted before are recorded"
    ):
        send_again(own_settings, events_of(3))
    assert len(intake.bodies) == 1


@pytest.mark.parametrize(("asked", "sent"), [([], ["no_event_id"]), (["--reason", "conflict"], ["conflict"])])
@pytest.mark.parametrize("is_by_hand", [False, True])
def test_a_conflict_is_replayed_only_if_it_is_asked_for(
    own_settings: Settings,
    intake: Intake,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: list[str],
    sent: list[str],
    is_by_hand: bool,
) -> None:
    """Both records of a conflict may be the same event; with a new id, the second would be counted again."""
    found = [a_record(json.dumps(EVENT).encode(), reason, at) for at, reason in enumerate(("conflict", "no_event_id"))]
    monkeypatch.setattr(
        corrections,
        "rejected_records",
        lambda _settings, _day, reason: [one for one in found if reason in (None, one.reason)],
    )
    file = tmp_path / "repaired.json"
    file.write_text(json.dumps([one.as_json() for one in found if not asked or one.reason == "conflict"]))
    by_hand = ["--repaired", str(file)] if is_by_hand else []
    done = CliRunner().invoke(corrections.replay, ["--day", "2026-05-03", "--no-run", *asked, *by_hand])
    assert done.exit_code == 0, done.output
    assert written(own_settings) == [at for at, one in enumerate(found) if one.reason in sent]
    assert ("not sent; `--reason conflict` sends them" in done.output) == (not asked)
