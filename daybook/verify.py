"""``daybook verify``: a published day recounted by a second engine, and held against who sent it and against Kafka."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from daybook.answers import Answer, answers
from daybook.days import parse_day
from daybook.lake_names import EVENTS, RAW_EVENTS, REJECTED_EVENTS
from daybook.settings import Settings, settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as pads
    from duckdb import DuckDBPyConnection

EQUAL, DIFFERENT, NOT_COMPARED = "equal", "DIFFERENT", "not compared"
CLOSE = 1e-12
"""Relative difference of two shares that are the same: two engines need not round the last digit alike."""
FETCHED_ROWS = 10_000


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at."""

    verdict: str
    """``equal``, ``DIFFERENT`` or ``not compared``."""
    line: str
    """What was held against what, in words."""


def verify_day(settings: Settings, day: str) -> Iterator[Verdict]:
    """Hold a day's page, as published, against everything that can be asked besides Spark; one verdict at a time.

    In this order: the ledger's counts against the rows in the files, by DuckDB; every answer, computed anew by DuckDB
    from the day's events; the generator's plays, where there are any; Kafka's records, byte by byte, as far as Kafka
    still has them.

    Raises:
        BadInput: the day is not published.
    """
    from daybook.duckdb_lake import connect, published_rows, table_rows
    from daybook.lake import latest_pages, page_of

    page = page_of(settings, day).to_dict()
    of_day = latest_pages(settings).query("event_date == @page['event_date']")
    with connect() as connection:
        tables = {name: published_rows(settings, name, of_day) for name in (EVENTS, REJECTED_EVENTS)}
        raw = table_rows(settings, RAW_EVENTS)
        for name, rows in {**tables, RAW_EVENTS: raw}.items():
            connection.register(name, rows)
        values = {"day": parse_day(day), "landing": page["landing"]}
        raw_count = _one(connection, f"SELECT COUNT(*) FROM {_RAW_OF_PAGE}", values)
        raw_is_gone = raw_count == 0 and page["landed"] > 0
        yield from _counts(connection, page, raw_count, raw_is_gone, values)
        for answer in answers().values():
            yield _recounted(connection, settings, answer, of_day)
        yield from _generated(connection, settings, parse_day(day), of_day)
        if raw_is_gone:
            yield Verdict(NOT_COMPARED, "Kafka: the day's raw records were removed by retention")
        else:
            yield from _kafka(connection, settings, raw, parse_day(day), values)


_RAW_OF_PAGE = f"{RAW_EVENTS} WHERE event_date = $day AND landing <= $landing"
"""The raw records that the page was built from; later ones are the next revision's."""


def _one(connection: DuckDBPyConnection, sql: str, values: dict[str, Any]) -> int:
    [[count]] = connection.execute(sql, {name: one for name, one in values.items() if f"${name}" in sql}).fetchall()
    return int(count)


def _counts(
    connection: DuckDBPyConnection, page: dict[str, Any], raw_count: int, raw_is_gone: bool, values: dict[str, Any]
) -> Iterator[Verdict]:
    """The ledger's counts against the rows in the files."""
    events = _one(connection, f"SELECT COUNT(*) FROM {EVENTS}", {})
    ids = _one(connection, f"SELECT COUNT(DISTINCT event_id) FROM {EVENTS}", {})
    rejected = _one(connection, f"SELECT COUNT(*) FROM {REJECTED_EVENTS}", {})
    yield _held("events in the ledger", page["events"], "rows of events", events)
    yield _held("rows of events", events, "distinct event ids", ids)
    yield _held("rejected in the ledger", page["rejected"], "rows of rejected_events", rejected)
    if raw_is_gone:
        yield Verdict(NOT_COMPARED, "raw records of the day: removed by retention")
        return
    yield _held("landed in the ledger", page["landed"], "raw records of the day", raw_count)
    duplicates = page["duplicates"]
    yield _held("raw records of the day", raw_count, "events + duplicates + rejected", events + duplicates + rejected)
    found = _one(
        connection,
        f"SELECT COUNT(*) FROM {EVENTS} SEMI JOIN (SELECT * FROM {_RAW_OF_PAGE}) AS raw "
        "USING (landing, kafka_partition, kafka_offset, event_id)",
        values,
    )
    yield _held("rows of events", events, "of them found in raw_events by coordinates and id", found)


def _held(left: str, left_count: int, right: str, right_count: int) -> Verdict:
    same = left_count == right_count
    return Verdict(EQUAL if same else DIFFERENT, f"{left} {left_count:,}, {right} {right_count:,}")


