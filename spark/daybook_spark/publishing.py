"""Proves that the staged days balance, then publishes them.

The tables are published first, then the ledger row that makes them a revision. Readers use the ledger: a row names the
snapshot of every table of its revision. So a day changes for readers in one commit, even if the process dies between
two tables.

Every run publishes ``events`` first. If two runs publish the same day, the second fails there, before any of its rows
is visible. A run that is overtaken later, between its tables and its ledger row, fails at the row: the row pins only
the snapshots that were proved, and a revision's number can be published only once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial, reduce
from pathlib import Path
from typing import Any

import click
from py4j.protocol import Py4JJavaError
from pyiceberg.table import Table
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from daybook.errors import DaybookError, NonRetryableError
from daybook.kafka.offsets import offsets_text
from daybook.lake.catalog import load
from daybook.lake.ledger import Revision, read_ledger
from daybook.lake.snapshots import day_files, partition_counts, published_as, readable_snapshot
from daybook.lake.tables import DAY_LEDGER, EVENTS, RAW_EVENTS, REJECTED_EVENTS, TABLES
from daybook.pipeline.balance import (
    AnswerChange,
    AnswerSum,
    DayCounts,
    LandedRange,
    Line,
    Play,
    balance,
    changes_json,
    day_name,
    lines_json,
    receipt,
    unbalanced_text,
)
from daybook.pipeline.due import rules_version
from daybook.pipeline.erasures import erasures
from daybook.pipeline.manifest import Manifest, parse_manifest
from daybook.providers import map_version
from daybook.settings import Settings
from daybook.sql.answers import AREAS, answers, answers_version
from daybook.sql.checks import Finding, failed_text, findings_json
from daybook_spark.answering import Staged, stage_answers
from daybook_spark.building import Stage, build_days
from daybook_spark.changes import changes
from daybook_spark.checking import check_days
from daybook_spark.maintenance import merge_files
from daybook_spark.staging import (
    PublishRefused,
    at_snapshot,
    is_published,
    on_dates,
    publish,
    stage_append,
    struct,
)

MOST_LEDGER_FILES = 50
"""Each revision adds a file to the ledger, and every reader opens all of them: 1,000 files take 3 s. The weekly
maintenance merges them too, but somebody may have paused it."""
ATTEMPTS = 3
"""Attempts before the task fails: a day is staged again if another run published the same day meanwhile."""


@dataclass(frozen=True)
class Published:
    """The result of publishing; passed to the report as JSON."""

    published: list[dict[str, Any]]
    """For each published day: ``day``, ``revision``, ``receipt``, ``rows`` (table -> number of its rows of the day)."""
    unchanged: list[str]
    """Days whose revision did not change: another run published the same rows, or nothing had to be built."""


def publish_days(
    spark: SparkSession, settings: Settings, stage: Stage, staged_answers: Staged, day: date, manifest: Path | None
) -> Published:
    """Publish the days that a run staged, if they balance.

    Args:
        spark: the session.
        settings: where the lake is.
        stage: the staged ``events`` and ``rejected_events``.
        staged_answers: the staged answers of all areas.
        day: the run's own day.
        manifest: the generator's manifest of that day, if the day was generated.

    Raises:
        NonRetryableError: a day does not balance, or a check that blocks publishing fails.
        DaybookError: other runs wrote to the same days at every attempt. In both cases nothing changes for readers.
    """
    done: list[dict[str, Any]] = []
    unchanged = [] if day in stage.dates else [day.isoformat()]
    for _ in range(ATTEMPTS):
        pending = _pending(settings, stage)
        unchanged += [day_name(one) for one in stage.dates if one is not None and one not in pending]
        if not pending and None not in stage.dates:
            return Published(done, unchanged)
        events = load(settings, EVENTS)
        half_published = stage.events_snapshot_id is not None and is_published(events, stage.events_snapshot_id)
        if half_published or set(pending) == set(stage.base_revisions):
            try:
                for published in _publish_once(spark, settings, stage, staged_answers, pending, day, manifest):
                    done.append(published)
            except PublishRefused as refusal:
                click.echo(f"staging again, another run published first: {refusal}")
                written = {published["day"] for published in done}
                pending = [one for one in _pending(settings, stage) if one.isoformat() not in written]
                unchanged += [
                    one.isoformat()
                    for one in stage.base_revisions
                    if one not in pending and not {one.isoformat()} & {*written, *unchanged}
                ]
            else:
                merge_ledger_files(spark, settings)
                return Published(done, unchanged)
        rest = [one for one in stage.dates if one is None or one in pending]
        stage = build_days(spark, settings, rest, stage.run_id, stage.landed)
        staged_answers = {}
        for area in AREAS:
            staged_answers |= stage_answers(spark, settings, area, stage)
    raise DaybookError(
        f"{day}: other runs wrote to the same days {ATTEMPTS} times while this run was publishing them; nothing was "
        "lost and readers see the last published revisions. Clear publish_day when those runs have finished"
    )


def merge_ledger_files(spark: SparkSession, settings: Settings) -> None:
    """Merge the ledger's files into one if there are :data:`MOST_LEDGER_FILES` of them or more.

    Readers see no difference. If it fails, the days are published all the same: it is only reported, and the next run
    tries again.
    """
    ledger = load(settings, DAY_LEDGER)
    newest = ledger.current_snapshot() if ledger else None
    if newest is None or newest.summary is None or int(newest.summary["total-data-files"] or 0) < MOST_LEDGER_FILES:
        return
    try:
        merge_files(spark, DAY_LEDGER)
    except (Py4JJavaError, PySparkException) as error:
        click.echo(f"the ledger's files were not merged, the next run tries again: {str(error).splitlines()[0]}")


def _pending(settings: Settings, stage: Stage) -> list[date]:
    """Return the staged days whose newest revision does not contain the staged rows yet."""
    published = read_ledger(settings).newest
    raw = partition_counts(load(settings, RAW_EVENTS), stage.raw_snapshot_id) if stage.raw_snapshot_id else {}
    pending = []
    for one, base in sorted(stage.base_revisions.items()):
        newest = published.get(one)
        if newest is None or newest.revision == base or newest.landed < raw.get(one, 0):
            pending.append(one)
    return pending


@dataclass(frozen=True)
class ValidatedDay:
    """A staged day that may be published."""

    counts: DayCounts
    lines: list[Line]
    changes: dict[str, AnswerChange]
    """Answer -> its changes; empty for a day's first revision."""
    warnings: list[Finding]
    """Failed checks that only warn."""
    previous: Revision | None
    """The day's newest revision."""
    rules: str
    """From :func:`daybook.pipeline.due.rules_version`."""
    other_rows: bool = False
    """Whether the rows of ``events`` differ from the published ones although nothing else has changed."""

    @property
    def receipt(self) -> str:
        """One sentence: what the revision changes."""
        return receipt(self.counts, self.revision, self.previous, self.changes)

    @property
    def revision(self) -> int:
        """Number of the revision that publishing would create."""
        return self.previous.revision + 1 if self.previous else 1

    @property
    def is_news(self) -> bool:
        """Whether publishing would change the day's rows, its answers or the versions that it was built with."""
        previous = self.previous
        return (
            previous is None
            or bool(self.changes)
            or self.other_rows
            or any(
                getattr(self.counts, name) != getattr(previous, name)
                for name in ("landed", "events", "rejected", "late")
            )
            or (previous.provider_map_version, previous.answers_version) != (map_version(), answers_version())
            or previous.rules_version not in (None, self.rules)
        )


