"""``daybook verify``: recount a published day with a second engine, and compare it with its senders and with Kafka."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from daybook.contract import event_date
from daybook.days import day_bounds
from daybook.documents import document
from daybook.errors import DaybookError
from daybook.kafka.offsets import Offsets, committed, first_since, parse_offsets, topic_state
from daybook.lake.across_days import sorted_rows
from daybook.lake.catalog import load
from daybook.lake.duckdb_engine import connect, fetch, in_duckdb, published_rows, table_rows
from daybook.lake.ledger import Ledger, Revision, read_ledger
from daybook.lake.snapshots import property_of, published
from daybook.lake.tables import EVENTS, RAW_EVENTS, REJECTED_EVENTS
from daybook.pipeline.due import raw_kept_from, rules_version
from daybook.pipeline.erasures import erasures
from daybook.pipeline.position import END, LANDING, START, accepted_losses, position
from daybook.settings import Settings
from daybook.sql.answers import Answer, answers, answers_version

if TYPE_CHECKING:
    import pyarrow.dataset as pads
    from duckdb import DuckDBPyConnection
    from pyiceberg.table import Table

EQUAL, DIFFERENT, NOT_COMPARED = "equal", "DIFFERENT", "not compared"
CLOSE = 1e-12
"""Relative tolerance for equal shares: two engines may round the last digit differently."""
FETCHED_ROWS = 10_000
_WITHOUT_A_DAY = "in raw_events without a day"


@dataclass(frozen=True)
class Verdict:
    """The result of one comparison."""

    verdict: str
    """``equal``, ``DIFFERENT`` or ``not compared``."""
    line: str
    """What was compared with what, in words."""


def verify_day(settings: Settings, day: str) -> Iterator[Verdict]:
    """Compare a day, as published, with every source except Spark; yields one verdict at a time.

    The order is: the ledger's counts against the rows in the files, by DuckDB; every answer, computed again by DuckDB
    from the day's events; the generator's runs, if there are any; Kafka's records, byte by byte, as far as Kafka still
    has them.

    Raises:
        BadInput: the day is not published.
    """
    ledger = read_ledger(settings)
    revision = ledger.of(day)
    with connect() as connection:
        verifying = _Verifying(ledger, revision, connection)
        for name in (EVENTS, REJECTED_EVENTS):
            connection.register(name, published_rows(settings, name, [revision]))
        raw = table_rows(settings, RAW_EVENTS)
        connection.register(RAW_EVENTS, raw)
        yield from verifying.counts()
        yield from verifying.duplicates()
        for answer in answers().values():
            yield verifying.recounted(answer)
        yield from verifying.generated()
        yield from verifying.kafka(raw)


_RAW_OF_DAY = f"{RAW_EVENTS} WHERE event_date = $day AND landing <= $landing"
"""The raw records that the published revision was built from; later ones belong to the next revision."""


@dataclass(frozen=True)
class _Verifying:
    """A day that is being verified, its tables registered with a connection of its own."""

    ledger: Ledger
    revision: Revision
    """Its newest revision."""
    connection: DuckDBPyConnection

    @property
    def settings(self) -> Settings:
        return self.ledger.settings

    @property
    def day(self) -> date:
        return self.revision.event_date

    @property
    def day_values(self) -> dict[str, Any]:
        return {"day": self.day, "landing": self.revision.landing}

    @cached_property
    def raw_records(self) -> int:
        """The number of existing raw records that the published revision was built from."""
        return self.count(f"SELECT COUNT(*) FROM {_RAW_OF_DAY}", self.day_values)

    @property
    def raw_was_removed(self) -> bool:
        """Whether retention has removed them: it is on, and the day is old enough."""
        retained_from = raw_kept_from(self.settings, datetime.now(UTC).date())
        is_old = retained_from is not None and self.day < retained_from
        return is_old and self.raw_records == 0 and self.revision.landed > 0

    @cached_property
    def ledger_rows(self) -> int:
        """The number of ledger rows for the published revision; older versions could write two."""
        published = (self.revision.event_date, self.revision.revision)
        return sum((one.event_date, one.revision) == published for one in self.ledger.revisions)

    def count(self, sql: str, values: dict[str, Any] | None = None) -> int:
        [[count]] = self.connection.execute(sql, values or {}).fetchall()
        return int(count)

    def published(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of an answer as published."""
        rows = published_rows(self.settings, name, [self.revision])
        if rows is None:
            return []
        self.connection.register("published", rows)
        return fetch(self.connection, "SELECT * FROM published")

    def counts(self) -> Iterator[Verdict]:
        """Compare the ledger's counts with the rows in the files."""
        revision = self.revision
        events = self.count(f"SELECT COUNT(*) FROM {EVENTS}")
        ids = self.count(f"SELECT COUNT(DISTINCT event_id) FROM {EVENTS}")
        rejected = self.count(f"SELECT COUNT(*) FROM {REJECTED_EVENTS}")
        if (rows := self.ledger_rows) != 1:
            yield Verdict(
                DIFFERENT,
                f"the ledger has {rows} rows for revision {revision.revision}, from several runs; readers see the "
                "first. `airflow dags trigger game_events_daily -c "
                f"""'{{"day": "{self.day}", "force": true}}'` replaces it""",
            )
        yield _same_count("events in the ledger", revision.events, "rows of events", events)
        yield _same_count("rows of events", events, "distinct event ids", ids)
        yield _same_count("rejected in the ledger", revision.rejected, "rows of rejected_events", rejected)
        if self.raw_was_removed:
            yield Verdict(NOT_COMPARED, "raw records of the day: removed by retention")
            return
        yield _same_count("landed in the ledger", revision.landed, "raw records of the day", self.raw_records)
        parts = events + revision.duplicates + rejected
        yield _same_count("raw records of the day", self.raw_records, "events + duplicates + rejected", parts)
        found = self.count(
            f"SELECT COUNT(*) FROM {EVENTS} SEMI JOIN (SELECT * FROM {_RAW_OF_DAY}) AS raw "
            "USING (landing, kafka_partition, kafka_offset, event_id)",
            self.day_values,
        )
        yield _same_count("rows of events", events, "found in raw_events by coordinates and id", found)

    def duplicates(self) -> Iterator[Verdict]:
        """Check that each raw record that is neither an event nor rejected repeats an event.

        The event may be on another day within ``DAYBOOK_LATENESS_DAYS``. It may also be in raw records of that day
        that are not part of a published revision yet.
        """
        if self.raw_was_removed:
            return
        coordinates = "USING (landing, kafka_partition, kafka_offset)"
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE duplicates AS SELECT event_id FROM (SELECT * FROM {_RAW_OF_DAY}) AS raw "
            f"ANTI JOIN {EVENTS} {coordinates} ANTI JOIN {REJECTED_EVENTS} {coordinates}",
            self.day_values,
        )
        count = self.count("SELECT COUNT(*) FROM duplicates")
        line = "duplicates in the ledger"
        yield _same_count(line, self.revision.duplicates, "raw records that are neither events nor rejected", count)
        if self.revision.rules_version not in (None, rules_version(self.settings)):
            yield Verdict(NOT_COMPARED, "duplicates by id: the day was built with another DAYBOOK_LATENESS_DAYS")
            return
        alone = f"duplicates ANTI JOIN {EVENTS} USING (event_id)"
        lost = self.count(f"SELECT COUNT(*) FROM {alone}")
        if lost:  # most repeat an event of their own day: only if some do not, the other days are read
            window = timedelta(days=self.settings.lateness_days)
            first, last = self.day - window, self.day + window
            near = [one for day, one in self.ledger.newest.items() if first <= day <= last]
            self.connection.execute("CREATE OR REPLACE TEMP TABLE near (event_date DATE, built_to BIGINT)")
            self.connection.executemany(
                "INSERT INTO near VALUES (?, ?)", [(one.event_date, one.landing) for one in near]
            )
            self.connection.register("near_events", published_rows(self.settings, EVENTS, near))
            lost = self.count(
                f"SELECT COUNT(*) FROM {alone} ANTI JOIN near_events USING (event_id) ANTI JOIN "
                f"(SELECT event_id FROM {RAW_EVENTS} LEFT JOIN near USING (event_date) WHERE event_date <> $day "
                "AND event_date BETWEEN $first AND $last AND landing > COALESCE(built_to, 0)) AS later "
                "USING (event_id)",
                {"day": self.day, "first": first, "last": last},
            )
        found = f"with the id of an event within {self.settings.lateness_days} days"
        yield _same_count("duplicates", count, found, count - lost)

    def recounted(self, answer: Answer) -> Verdict:
        """Compute an answer again from the day's events, and compare it with its published rows."""
        if answer.name not in self.revision.snapshots and self.revision.events:
            return Verdict(NOT_COMPARED, f"{answer.name}: the published revision is older than this answer")
        rows = self.published(answer.name)
        days = {"first_day": self.day, "last_day": self.day}
        again = sorted_rows(self.connection, answer, in_duckdb(answer.statement), days)
        return self.compared(answer, rows, again, f"{answer.name}: {len(rows):,} rows, recounted by DuckDB")

    def compared(
        self, answer: Answer, published: list[dict[str, Any]], other: list[dict[str, Any]], line: str
    ) -> Verdict:
        """Compare published rows with others; a difference is not an error if the day was built by other SQL."""
        found = _compared(answer, published, other, line)
        if found.verdict == DIFFERENT and self.revision.answers_version != answers_version():
            return Verdict(
                NOT_COMPARED, f"{found.line}; the day was built by other SQL, `daybook rebuild` applies the current SQL"
            )
        return found

    def generated(self) -> Iterator[Verdict]:
        """Compare the day's events and answers with what the generator sent and was acknowledged for."""
        from event_generator.generated import generated_on

        generated = generated_on(self.settings, self.day)
        if generated is None:
            yield Verdict(NOT_COMPARED, "generator: there is no manifest of the day")
            return
        events = {row[0] for row in self.connection.execute(f"SELECT event_id FROM {EVENTS}").fetchall()}
        missing = generated.ids - events
        erased = missing & {one for row in erasures(self.settings) for one in row["event_ids"]}
        others = len(events - generated.ids)
        runs = ", ".join(map(str, generated.plays))
        found = len(generated.ids & events)
        line = f"generator (runs for {runs}): {len(generated.ids):,} acknowledged ids, {found:,} in events"
        yield Verdict(EQUAL if missing == erased else DIFFERENT, line + (f", {len(erased):,} erased" if erased else ""))
        if erased or others:
            why = f"{len(erased):,} were erased" if erased else f"{others:,} events of the day came from other senders"
            yield Verdict(NOT_COMPARED, f"generator's answers: {why}")
            return
        for name, answer in answers().items():
            if name in generated.expected and (name in self.revision.snapshots or not self.revision.events):
                rows = self.published(name)
                line = f"{name}: {len(rows):,} rows, compared with the generator's expected rows"
                yield self.compared(answer, rows, generated.expected[name], line)

    def kafka(self, raw: pads.Dataset) -> Iterator[Verdict]:
        """Compare the day's raw records with Kafka's, byte by byte, over the offsets that the landings recorded.

        So a record that is in Kafka but missing from a landing's rows is found, wherever in the landing it was. This
        also works if the day has no raw record at all. Records that Kafka no longer has are not compared.
        """
        if self.raw_was_removed:
            yield Verdict(NOT_COMPARED, "Kafka: the day's raw records were removed by retention")
            return
        try:
            topic = topic_state(self.settings)
        except DaybookError as error:
            yield Verdict(NOT_COMPARED, f"Kafka: {str(error).partition(';')[0].removeprefix('Kafka ')}")
            return
        table = load(self.settings, RAW_EVENTS)
        landed_topic = position(self.settings, table).topic_id
        losses = sorted(accepted_losses(self.settings), key=lambda row: row["landing"])
        last_loss = int(losses[-1]["landing"]) if losses else 0
        if landed_topic not in (None, topic.topic_id):
            last_loss = self.revision.landing
        found = self.connection.execute(
            f"SELECT landing, kafka_partition, MIN(kafka_offset), MAX(kafka_offset) FROM {_RAW_OF_DAY} "
            "GROUP BY ALL ORDER BY ALL",
            self.day_values,
        ).fetchall()
        for landing, partition, first, last in found:
            if landing <= last_loss:
                where = f"Kafka, landing {landing}, partition {partition}, offsets {first} to {last}"
                yield Verdict(NOT_COMPARED, f"{where}: landed before the topic was recreated or a loss was accepted")
        resumed = parse_offsets(losses[-1]["resume_from"]) if losses else {}
        claims = claimed(table, last_loss, resumed, self.revision.landing, parse_offsets(self.revision.built_to))
        if not claims and not found:
            yield Verdict(NOT_COMPARED, "Kafka: no landing of the day read the current topic")
        # a record's event time is at most its own time plus the tolerance: earlier records belong to other days
        since = day_bounds(self.day)[0] - timedelta(minutes=self.settings.future_tolerance_minutes)
        for partition in sorted({claim.partition for claim in claims}):
            oldest = topic.first.get(partition)
            offsets = [first for landing, at, first, _ in found if at == partition and landing > last_loss]
            if oldest is not None and (begin := first_since(self.settings, partition, since)) is not None:
                offsets.append(begin)
            begin = min(offsets, default=max(claim.end for claim in claims))
            for claim in claims:
                if claim.partition == partition:
                    yield from self._claim_in_kafka(raw, claim, oldest, begin)

    def _claim_in_kafka(self, raw: pads.Dataset, claim: Claim, oldest: int | None, begin: int) -> Iterator[Verdict]:
        """Compare a landing's claim on a partition with Kafka, which has the offsets from ``oldest`` on."""
        first = max(claim.start, begin)
        gone = claim.end if oldest is None else min(claim.end, oldest)
        if claim.start < gone and (oldest is None or begin <= oldest):
            yield Verdict(NOT_COMPARED, f"{claim.text(claim.start, gone)}: Kafka no longer has them")
            first = max(first, gone)
        if first < claim.end:
            part = (claim.landings, claim.partition, first, claim.end - 1)
            yield as_in_kafka(self.settings, raw, self.day, part, claim.text(first, claim.end))


