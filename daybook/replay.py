"""``daybook replay``: rejected records that can be repaired go through the intake again, once each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from daybook.errors import BadInput, DaybookError
from daybook.lake_names import REPLAYED_RECORDS
from daybook.rejected import Rejected, chosen_day, id_made_of, rejected_records
from daybook.settings import Settings, settings
from daybook.state import who
from daybook.terminal import rich_console

REPLAYED_SCHEMA = """
    replayed_at TIMESTAMP COMMENT 'UTC', replayed_by STRING COMMENT 'user name of the operator',
    landing BIGINT, kafka_partition INT, kafka_offset BIGINT,
    event_id STRING COMMENT 'the id that the record was accepted with'
"""
"""Columns of ``replayed_records``: one row for each rejected record that the intake has accepted since."""

_BATCH = 200
_TIMEOUT_SECONDS = 30.0


def open_records(settings: Settings, found: list[Rejected]) -> list[Rejected]:
    """Those that were not replayed yet."""
    from daybook.lake import load

    table = load(settings, REPLAYED_RECORDS)
    rows = table.scan().to_arrow().to_pylist() if table is not None else []
    done = {(row["landing"], row["kafka_partition"], row["kafka_offset"]) for row in rows}
    return [one for one in found if one.coordinates not in done]


def repaired_by_hand(file: Path, found: list[Rejected]) -> dict[tuple[int, int, int], dict[str, Any]]:
    """The events of a file as ``daybook rejected --json`` writes it, by coordinates; those without one are left out.

    An event without an id gets the one made of its coordinates: the intake would give it another each time.

    Raises:
        BadInput: it is no such file, or names a record that was not rejected.
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
        raise BadInput(f"{file} is not what `daybook rejected --json` writes ({error}); nothing was sent") from None
    if unknown := sorted(events.keys() - {one.coordinates for one in found}):
        raise BadInput(f"{file} names landing/partition/offset {unknown[0]}, which is not rejected; nothing was sent")
    return events


def send_again(
    settings: Settings, events: dict[tuple[int, int, int], dict[str, Any]]
) -> tuple[set[date], list[dict[str, Any]]]:
    """Send events through the intake; each that it accepts is written down at once.

    An id is made from the record's coordinates or is the record's own, so what was sent and not written down (a kill
    between the two) may be sent again: it is a duplicate then, and counts once.

    Args:
        settings: where intake and lake are.
        events: by the coordinates of the record that each replaces.

    Returns:
        The days of what was accepted, and what was refused: ``coordinates`` and ``errors``.

    Raises:
        DaybookError: the intake does not answer, or did not take all; what it accepted is written down.
    """
    import urllib3

    key = settings.api_key.get_secret_value()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "daybook-replay",
        **({"Authorization": f"Bearer {key}"} if key else {}),
    }
    days: set[date] = set()
    refused: list[dict[str, Any]] = []
    for batch in _batches(events):
        body = json.dumps([event for _, event in batch]).encode()
        try:
            answer = urllib3.request(
                "POST",
                f"{settings.intake_url}/events",
                body=body,
                headers=headers,
                retries=False,
                timeout=_TIMEOUT_SECONDS,
            )
            verdicts = answer.json().get("events") if answer.status in {201, 207, 400, 503} else None
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise DaybookError(_stopped(settings, f"does not answer ({type(error).__name__})")) from None
        if verdicts is None:
            raise DaybookError(_stopped(settings, f"answered {answer.status}"))
        accepted = [(batch[one["index"]], one["event_id"]) for one in verdicts if one["status"] == "accepted"]
        _write_down(settings, [(coordinates, event_id) for (coordinates, _), event_id in accepted])
        days |= {_day_of(event) for (_, event), _ in accepted}
        refused += [
            {"coordinates": batch[one["index"]][0], "errors": one["errors"]}
            for one in verdicts
            if one["status"] == "refused"
        ]
        if answer.status == 503:
            raise DaybookError(_stopped(settings, "could not reach the broker"))
    return days, refused