def validate(
    spark: SparkSession,
    settings: Settings,
    stage: Stage,
    staged_answers: Staged,
    dates: list[date | None],
    day: date,
    manifest: Path | None,
    *,
    keep_failing_rows: bool,
) -> list[ValidatedDay]:
    """Check staged days against the ledger's lines and the checks, and find their changes. Nothing is published.

    Args:
        spark: the session.
        settings: where the lake is.
        stage: the staged ``events`` and ``rejected_events``.
        staged_answers: the staged answers.
        dates: the dates of these days; None for the records without a day.
        day: the run's own day, which the manifest describes.
        manifest: the generator's manifest of that day, if the day was generated.
        keep_failing_rows: add the rows that fail checks to ``check_failures``, whether or not they block the day.

    Raises:
        NonRetryableError: a day does not balance, or a check that blocks publishing fails.
    """
    counts = {one.day: one for one in count_days(spark, settings, stage, staged_answers, dates, day, manifest)}
    landed = _landed_again(settings, stage)
    lines = {one: balance(counted, landed) for one, counted in counts.items()}
    unchanged = (
        "Nothing was published, readers see the previous revision; the staged rows are retained under the wap id "
        f"{stage.wap_id}"
    )
    if wrong := [text for one in dates if (text := unbalanced_text(one, lines[one]))]:
        raise NonRetryableError(f"{'; '.join(wrong)}. {unchanged}")
    days = [one for one in dates if one is not None]
    findings = check_days(spark, stage, staged_answers, days, keep_rows=keep_failing_rows)
    if failed := failed_text(findings):
        where = f"; `daybook checks --day {days[0]}` shows the rows" if keep_failing_rows else ""
        raise NonRetryableError(f"{failed}. {unchanged}{where}")
    newest = read_ledger(settings).newest
    changed = changes(spark, settings, staged_answers, {one: newest[one] for one in days if one in newest})
    validated = [
        ValidatedDay(
            counts[one],
            lines[one],
            changed.get(one, {}) if one else {},
            [finding for finding in findings if finding.day == one],
            newest.get(one) if one else None,
            rules_version(settings),
        )
        for one in dates
    ]
    return [
        one
        if one.is_news or one.counts.day is None
        else replace(one, other_rows=_other_rows(spark, settings, stage, one))
        for one in validated
    ]