@dataclass(frozen=True)
class Claim:
    """Offsets of a partition that landings claim to have taken."""

    landings: tuple[int, int]
    """Numbers of the first and the last landing; they differ only where the snapshots of several were expired."""
    partition: int
    start: int
    end: int
    """The offset after the last."""

    def text(self, start: int, end: int) -> str:
        """Describe a part of it for the reader."""
        first, last = self.landings
        of = f"landing {last}" if first == last else f"landings {first} to {last}"
        return f"Kafka, {of}, partition {self.partition}, offsets {start} to {end - 1}"


def claimed(raw: Table | None, after: int, start: Offsets, last: int, end: Offsets) -> list[Claim]:
    """Return the offsets that a published day's landings took, landing by landing and partition by partition.

    They are properties of the snapshots of ``raw_events``. Where those were expired, the offsets between two known
    landings, or before the first, are one claim: landings follow each other without a gap.

    Args:
        raw: metadata of ``raw_events``.
        after: only landings after this one.
        start: the offsets at which they began; 0 for a partition that is not named.
        last: number of the last landing that the revision was built from.
        end: the offsets at which it ended.
    """
    if after >= last:
        return []
    known = {
        int(landed_as): (parse_offsets(property_of(one, START) or "{}"), parse_offsets(property_of(one, END) or "{}"))
        for one in published(raw)
        if (landed_as := property_of(one, LANDING)) and after < int(landed_as) <= last
    }
    claims: list[Claim] = []
    done, at = after, dict(start)

    def claim(landings: tuple[int, int], starts: Offsets, ends: Offsets) -> None:
        claims.extend(
            Claim(landings, partition, starts.get(partition, 0), stop)
            for partition, stop in sorted(ends.items())
            if stop > starts.get(partition, 0)
        )

    for number in sorted(known):
        starts, ends = known[number]
        claim((done + 1, number - 1), at, starts)
        claim((number, number), starts, ends)
        done, at = number, {**at, **ends}
    claim((min(done + 1, last), last), at, end)
    return claims


