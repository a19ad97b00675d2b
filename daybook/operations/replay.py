"""``daybook replay``: send rejected records that can be repaired through the intake again, once each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybook.errors import BadInput, DaybookError
from daybook.lake.catalog import load
from daybook.lake.state import who
from daybook.lake.tables import REPLAYED_RECORDS
from daybook.pipeline.rejected import Rejected, id_made_of
from daybook.settings import Settings

if TYPE_CHECKING:
    import urllib3


Coordinates = tuple[int, int, int]
"""Landing, partition and offset of a record."""
Batch = list[tuple[Coordinates, dict[str, Any]]]
"""Events, each with the coordinates of the record that it replaces."""

LONGEST_WAIT_SECONDS = 300
"""The total time that a replay waits when the intake reports that it sends too fast."""
_BATCH = 200
_TIMEOUT_SECONDS = 30.0
_REFUSED_WHOLE = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS}
"""Status codes for a batch that one event of it, or its size, can cause."""


def open_records(settings: Settings, found: list[Rejected]) -> list[Rejected]:
    """Return the records that were not replayed yet."""
    table = load(settings, REPLAYED_RECORDS)
    rows = table.scan().to_arrow().to_pylist() if table is not None else []
    done = {(row["landing"], row["kafka_partition"], row["kafka_offset"]) for row in rows}
    return [one for one in found if one.coordinates not in done]


def repaired_by_hand(file: Path, found: list[Rejected]) -> dict[Coordinates, dict[str, Any]]:
    """Return the events of a ``daybook rejected --json`` file by coordinates, without entries that have no event.

    An event without an id gets one made from its coordinates: the intake would assign a different one each time.

    Raises:
        BadInput: it is not such a file, or names a record that was not rejected.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        events = {
            at: {**row["event"], "event_id": row["event"].get("event_id") or id_made_of(at)}
            for row in rows
            if row["event"]
            for at in [(row["landing"], row["kafka_partition"], row["kafka_offset"])]
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(
            f"{file} does not have the format of `daybook rejected --json` ({error}); nothing was sent"
        ) from None
    if unknown := sorted(events.keys() - {one.coordinates for one in found}):
        raise BadInput(f"{file} names landing/partition/offset {unknown[0]}, which was not rejected; nothing was sent")
    return events


def send_again(settings: Settings, events: dict[Coordinates, dict[str, Any]]) -> tuple[set[date], list[dict[str, Any]]]:
    """Send events through the intake; each accepted one is recorded at once.

    An id is made from the record's coordinates or is the record's own. So an event that was sent but not recorded (a
    kill between the two) may be sent again: it is then a duplicate, and counts once.

    Args:
        settings: where intake and lake are.
        events: by the coordinates of the record that each replaces.

    Returns:
        The days of the accepted events, and what was refused: ``coordinates`` and ``errors``.

    Raises:
        DaybookError: the intake does not answer, or did not take all; what it accepted is recorded. A refused record
            does not raise: it is returned as refused, and the others continue.
    """
    intake = _Intake(settings)
    days: set[date] = set()
    refused: list[dict[str, Any]] = []
    for batch in _batches(events):
        for part, verdicts in intake.verdicts(batch):
            accepted = [(part[one["index"]], one["event_id"]) for one in verdicts if one["status"] == "accepted"]
            _write_down(settings, [(coordinates, event_id) for (coordinates, _), event_id in accepted])
            days |= {_day_of(event) for (_, event), _ in accepted}
            refused += [
                {"coordinates": part[one["index"]][0], "errors": one["errors"]}
                for one in verdicts
                if one["status"] == "refused"
            ]
    return days, refused


class _Intake:
    """Sends batches; one that is refused as a whole is halved, so that one event does not block the others."""

    def __init__(self, settings: Settings) -> None:
        key = settings.api_key.get_secret_value()
        self._settings = settings
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "daybook-replay",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        self._may_wait_seconds = LONGEST_WAIT_SECONDS

    def verdicts(self, batch: Batch) -> Iterator[tuple[Batch, list[dict[str, Any]]]]:
        """Yield the batch, in parts if needed, each with the verdicts on its events.

        Raises:
            DaybookError: the intake does not answer, or did not take all. Accepted parts were yielded before.
        """
        answer = self._post(batch)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            answer = self._post_after_wait(batch, answer)
        payload = _object_of(answer)
        verdicts = payload.get("events")
        if verdicts is not None:
            yield batch, verdicts
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise DaybookError(_stopped(self._settings, "could not reach the broker"))
        elif answer.status not in _REFUSED_WHOLE:
            raise DaybookError(_stopped(self._settings, f"responded with status {answer.status}"))
        elif len(batch) > 1:
            half = len(batch) // 2
            yield from self.verdicts(batch[:half])
            yield from self.verdicts(batch[half:])
        elif answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            yield from self.verdicts(batch)
        else:
            message = payload.get("detail") or f"the intake responded with status {answer.status}"
            errors = payload.get("errors") or [{"field": "event", "message": message}]
            yield batch, [{"index": 0, "status": "refused", "errors": errors}]

    def _post(self, batch: Batch) -> urllib3.BaseHTTPResponse:
        import urllib3

        try:
            return urllib3.request(
                "POST",
                f"{self._settings.intake_url}/events",
                body=json.dumps([event for _, event in batch]).encode(),
                headers=self._headers,
                retries=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except urllib3.exceptions.HTTPError as error:
            raise DaybookError(_stopped(self._settings, f"does not answer ({type(error).__name__})")) from None

    def _post_after_wait(self, batch: Batch, answer: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
        """Send a batch again after the wait that a response asks for."""
        asked = answer.headers.get("Retry-After", "")
        seconds = max(1, int(asked)) if asked.isdecimal() else 1
        self._may_wait_seconds -= seconds
        if self._may_wait_seconds < 0:
            waits = f"asks for waits of more than {LONGEST_WAIT_SECONDS} s in total"
            raise DaybookError(_stopped(self._settings, waits))
        time.sleep(seconds)
        return self._post(batch)


def _object_of(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    try:
        payload = answer.json()
    except ValueError:
        payload = None
    return payload if isinstance(payload, dict) else {}  # a proxy in front of the intake may answer something else


def _stopped(settings: Settings, reason: str) -> str:
    return (
        f"the intake at {settings.intake_url} {reason}; events that it accepted before are recorded and are not sent "
        "again. Check the stack (make up), then repeat the command"
    )


def _batches(events: dict[Coordinates, dict[str, Any]]) -> Iterator[Batch]:
    items = iter(sorted(events.items()))
    while batch := list(islice(items, _BATCH)):
        yield batch


def _day_of(event: dict[str, Any]) -> date:
    occurred_at = event.get("occurred_at")
    moment = datetime.fromisoformat(occurred_at.upper()) if occurred_at else datetime.now(UTC)
    return moment.astimezone(UTC).date()


def _write_down(settings: Settings, accepted: list[tuple[Coordinates, str]]) -> None:
    import pyarrow as pa

    if not accepted:
        return
    table = load(settings, REPLAYED_RECORDS)
    assert table is not None  # created with the table that the rejected records came from
    now, operator = datetime.now(UTC), who()
    rows = [
        {
            "replayed_at": now,
            "replayed_by": operator,
            "landing": landing,
            "kafka_partition": partition,
            "kafka_offset": offset,
            "event_id": event_id,
        }
        for (landing, partition, offset), event_id in accepted
    ]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
