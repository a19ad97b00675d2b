"""``daybook verify``: a published day recounted by a second engine, and held against who sent it and against Kafka."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from daybook.answers import Answer, answers, answers_version
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
    pages = latest_pages(settings)
    with connect() as connection:
        verifying = _Verifying(settings, page, pages[pages["event_date"] == page["event_date"]], connection)
        for name in (EVENTS, REJECTED_EVENTS):
            connection.register(name, published_rows(settings, name, verifying.of_day))
        raw = table_rows(settings, RAW_EVENTS)
        connection.register(RAW_EVENTS, raw)
        yield from verifying.counts()
        for answer in answers().values():
            yield verifying.recounted(answer)
        yield from verifying.generated()
        yield from verifying.kafka(raw)


_RAW_OF_PAGE = f"{RAW_EVENTS} WHERE event_date = $day AND landing <= $landing"
"""The raw records that the page was built from; later ones are the next revision's."""


@dataclass(frozen=True)
class _Verifying:
    """A day that is being verified, its tables registered with a connection of its own."""

    settings: Settings
    page: dict[str, Any]
    """The ledger row of its newest revision."""
    of_day: pd.DataFrame
    """The same as a frame of one row."""
    connection: DuckDBPyConnection

    @property
    def day(self) -> date:
        day: date = self.page["event_date"]
        return day

    @property
    def page_values(self) -> dict[str, Any]:
        return {"day": self.day, "landing": self.page["landing"]}

    @cached_property
    def raw_records(self) -> int:
        """Raw records that the page was built from and that are still there."""
        return self.count(f"SELECT COUNT(*) FROM {_RAW_OF_PAGE}", self.page_values)

    @property
    def raw_is_gone(self) -> bool:
        """Whether retention has removed them."""
        return self.raw_records == 0 and self.page["landed"] > 0

    def count(self, sql: str, values: dict[str, Any] | None = None) -> int:
        [[count]] = self.connection.execute(sql, values or {}).fetchall()
        return int(count)

    def published(self, name: str) -> list[dict[str, Any]]:
        """The rows of an answer as published."""
        from daybook.duckdb_lake import fetch, published_rows

        rows = published_rows(self.settings, name, self.of_day)
        if rows is None:
            return []
        self.connection.register("published", rows)
        return fetch(self.connection, "SELECT * FROM published")

    def counts(self) -> Iterator[Verdict]:
        """The ledger's counts against the rows in the files."""
        page = self.page
        events = self.count(f"SELECT COUNT(*) FROM {EVENTS}")
        ids = self.count(f"SELECT COUNT(DISTINCT event_id) FROM {EVENTS}")
        rejected = self.count(f"SELECT COUNT(*) FROM {REJECTED_EVENTS}")
        yield _held("events in the ledger", page["events"], "rows of events", events)
        yield _held("rows of events", events, "distinct event ids", ids)
        yield _held("rejected in the ledger", page["rejected"], "rows of rejected_events", rejected)
        if self.raw_is_gone:
            yield Verdict(NOT_COMPARED, "raw records of the day: removed by retention")
            return
        yield _held("landed in the ledger", page["landed"], "raw records of the day", self.raw_records)
        parts = events + page["duplicates"] + rejected
        yield _held("raw records of the day", self.raw_records, "events + duplicates + rejected", parts)
        found = self.count(
            f"SELECT COUNT(*) FROM {EVENTS} SEMI JOIN (SELECT * FROM {_RAW_OF_PAGE}) AS raw "
            "USING (landing, kafka_partition, kafka_offset, event_id)",
            self.page_values,
        )
        yield _held("rows of events", events, "of them found in raw_events by coordinates and id", found)

    def recounted(self, answer: Answer) -> Verdict:
        """An answer computed anew from the day's events, against its rows as published."""
        from daybook.across import sorted_rows
        from daybook.duckdb_lake import in_duckdb

        if answer.name not in self.page["snapshots"] and self.page["events"]:
            return Verdict(NOT_COMPARED, f"{answer.name}: the page is older than this answer")
        rows = self.published(answer.name)
        days = {"first_day": self.day, "last_day": self.day}
        again = sorted_rows(self.connection, answer, in_duckdb(answer.statement), days)
        return self.compared(answer, rows, again, f"{answer.name}: {len(rows):,} rows, recounted by DuckDB")

    def compared(
        self, answer: Answer, published: list[dict[str, Any]], other: list[dict[str, Any]], line: str
    ) -> Verdict:
        """Rows as published against others; a difference is none of the page's if it was built by other SQL."""
        found = _compared(answer, published, other, line)
        if found.verdict == DIFFERENT and self.page["answers_version"] != answers_version():
            return Verdict(
                NOT_COMPARED, f"{found.line}; the page was built by other SQL, `daybook rebuild` applies this"
            )
        return found

    def generated(self) -> Iterator[Verdict]:
        """The day's events and answers against what the generator sent and was acknowledged for."""
        from daybook.erasure import erasures
        from event_generator.generated import generated_on

        generated = generated_on(self.settings, self.day)
        if generated is None:
            yield Verdict(NOT_COMPARED, "generator: it has no manifest of the day")
            return
        events = {row[0] for row in self.connection.execute(f"SELECT event_id FROM {EVENTS}").fetchall()}
        missing = generated.ids - events
        erased = missing & {one for row in erasures(self.settings) for one in row["event_ids"]}
        others = len(events - generated.ids)
        plays = ", ".join(map(str, generated.plays))
        found = len(generated.ids & events)
        line = f"generator (plays of {plays}): {len(generated.ids):,} acknowledged ids, {found:,} in events"
        yield Verdict(EQUAL if missing == erased else DIFFERENT, line + (f", {len(erased):,} erased" if erased else ""))
        if erased or others:
            why = f"{len(erased):,} were erased" if erased else f"{others:,} events of the day are not the generator's"
            yield Verdict(NOT_COMPARED, f"generator's answers: {why}")
            return
        for name, answer in answers().items():
            if name in generated.expected and (name in self.page["snapshots"] or not self.page["events"]):
                rows = self.published(name)
                line = f"{name}: {len(rows):,} rows, as the generator meant them"
                yield self.compared(answer, rows, generated.expected[name], line)

    def kafka(self, raw: pads.Dataset) -> Iterator[Verdict]:
        """The day's raw records against Kafka's, byte by byte, as far as Kafka has them."""
        from daybook.errors import DaybookError
        from daybook.kafka_offsets import topic_state
        from daybook.lake import load
        from daybook.position import accepted_losses, position

        if self.raw_is_gone:
            yield Verdict(NOT_COMPARED, "Kafka: the day's raw records were removed by retention")
            return
        try:
            topic = topic_state(self.settings)
        except DaybookError as error:
            yield Verdict(NOT_COMPARED, f"Kafka: {str(error).partition(';')[0].removeprefix('Kafka ')}")
            return
        last_loss = max((row["landing"] for row in accepted_losses(self.settings)), default=0)
        landed_topic = position(self.settings, load(self.settings, RAW_EVENTS)).topic_id
        parts = self.connection.execute(
            f"SELECT landing, kafka_partition, MIN(kafka_offset), MAX(kafka_offset) FROM {_RAW_OF_PAGE} "
            "GROUP BY ALL ORDER BY ALL",
            self.page_values,
        ).fetchall()
        for landing, partition, first, last in parts:
            where = f"Kafka, landing {landing}, partition {partition}, offsets {first} to {last}"
            if landed_topic not in (None, topic.topic_id) or landing <= last_loss:
                yield Verdict(NOT_COMPARED, f"{where}: landed before the topic was made anew, or a loss was accepted")
            elif topic.first.get(partition, first + 1) > first:
                yield Verdict(NOT_COMPARED, f"{where}: Kafka no longer has all of them")
            else:
                yield as_in_kafka(self.settings, raw, self.day, (landing, partition, first, last), where)


def _held(left: str, left_count: int, right: str, right_count: int) -> Verdict:
    same = left_count == right_count
    return Verdict(EQUAL if same else DIFFERENT, f"{left} {left_count:,}, {right} {right_count:,}")


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