def _recounted(connection: DuckDBPyConnection, settings: Settings, answer: Answer, of_day: pd.DataFrame) -> Verdict:
    """An answer computed anew from the day's events, against its rows as published."""
    from daybook.across import sorted_rows
    from daybook.duckdb_lake import fetch, in_duckdb, published_rows

    day = of_day["event_date"].iloc[0]
    if answer.name not in of_day["snapshots"].iloc[0] and of_day["events"].iloc[0]:
        return Verdict(NOT_COMPARED, f"{answer.name}: the page is older than this answer")
    rows = published_rows(settings, answer.name, of_day)
    published = []
    if rows is not None:
        connection.register("published", rows)
        published = fetch(connection, "SELECT * FROM published")
    again = sorted_rows(connection, answer, in_duckdb(answer.statement), {"first_day": day, "last_day": day})
    return _compared(answer, published, again, f"{answer.name}: {len(published):,} rows, recounted by DuckDB")


def _compared(answer: Answer, left: list[dict[str, Any]], right: list[dict[str, Any]], line: str) -> Verdict:
    """Two sets of rows of an answer; names the first row and column that differ."""

    def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[name] for name in answer.key): row for row in rows}

    said, counted = by_key(left), by_key(right)
    for key in sorted(said.keys() | counted.keys(), key=str):
        where = " ".join(f"{name}={value}" for name, value in zip(answer.key, key, strict=True)) or "the row"
        if key not in said or key not in counted:
            side = "is not published" if key not in said else "is published and should not be there"
            return Verdict(DIFFERENT, f"{line}: {where} {side}")
        for column in answer.columns:
            one, other = said[key][column], counted[key][column]
            if not _same(one, other):
                return Verdict(DIFFERENT, f"{line}: {where}: {column} is published as {one}, recounted as {other}")
    if len(left) != len(said):
        return Verdict(DIFFERENT, f"{line}: {len(left) - len(said)} rows have the key of another one")
    return Verdict(EQUAL, line)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=CLOSE)
    return bool(one == other)


def _generated(
    connection: DuckDBPyConnection, settings: Settings, day: date, of_day: pd.DataFrame
) -> Iterator[Verdict]:
    """The day's events and answers against what the generator sent and was acknowledged for."""
    from daybook.duckdb_lake import fetch, published_rows
    from daybook.erasure import erasures
    from event_generator.generated import generated_on

    generated = generated_on(settings, day)
    if generated is None:
        yield Verdict(NOT_COMPARED, "generator: it has no manifest of the day")
        return
    landed = {row[0] for row in connection.execute(f"SELECT event_id FROM {EVENTS}").fetchall()}
    missing = generated.ids - landed
    erased = missing & {one for row in erasures(settings) for one in row["event_ids"]}
    others = len(landed - generated.ids)
    plays = ", ".join(map(str, generated.plays))
    found = len(generated.ids & landed)
    line = f"generator (plays of {plays}): {len(generated.ids):,} acknowledged ids, {found:,} in events"
    yield Verdict(EQUAL if missing == erased else DIFFERENT, line + (f", {len(erased):,} erased" if erased else ""))
    if erased or others:
        why = f"{len(erased):,} were erased" if erased else f"{others:,} events of the day are not the generator's"
        yield Verdict(NOT_COMPARED, f"generator's answers: {why}")
        return
    for name, answer in answers().items():
        if name not in generated.expected:
            continue
        rows = published_rows(settings, name, of_day)
        published = []
        if rows is not None:
            connection.register("published", rows)
            published = fetch(connection, "SELECT * FROM published")
        line = f"{name}: {len(published):,} rows, as the generator meant them"
        yield _compared(answer, published, generated.expected[name], line)


def _kafka(
    connection: DuckDBPyConnection, settings: Settings, raw: pads.Dataset, day: date, values: dict[str, Any]
) -> Iterator[Verdict]:
    """The day's raw records against Kafka's, byte by byte, as far as Kafka has them."""
    from daybook.errors import DaybookError
    from daybook.kafka_offsets import topic_state
    from daybook.lake import load
    from daybook.position import accepted_losses, position

    try:
        topic = topic_state(settings)
    except DaybookError as error:
        yield Verdict(NOT_COMPARED, f"Kafka: {str(error).partition(';')[0]}")
        return
    last_loss = max((row["landing"] for row in accepted_losses(settings)), default=0)
    landed_topic = position(settings, load(settings, RAW_EVENTS)).topic_id
    parts = connection.execute(
        f"SELECT landing, kafka_partition, MIN(kafka_offset), MAX(kafka_offset) FROM {_RAW_OF_PAGE} "
        "GROUP BY ALL ORDER BY ALL",
        values,
    ).fetchall()
    for landing, partition, first, last in parts:
        where = f"Kafka, landing {landing}, partition {partition}, offsets {first} to {last}"
        if landed_topic not in (None, topic.topic_id) or landing <= last_loss:
            yield Verdict(NOT_COMPARED, f"{where}: landed before the topic was made anew, or a loss was accepted")
        elif topic.first.get(partition, first + 1) > first:
            yield Verdict(NOT_COMPARED, f"{where}: Kafka no longer has all of them")
        else:
            yield as_in_kafka(settings, raw, day, (landing, partition, first, last), where)