def _other_rows(spark: SparkSession, settings: Settings, stage: Stage, ready: ValidatedDay) -> bool:
    """Whether a staged day's rows of ``events`` differ from the published ones because a new field was added.

    A column that the published rows lack counts as null.
    """
    events = load(settings, EVENTS)
    pinned = ready.previous.snapshots.get(EVENTS) if ready.previous else None
    if events is None or pinned is None or stage.events_snapshot_id is None:
        return False
    columns = sorted(struct(TABLES[EVENTS].columns).fieldNames())

    def digest(snapshot_id: int | None) -> Any:
        rows = at_snapshot(spark, EVENTS, snapshot_id).where(on_dates([ready.counts.day]))
        # the hash ignores nulls, so it also ignores a missing column
        known = [name for name in columns if name in rows.columns]
        return rows.agg(F.bit_xor(F.xxhash64(*known))).first()

    return bool(digest(readable_snapshot(events, pinned)) != digest(stage.events_snapshot_id))


def _publish_once(
    spark: SparkSession,
    settings: Settings,
    stage: Stage,
    staged_answers: Staged,
    pending: list[date],
    day: date,
    manifest: Path | None,
) -> Iterator[dict[str, Any]]:
    """Prove the days, publish their tables, then write the ledger rows one by one and yield each after its commit.

    Raises:
        PublishRefused: another run has published one of the days or changed its rows; the yielded ones are published.
    """
    dates = [*pending, *([None] if None in stage.dates else [])]
    validated = validate(spark, settings, stage, staged_answers, dates, day, manifest, keep_failing_rows=True)
    snapshots = {EVENTS: stage.events_snapshot_id, REJECTED_EVENTS: stage.rejected_snapshot_id, **staged_answers}
    for table, snapshot_id in snapshots.items():
        if snapshot_id is not None:
            publish(spark, settings, table, snapshot_id)
    pins = {table: _pin(load(settings, table), table, snapshot_id, dates) for table, snapshot_id in snapshots.items()}
    newest = {day: one.revision for day, one in read_ledger(settings).newest.items()}
    for ready in validated:
        if (one := ready.counts.day) is None:
            continue
        if newest.get(one, 0) != ready.revision - 1:
            raise PublishRefused(f"{one}: another run has published revision {newest.get(one, 0)}")
        pinned = {table: snapshot_id for table, (snapshot_id, _) in pins.items()}
        written = _write_revision(spark, settings, stage, one, ready, pinned)
        yield {**written, "rows": {table: rows.get(one, 0) for table, (_, rows) in pins.items()}}