def _same_count(left: str, left_count: int, right: str, right_count: int) -> Verdict:
    same = left_count == right_count
    return Verdict(EQUAL if same else DIFFERENT, f"{left} {left_count:,}, {right} {right_count:,}")


def _compared(answer: Answer, left: list[dict[str, Any]], right: list[dict[str, Any]], line: str) -> Verdict:
    """Compare two sets of rows of an answer; names the first row and column that differ."""

    def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[name] for name in answer.key): row for row in rows}

    left_rows, right_rows = by_key(left), by_key(right)
    for key in sorted(left_rows.keys() | right_rows.keys(), key=str):
        where = " ".join(f"{name}={value}" for name, value in zip(answer.key, key, strict=True)) or "the row"
        if key not in left_rows or key not in right_rows:
            side = "is not published" if key not in left_rows else "is published but should not exist"
            return Verdict(DIFFERENT, f"{line}: {where} {side}")
        for column in answer.columns:
            one, other = left_rows[key][column], right_rows[key][column]
            if not _same(one, other):
                return Verdict(DIFFERENT, f"{line}: {where}: {column} is published as {one}, recounted as {other}")
    if len(left) != len(left_rows):
        return Verdict(DIFFERENT, f"{line}: {len(left) - len(left_rows)} rows have the key of another row")
    return Verdict(EQUAL, line)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=CLOSE)
    return bool(one == other)