def as_in_kafka(
    settings: Settings, raw: pads.Dataset, day: date, part: tuple[int, int, int, int], where: str
) -> Verdict:
    """The day's raw records of one landing and partition against Kafka's, which still has all of them.

    Args:
        settings: where Kafka is.
        raw: ``raw_events``.
        day: the day.
        part: landing, partition, first and last offset.
        where: the same in words.
    """
    from daybook.contract import event_date
    from daybook.kafka_offsets import committed

    landing, partition, first, last = part
    landed = _raw_records(raw, day, landing, partition)
    awaited = next(landed, None)
    same = erased = 0
    for message in committed(settings, partition, first, last + 1):
        offset, value = message.offset(), message.value()
        if awaited is not None and offset == awaited[0]:
            if value != awaited[1]:
                return Verdict(DIFFERENT, f"{where}: offset {offset} holds other bytes than raw_events")
            same += 1
            awaited = next(landed, None)
            continue
        taken_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        if event_date(value, taken_at, settings.future_tolerance_minutes) == day:
            if not _is_erased(settings, value):
                return Verdict(DIFFERENT, f"{where}: offset {offset} is of the day and not in raw_events")
            erased += 1
    if awaited is not None:
        return Verdict(DIFFERENT, f"{where}: offset {awaited[0]} is in raw_events and not in Kafka")
    return Verdict(
        EQUAL, f"{where}: {same:,} records of the day, byte by byte" + (f", {erased} erased" if erased else "")
    )


def _raw_records(raw: pads.Dataset, day: date, landing: int, partition: int) -> Iterator[tuple[int, bytes | None]]:
    """Offset and bytes of the day's raw records of one landing and partition, in their order."""
    from daybook.duckdb_lake import connect

    with connect() as connection:  # of its own: one that gives rows bit by bit can do nothing else meanwhile
        connection.register(RAW_EVENTS, raw)
        found = connection.execute(
            f"SELECT kafka_offset, value FROM {RAW_EVENTS} WHERE event_date = $day AND landing = $landing "
            "AND kafka_partition = $partition ORDER BY kafka_offset",
            {"day": day, "landing": landing, "partition": partition},
        )
        while rows := found.fetchmany(FETCHED_ROWS):
            yield from rows


def _is_erased(settings: Settings, value: bytes | None) -> bool:
    from daybook.erasure import erasures

    said = json.loads(value or b"{}").get("event_id")
    return any(said in row["event_ids"] for row in erasures(settings))


@click.command(short_help="Recount a published day by a second engine.")
@click.option("--day", "days", required=True, multiple=True, help="The day, YYYY-MM-DD, UTC; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object for each line.")
def verify(days: tuple[str, ...], as_json: bool) -> None:
    """Recount a day's page by DuckDB, and hold it against the generator's plays and Kafka where they have it.

    Prints each line; stops at the first difference and exits with 1. Nothing is changed.
    """
    loaded = settings()
    told = []
    for day in days:
        counts = {EQUAL: 0, DIFFERENT: 0, NOT_COMPARED: 0}
        for found in verify_day(loaded, day):
            counts[found.verdict] += 1
            told.append({"day": day, **asdict(found)})
            if not as_json:
                click.echo(f"{day}  {found.verdict:<12}  {found.line}")
            if found.verdict == DIFFERENT:
                break
        if counts[DIFFERENT]:
            break
        if not as_json:
            click.echo(f"{day}  {counts[EQUAL]} lines equal, {counts[NOT_COMPARED]} not compared")
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    if counts[DIFFERENT]:
        click.echo(
            f"daybook: {day} does not come to what is published: {told[-1]['line']}. The page stands as it is; "
            f"`daybook rebuild --from {day} --to {day} --dry-run` says what building it anew would change",
            err=True,
        )
        sys.exit(1)