def _stopped(settings: Settings, reason: str) -> str:
    return (
        f"the intake at {settings.intake_url} {reason}; what it accepted before is written down and is not sent again. "
        "See to the stack (make up), then repeat"
    )


def _batches(
    events: dict[tuple[int, int, int], dict[str, Any]],
) -> Iterator[list[tuple[tuple[int, int, int], dict[str, Any]]]]:
    items = iter(sorted(events.items()))
    while batch := list(islice(items, _BATCH)):
        yield batch


def _day_of(event: dict[str, Any]) -> date:
    told = event.get("occurred_at")
    moment = datetime.fromisoformat(told) if told else datetime.now(UTC)
    return moment.astimezone(UTC).date()


def _write_down(settings: Settings, accepted: list[tuple[tuple[int, int, int], str]]) -> None:
    import pyarrow as pa

    from daybook.lake import load

    if not accepted:
        return
    table = load(settings, REPLAYED_RECORDS)
    assert table is not None  # made with the table that the rejected records came from
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


@click.command(short_help="Send rejected records that can be repaired again.")
@click.option("--day", help="The day, YYYY-MM-DD, UTC.")
@click.option("--no-day", is_flag=True, help="The records that name no day.")
@click.option("--reason", help="Only those with this reason code.")
@click.option(
    "--repaired",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Events repaired by hand: the output of `daybook rejected --json` with its `event` fields changed.",
)
@click.option("--no-run", is_flag=True, help="Only send; the next run restates the day.")
def replay(day: str | None, no_day: bool, reason: str | None, repaired: Path | None, no_run: bool) -> None:
    """Send rejected records through the intake again, each once, and restate the days they happened on.

    A record without an id, or with another event's, gets one of its own; one without a possible time gets the time at
    which Kafka took it. The record itself stays in rejected_events. Safe to repeat: nothing accepted is sent again.
    """
    loaded = settings()
    found = rejected_records(loaded, chosen_day(day, no_day), reason)
    waiting = open_records(loaded, found)
    if repaired is not None:
        by_hand = repaired_by_hand(repaired, found)
        events = {one.coordinates: by_hand[one.coordinates] for one in waiting if one.coordinates in by_hand}
    else:
        events = {one.coordinates: event for one in waiting if (event := one.repaired()) is not None}
    left = Counter(one.reason for one in waiting if one.coordinates not in events)
    days, refused = send_again(loaded, events) if events else (set(), [])
    click.echo(
        f"{len(found)} rejected, {len(found) - len(waiting)} replayed before, "
        f"{len(events) - len(refused)} accepted now, "
        f"{len(refused) + sum(left.values())} need a repair by hand"
    )
    for one in refused:
        said = "; ".join(f"{error['field']} {error['message']}" for error in one["errors"])
        landing, partition, offset = one["coordinates"]
        click.echo(f"  landing {landing}, partition {partition}, offset {offset}: {said}")
    for name, count in left.most_common():
        click.echo(f"  {name}: {count} cannot be read as an event")
    if days and not no_run:
        _restate(loaded, days)


def _restate(loaded: Settings, days: set[date]) -> None:
    from daybook.runs import DAG, follow
    from daybook.stack import airflow

    first = min(days).isoformat()
    # a run restates its own day and every later one that has a page and new records
    conf = {"day": first, "events": 0}
    run_id = f"replay__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    client = airflow.api(loaded)
    try:
        client.call("POST", f"/dags/{DAG}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})
        client.call("PATCH", f"/dags/{DAG}?update_mask=is_paused", {"is_paused": False})
    except DaybookError as error:
        raise DaybookError(
            f"accepted, and not restated yet: {error}. The next run restates the day, or now: "
            f"airflow dags trigger {DAG} -c '{json.dumps(conf)}'"
        ) from None
    steps = follow(client, run_id, rich_console(soft_wrap=True))
    if any(step["state"] not in {"success", "skipped"} for step in steps):
        raise DaybookError(
            f"accepted, and not restated: run {run_id} failed; readers see what they saw. "
            f"{loaded.airflow_url}/dags/{DAG}/runs/{run_id} shows the run"
        )