def as_in_kafka(
    settings: Settings, raw: pads.Dataset, day: date, part: tuple[tuple[int, int], int, int, int], where: str
) -> Verdict:
    """Compare the day's raw records of some landings and a partition with Kafka's, which still has all of them.

    Args:
        settings: where the broker is.
        raw: ``raw_events``.
        day: the day.
        part: first and last landing, partition, first and last offset.
        where: the same in words.
    """
    landings, partition, first, last = part
    landed = _raw_records(raw, day, landings, partition, first)
    awaited = next(landed, None)
    same = erased = 0
    for message in committed(settings, partition, first, last + 1):
        offset, value = message.offset(), message.value()
        if awaited is not None and offset == awaited[0]:
            if value != awaited[1]:
                return Verdict(DIFFERENT, f"{where}: offset {offset} has other bytes than raw_events")
            same += 1
            awaited = next(landed, None)
            continue
        taken_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        if event_date(value, taken_at, settings.future_tolerance_minutes) == day:
            if _is_erased(settings, value):
                erased += 1
                continue
            where_raw = _raw_day(raw, landings, partition, offset or 0)
            # a smaller tolerance at landing leaves a record without a day, if its time is after its receipt
            if where_raw != _WITHOUT_A_DAY or event_date(value, taken_at, 0):
                return Verdict(DIFFERENT, f"{where}: offset {offset} belongs to the day but is {where_raw}")
    if awaited is not None:
        return Verdict(DIFFERENT, f"{where}: offset {awaited[0]} is in raw_events but not in Kafka")
    return Verdict(
        EQUAL, f"{where}: {same:,} records of the day, byte by byte" + (f", {erased} erased" if erased else "")
    )