def _pin(
    metadata: Table | None, table: str, staged_id: int | None, days: Sequence[date | None]
) -> tuple[int | None, dict[date | None, int]]:
    """Return the snapshot to pin for the days of a table that was just published, and its row count for each day.

    If a table has no staged snapshot, the days have no rows in it, and its current snapshot shows that. The snapshot is
    None if no day has had a row yet: the published day is not older than the answer.

    Raises:
        PublishRefused: the snapshot has other files of the days than were staged and proved, or the days were changed
            since.
    """
    current = metadata.current_snapshot() if metadata else None
    if metadata is None or current is None:
        return None, {}
    own = current if staged_id is None else published_as(metadata, staged_id)
    if own is None:
        raise PublishRefused(f"{table}: the staged snapshot {staged_id} was published but no longer exists")

    def files(snapshot_id: int) -> dict[tuple[date | None, str, int], int]:
        return {
            (day, task.file.file_path, len(task.delete_files)): task.file.record_count
            for day, task in day_files(metadata, snapshot_id, days)
        }

    validated = {} if staged_id is None else files(staged_id)
    for snapshot_id in dict.fromkeys((own.snapshot_id, current.snapshot_id)):
        if snapshot_id != staged_id and (found := files(snapshot_id)) != validated:
            changed = min({str(day or "rows without a day") for day, _, _ in found.keys() ^ validated.keys()})
            raise PublishRefused(f"{table}: another writer changed {changed} while it was being published")
    rows: Counter[date | None] = Counter()
    for (day, _, _), count in validated.items():
        rows[day] += count
    return own.snapshot_id, dict(rows)


def count_days(
    spark: SparkSession,
    settings: Settings,
    stage: Stage,
    staged_answers: Staged,
    dates: list[date | None],
    day: date,
    manifest: Path | None,
) -> list[DayCounts]:
    """Count each day's staged rows, and the raw records that they were built from; see :func:`validate`."""
    balances = {name: answer.balance for name, answer in answers().items() if answer.balance and stage.base_revisions}
    if missing := balances.keys() - staged_answers.keys():
        name = min(missing)
        raise NonRetryableError(f"{day}: the answer {name} was not computed by this run; clear {answers()[name].area}")

    def per_date(table: str, snapshot_id: int | None, *counts: Column) -> DataFrame:
        rows = at_snapshot(spark, table, snapshot_id).where(on_dates(dates)).groupBy("event_date").agg(*counts)
        return rows.select(F.lit(table).alias("table"), "*")

    count = F.count(F.lit(1)).alias("rows")
    late = F.count_if("is_late").alias("late")
    kinds = {kind: f"kind_{nth}" for nth, kind in enumerate(sorted({one.of for one in balances.values() if one.of}))}
    of_kinds = [F.count_if(F.expr(kind)).alias(column) for kind, column in kinds.items()]
    counted = [
        per_date(RAW_EVENTS, stage.raw_snapshot_id, count),
        per_date(EVENTS, stage.events_snapshot_id, count, late, *of_kinds),
        per_date(REJECTED_EVENTS, stage.rejected_snapshot_id, count),
        *(
            per_date(name, staged_answers[name], F.sum(balanced.column).cast("bigint").alias("rows"))
            for name, balanced in balances.items()
        ),
    ]
    # one statement for all tables: each statement costs a small day a fifth of a second of processor time
    together = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), counted)
    rows = {(row["table"], row["event_date"]): row for row in together.collect()}

    def of(table: str, one: date | None, column: str = "rows") -> int:
        return int(rows[table, one][column]) if (table, one) in rows else 0

    return [
        DayCounts(
            day=one,
            landed=of(RAW_EVENTS, one),
            events=of(EVENTS, one),
            duplicates=stage.duplicates.get(one, 0),
            rejected=of(REJECTED_EVENTS, one),
            late=of(EVENTS, one, "late"),
            answer_sums={
                name: AnswerSum(
                    of(EVENTS, one, kinds[balanced.of] if balanced.of else "rows"), of(name, one), balanced.of
                )
                for name, balanced in balances.items()
            }
            if one is not None
            else {},
            play=_play(settings, stage, day, manifest) if one == day and manifest else None,
        )
        for one in dates
    ]


def _landed_again(settings: Settings, stage: Stage) -> list[LandedRange]:
    """Return the ranges that the run landed, with their records counted again in the days' ``raw_events`` snapshot."""
    raw = load(settings, RAW_EVENTS)
    landings = {part.landing for part in stage.landed if part.landing}
    if raw is None or not landings:
        return stage.landed
    named = f"landing IN ({', '.join(map(str, sorted(landings)))})"
    scan = raw.scan(named, ("landing", "kafka_partition"), snapshot_id=stage.raw_snapshot_id)
    counted = scan.to_arrow().group_by(["landing", "kafka_partition"]).aggregate([([], "count_all")]).to_pylist()
    records = {(row["landing"], row["kafka_partition"]): row["count_all"] for row in counted}
    return [
        replace(part, records=records.get((part.landing, part.partition), 0)) if part.landing else part
        for part in stage.landed
    ]