def _raw_day(raw: pads.Dataset, landings: tuple[int, int], partition: int, offset: int) -> str:
    """Describe, for the reader, what ``raw_events`` has for a record that is not among the day's."""
    with connect() as connection:
        connection.register(RAW_EVENTS, raw)
        found = connection.execute(
            f"SELECT event_date FROM {RAW_EVENTS} WHERE landing BETWEEN $first AND $last "
            "AND kafka_partition = $partition AND kafka_offset = $offset",
            {"first": landings[0], "last": landings[1], "partition": partition, "offset": offset},
        ).fetchone()
    if found is None:
        return "not in raw_events"
    return f"in raw_events of {found[0]}" if found[0] else _WITHOUT_A_DAY


def _raw_records(
    raw: pads.Dataset, day: date, landings: tuple[int, int], partition: int, first: int
) -> Iterator[tuple[int, bytes | None]]:
    """Yield offset and bytes of the day's raw records of landings and a partition from an offset on, in their order."""
    with connect() as connection:  # its own: while it streams rows, a connection can run nothing else
        connection.register(RAW_EVENTS, raw)
        found = connection.execute(
            f"SELECT kafka_offset, value FROM {RAW_EVENTS} WHERE event_date = $day "
            "AND landing BETWEEN $first_landing AND $last_landing AND kafka_partition = $partition "
            "AND kafka_offset >= $first ORDER BY kafka_offset",
            {
                "day": day,
                "first_landing": landings[0],
                "last_landing": landings[1],
                "partition": partition,
                "first": first,
            },
        )
        while rows := found.fetchmany(FETCHED_ROWS):
            yield from rows


def _is_erased(settings: Settings, value: bytes | None) -> bool:
    event_id = str((document(value) or {}).get("event_id")).strip(" ").lower()  # as in raw_events
    return any(event_id in row["event_ids"] for row in erasures(settings))