def _play(settings: Settings, stage: Stage, day: date, manifest: Path) -> Play:
    """Return the counts of the generator's manifest, with its acknowledged ids looked up in the raw records.

    The raw records are those of the days that the manifest names. The manifest is on the driver's disk, which executors
    on other machines cannot read. So the driver's Python does the look-up: a million ids take a quarter of a second and
    200 MB.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    generated, ids = _read_manifest(day, manifest)
    accepted = pa.array(ids, pa.string())
    missing, raw = accepted, load(settings, RAW_EVENTS)
    if raw is not None and stage.raw_snapshot_id is not None:
        days = ", ".join(f"'{one}'" for one in (day, *generated.injected.late))
        scan = raw.scan(f"event_date IN ({days})", ("event_id",), snapshot_id=stage.raw_snapshot_id)
        landed = scan.to_arrow()["event_id"].cast(pa.string()).combine_chunks()
        missing = accepted.filter(pc.invert(pc.is_in(accepted, value_set=landed)))
    erased = {event_id for row in erasures(settings) for event_id in row["event_ids"]}
    return Play(
        sent=generated.sent,
        accepted=generated.accepted,
        refused=generated.refused,
        repeated=generated.injected.duplicates,
        accepted_ids=len(accepted),
        accepted_ids_landed=len(accepted) - len(missing),
        erased_ids=len(erased.intersection(missing.to_pylist())),
    )


def _read_manifest(day: date, file: Path) -> tuple[Manifest, list[str]]:
    """Return the generator's manifest and its accepted ids."""
    try:
        manifest = parse_manifest(file.read_text(encoding="utf-8"))
        return manifest, (file.parent / manifest.accepted_ids).read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise NonRetryableError(
            f"{day}: the manifest {file} cannot be read ({type(error).__name__}: {error}); nothing was published. "
            f"Remove it, run `daybook generate --day {day}` with its seed (the same ids are sent, which is harmless), "
            "then clear publish_day"
        ) from None


def _write_revision(
    spark: SparkSession,
    settings: Settings,
    stage: Stage,
    day: date,
    ready: ValidatedDay,
    snapshots: dict[str, int | None],
) -> dict[str, Any]:
    """Add the ledger row that makes a staged day the newest revision.

    Raises:
        PublishRefused: another run has published this revision. Iceberg publishes a wap id only once, and the row's
            wap id consists of day and revision only.
    """
    counts, play = ready.counts, ready.counts.play
    sender = play or ready.previous  # a restated day retains the counts of the sender that its own run knew
    written = Revision(
        event_date=day,
        revision=ready.revision,
        published_at=datetime.now(UTC),
        run_id=stage.run_id,
        sent=sender.sent if sender else None,
        accepted=sender.accepted if sender else None,
        refused=sender.refused if sender else None,
        landed=counts.landed,
        events=counts.events,
        duplicates=counts.duplicates,
        rejected=counts.rejected,
        late=counts.late,
        balanced=True,
        lines=lines_json(ready.lines),
        receipt=ready.receipt,
        changes=changes_json(ready.changes),
        checks=findings_json(ready.warnings),
        range_start=offsets_text({part.partition: part.start for part in stage.landed}),
        range_end=offsets_text({part.partition: part.end for part in stage.landed}),
        range_records=sum(part.records for part in stage.landed),
        range_gaps=sum(part.gaps for part in stage.landed),
        landing=stage.landing,
        built_to=offsets_text(stage.built_to),
        raw_snapshot_id=stage.raw_snapshot_id,
        provider_map_version=map_version(),
        answers_version=answers_version(),
        rules_version=ready.rules,
        snapshots=snapshots,
    )
    schema = struct(TABLES[DAY_LEDGER].columns)
    rows = spark.createDataFrame([tuple(getattr(written, name) for name in schema.fieldNames())], schema)
    staged_row = stage_append(spark, settings, rows, DAY_LEDGER, f"{day}:r{written.revision}", {})
    publish(spark, settings, DAY_LEDGER, staged_row.snapshot_id)
    return {"day": written.day, "revision": written.revision, "receipt": written.receipt}
