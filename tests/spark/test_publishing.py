"""Staging and publishing on a real lake: what readers see and when, which run wins, what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from daybook.errors import DaybookError
from daybook.kafka.offsets import offsets_text
from daybook.lake.answers import answer_rows
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import CHECK_FAILURES, DAY_LEDGER, EVENTS, RAW_EVENTS, REJECTED_EVENTS, spark_name
from daybook.operations.verify import DIFFERENT, verify_day
from daybook.pipeline.balance import LandedRange
from daybook.pipeline.due import dates_due, nothing_due, rules_version
from daybook.pipeline.position import END, LANDING, START, position
from daybook.providers import Provider, resolve
from daybook.report.content import day_content
from daybook.settings import Settings
from daybook.sql.answers import AREAS, answers
from daybook_spark.building import Stage
from daybook_spark.rebuilding import rebuild
from daybook_spark.staging import PublishRefused, at_snapshot, on_dates, publish, stage_append, stage_dates
from tests.spark.lake_run import DAY, NEXT_DAY, Begin, MakeRun, Run, an_id, newest_row, one_event, rows
from tests.spark.topic_records import Topic, manifest

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("six_answers")]


def a_staged_day(topic: Topic, run: MakeRun) -> Run:
    """Stage a day: three swords by two players, a guild, a duplicate and a corrupted record."""
    topic.event(event_id=an_id(1), item="sword", user_id="ann", host="ann.att.com")
    topic.event(event_id=an_id(2), item="sword", user_id="ann", host="ann.att.com")
    topic.event(event_id=an_id(3), item="sword", user_id="bob", host="bob.comcast.net")
    topic.event(event_id=an_id(4), event_type="join_guild", user_id="bob", host="bob.comcast.net")
    topic.event(event_id=an_id(4), event_type="join_guild", user_id="bob", host="bob.comcast.net")
    topic.send(f'{{"event_id": "{an_id(5)}", "event_type": "dance", "occurred_at": "2026-05-03T00:00:00Z"}}'.encode())
    first = run("run1")
    first.land(topic)
    return first.build()


def a_published_day(topic: Topic, run: MakeRun) -> Run:
    first = a_staged_day(topic, run)
    first.publish()
    return first


def test_a_day_is_staged_out_of_sight_then_published_and_balances(
    spark: SparkSession, lake: Settings, tmp_path: Path, begin: Begin
) -> None:
    first = begin(a_staged_day)
    assert [rows(spark, table) for table in (EVENTS, REJECTED_EVENTS, "event_popularity")] == [[], [], []]
    assert read_ledger(lake).revisions == ()

    result = first.publish(manifest(tmp_path, [an_id(n) for n in range(1, 5)]))

    assert [(one["day"], one["revision"]) for one in result.published] == [("2026-05-03", 1)]
    assert len(rows(spark, EVENTS)) == 4
    popular = sorted(rows(spark, "event_popularity"), key=lambda row: row["rank"])
    assert [(row["event_type"], row["item"], row["events"], row["users"], row["rank"]) for row in popular] == [
        ("purchase_item", "sword", 3, 2, 1),
        ("join_guild", None, 1, 1, 2),
    ]
    assert {row["provider"]: (row["events"], row["users"], row["share"]) for row in rows(spark, "provider_usage")} == {
        "att": (2, 1, 0.5),
        "comcast": (2, 1, 0.5),
    }
    ledger_row = newest_row(lake)
    counts = {name: ledger_row[name] for name in ("landed", "events", "duplicates", "rejected", "late", "sent")}
    assert counts == {"landed": 6, "events": 4, "duplicates": 1, "rejected": 1, "late": 0, "sent": 4}
    assert ledger_row["balanced"]
    lines = json.loads(ledger_row["lines"])
    assert all(line["ok"] for line in lines)
    assert len(lines) == 4 + sum(1 for answer in answers().values() if answer.balance)


def test_an_answer_without_rows_is_published_although_no_day_has_filled_it_yet(
    lake: Settings, topic: Topic, run: MakeRun
) -> None:
    """Nobody joined a guild: this is an answer too, and the day is not older than the question."""
    topic.event(event_id=an_id(1), item="sword")
    first = run("run1")
    first.land(topic)
    first.build().publish()
    assert answer_rows(read_ledger(lake), "guild_joins", "2026-05-03") == []
    assert [one.line for one in verify_day(lake, "2026-05-03") if one.verdict == DIFFERENT or "older" in one.line] == []

    topic.event(event_id=an_id(2), event_type="join_guild", guild="wolves", occurred_at="2026-05-04T10:00:00Z")
    second = run("run2", NEXT_DAY)
    second.land(topic)
    second.build().publish()
    assert [row["guild"] for row in answer_rows(read_ledger(lake), "guild_joins", "2026-05-04")] == ["wolves"]
    assert answer_rows(read_ledger(lake), "guild_joins", "2026-05-03") == []
    shown = {table["name"]: table["rows"] for table in day_content(read_ledger(lake), "2026-05-03")["answers"]}
    assert shown["guild_joins"] == []


def test_a_second_run_of_a_published_day_changes_nothing(
    lake: Settings, topic: Topic, run: MakeRun, begin: Begin
) -> None:
    begin(a_published_day)
    second = run("run2")
    second.land(topic)
    second.build()
    assert second.stage.dates == []
    result = second.publish()
    assert (result.published, result.unchanged) == ([], ["2026-05-03"])
    assert len(read_ledger(lake).revisions) == 1


def test_a_forced_run_builds_the_same_day_again(
    spark: SparkSession, lake: Settings, run: MakeRun, begin: Begin
) -> None:
    begin(a_published_day)
    before = rows(spark, "event_popularity")
    run("run2").build(force=True).publish()
    assert newest_row(lake)["revision"] == 2
    assert newest_row(lake)["receipt"] == "2026-05-03 r2: the same counts"
    assert sorted(map(str, rows(spark, "event_popularity"))) == sorted(map(str, before))


def test_a_late_event_restates_its_day_and_leaves_other_days_files_alone(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    def files(day: date) -> set[str]:
        names = spark.sql(f"SELECT partition.event_date AS day, file_path FROM {spark_name(EVENTS)}.files").collect()
        return {row.file_path for row in names if row.day == day}

    for number, moment in ((1, "2026-05-03T10:00:00Z"), (2, "2026-05-04T10:00:00Z")):
        topic.event(event_id=an_id(number), occurred_at=moment)
    first = run("run1")
    first.land(topic)
    first.build().publish()
    run("run2", NEXT_DAY).build().publish()
    untouched = files(NEXT_DAY)

    topic.event(event_id=an_id(3), occurred_at="2026-05-03T11:00:00Z", item="knife")
    third = run("run3", date(2026, 5, 5))
    third.land(topic)
    result = third.build().publish()

    assert [(one["day"], one["revision"]) for one in result.published] == [("2026-05-03", 2), ("2026-05-05", 1)]
    changes = json.loads(newest_row(lake)["changes"])
    assert newest_row(lake)["receipt"] == (f"2026-05-03 r2: +1 events, +1 late; {len(changes)} answers changed")
    assert not changes["user_activity"]["rows"], "players are counted and not named"
    assert changes["event_popularity"] == {
        "added": 1,
        "removed": 0,
        "changed": 1,
        "rows": [
            {
                "key": {"event_type": "purchase_item", "item": "knife"},
                "before": None,
                "after": {"events": 1, "users": 1, "share": 0.5, "rank": 1},
            },
            {
                "key": {"event_type": "purchase_item", "item": "sword"},
                "before": {"events": 1, "users": 1, "share": 1.0, "rank": 1},
                "after": {"events": 1, "users": 1, "share": 0.5, "rank": 1},
            },
        ],
    }
    assert newest_row(lake, NEXT_DAY)["revision"] == 1
    assert files(NEXT_DAY) == untouched
    popular = [row for row in rows(spark, "event_popularity") if row["event_date"] == DAY]
    assert {row["item"]: row["events"] for row in popular} == {"sword": 1, "knife": 1}


def test_an_unpublished_day_waits_for_its_own_run(lake: Settings, topic: Topic, run: MakeRun) -> None:
    topic.event(event_id=an_id(1), occurred_at="2026-05-03T10:00:00Z")
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T00:00:10Z")
    first = run("run1")
    first.land(topic)
    assert [one["day"] for one in first.build().publish().published] == ["2026-05-03"]


def test_an_empty_day_after_the_first_event_is_published_with_zeros(lake: Settings, topic: Topic, run: MakeRun) -> None:
    topic.event(event_id=an_id(1), occurred_at="2026-05-03T10:00:00Z")  # Kafka's timestamp is of 2026-05-04
    empty = run("run1", NEXT_DAY)
    empty.land(topic)
    empty.build().publish()
    ledger_row = newest_row(lake, NEXT_DAY)
    assert [int(ledger_row[name]) for name in ("revision", "landed", "events", "rejected")] == [1, 0, 0, 0]


def test_a_day_before_the_first_event_is_not_published(lake: Settings, topic: Topic, run: MakeRun) -> None:
    before_any_record = run("run1")
    assert before_any_record.build().stage.dates == []
    topic.event(event_id=an_id(1), occurred_at="2026-05-04T00:00:00Z")  # Kafka's timestamp is of 2026-05-04
    before_any_record.land(topic)
    assert before_any_record.build().stage.dates == []
    assert "no data for 2026-05-03" in nothing_due(lake, DAY)


def test_records_that_name_no_day_are_rejected_and_kept(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.send(b"\xff")
    first = run("run1")
    first.land(topic)
    first.build().publish()
    kept = [(row["reason"], row["value"], row["event_date"]) for row in rows(spark, REJECTED_EVENTS)]
    assert kept == [("not_utf8", bytearray(b"\xff"), None)]
    again = run("run2").build()
    assert again.stage.dates == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sent": 5}, "sent by the generator = accepted + refused: 5 against 4 (+1)"),
        ({"accepted": 3, "sent": 3}, "acknowledged ids of the generator + repeated = accepted: 4 against 3 (+1)"),
    ],
)
def test_a_manifest_that_does_not_add_up_is_not_published(
    spark: SparkSession, lake: Settings, tmp_path: Path, changes: dict[str, int], message: str, begin: Begin
) -> None:
    first = begin(a_staged_day)
    with pytest.raises(DaybookError) as error:
        first.publish(manifest(tmp_path, [an_id(n) for n in range(1, 5)], **changes))
    assert message in str(error.value)
    assert rows(spark, EVENTS) == []
    assert read_ledger(lake).revisions == ()


def test_an_acknowledged_event_that_did_not_land_stops_the_day(
    spark: SparkSession, tmp_path: Path, begin: Begin
) -> None:
    first = begin(a_staged_day)
    with pytest.raises(DaybookError, match=r"acknowledged ids found in raw_events: 4 against 5 \(-1\)"):
        first.publish(manifest(tmp_path, [an_id(n) for n in (1, 2, 3, 4, 99)]))
    assert rows(spark, EVENTS) == []


def test_a_staged_day_that_lost_an_event_is_not_published(spark: SparkSession, lake: Settings, begin: Begin) -> None:
    first = begin(a_staged_day)
    short = (
        spark.read.option("versionAsOf", first.stage.events_snapshot_id).table(spark_name(EVENTS)).where("item <> ''")
    )
    snapshot_id = stage_dates(spark, lake, short.limit(2), EVENTS, "broken", [DAY])
    first.stage = Stage(**{**first.stage.__dict__, "events_snapshot_id": snapshot_id})
    with pytest.raises(DaybookError, match=r"raw records of the day = events \+ duplicates \+ rejected: 6 against 4"):
        first.publish()
    assert rows(spark, EVENTS) == []


def test_an_answer_that_lost_an_event_is_not_published(spark: SparkSession, lake: Settings, begin: Begin) -> None:
    first = begin(a_staged_day)
    good = dict(first.answers)
    for name, kept, line in (
        (
            "event_popularity",
            "event_type = 'purchase_item'",
            r"of the day = sum over event_popularity: 4 against 3 \(\+1\)",
        ),
        ("purchases", "item <> 'sword'", r"of the day where .* = sum over purchases: 3 against 0 \(\+3\)"),
    ):
        staged = at_snapshot(spark, name, good[name]).where(on_dates([DAY])).where(kept)
        first.answers = {**good, name: stage_dates(spark, lake, staged, name, f"broken {name}", [DAY])}
        with pytest.raises(DaybookError, match=line):
            first.publish()
    assert rows(spark, EVENTS) == []


def test_a_record_that_is_not_counted_or_never_arrived_stops_the_day(
    spark: SparkSession, lake: Settings, begin: Begin
) -> None:
    """The two sides of a line are counted in different places: a change to one is enough."""
    first = begin(a_staged_day)
    good = first.stage
    landed = LandedRange(partition=0, start=0, end=6, records=6, landing=1)
    for broken, line in (
        ({"duplicates": {DAY: 2}}, r"events \+ duplicates \+ rejected: 6 against 7 \(-1\)"),
        ({"rejected_snapshot_id": None}, r"events \+ duplicates \+ rejected: 6 against 5 \(\+1\)"),
        (
            {"landed": [replace(landed, end=7, records=7)]},
            r"Kafka offsets 0 to 7 of partition 0 = raw records landed \+ gaps: 7 against 6 \(\+1\)",
        ),
        (
            {"landed": [landed, replace(landed, partition=1)]},
            r"Kafka offsets 0 to 6 of partition 1 = raw records landed \+ gaps: 6 against 0 \(\+6\)",
        ),
    ):
        first.stage = replace(good, **broken)
        with pytest.raises(DaybookError, match=line):
            first.publish()
    assert rows(spark, EVENTS) == []
    first.stage = replace(good, landed=[landed])
    assert [one["revision"] for one in first.publish().published] == [1]
    assert newest_row(lake)["rules_version"] == rules_version(lake)


def test_a_change_of_the_lateness_makes_a_day_due(lake: Settings, run: MakeRun, begin: Begin) -> None:
    begin(one_event)
    assert run("run2").build().stage.dates == []
    other = lake.model_copy(update={"lateness_days": lake.lateness_days + 1})
    assert dates_due(other, DAY, force=False) == [DAY]


def test_the_second_of_two_runs_of_a_day_publishes_nothing(
    spark: SparkSession, lake: Settings, run: MakeRun, begin: Begin
) -> None:
    first, second = begin(a_staged_day), run("run2")
    second.build()
    first.publish()
    result = second.publish()
    assert (result.published, result.unchanged) == ([], ["2026-05-03"])
    assert len(rows(spark, EVENTS)) == 4
    assert len(read_ledger(lake).revisions) == 1


def test_a_run_that_saw_more_stages_again_and_publishes(
    spark: SparkSession, topic: Topic, run: MakeRun, begin: Begin
) -> None:
    first, second = begin(a_staged_day), run("run2")
    topic.event(event_id=an_id(9), item="knife")
    second.land(topic)
    second.build()
    first.publish()
    result = second.publish()
    assert [(one["day"], one["revision"]) for one in result.published] == [("2026-05-03", 2)]
    assert sorted(row["event_id"] for row in rows(spark, EVENTS)) == sorted(an_id(n) for n in (1, 2, 3, 4, 9))


def test_runs_of_different_days_both_publish_what_they_staged_side_by_side(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1), occurred_at="2026-05-03T10:00:00Z")
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T10:00:00Z")
    first, second = run("run1"), run("run2", NEXT_DAY)
    first.land(topic)
    first.build()
    second.build()
    second.publish()
    first.publish()
    assert sorted(row["event_id"] for row in rows(spark, EVENTS)) == [an_id(1), an_id(2)]
    assert [one.event_date for one in read_ledger(lake).revisions] == [DAY, NEXT_DAY]


def test_a_publish_killed_between_two_tables_is_finished_by_its_retry(
    spark: SparkSession, lake: Settings, begin: Begin
) -> None:
    first = begin(a_staged_day)
    assert first.stage.events_snapshot_id is not None
    publish(spark, lake, EVENTS, first.stage.events_snapshot_id)  # then the driver dies
    result = first.publish()
    assert [(one["day"], one["revision"]) for one in result.published] == [("2026-05-03", 1)]
    assert len(rows(spark, EVENTS)) == 4
    again = first.publish()
    assert (again.published, again.unchanged) == ([], ["2026-05-03"])


class Overtaken:
    """Calls a function once when a run publishes a table: before the table, or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, table: str, when: str, then: Callable[[], object]) -> None:
        self.table, self.when, self.then, self.is_done = table, when, then, False
        monkeypatch.setattr("daybook_spark.publishing.publish", self._publish)

    def _publish(self, spark: SparkSession, settings: Settings, table: str, snapshot_id: int) -> None:
        if self.when == "before":
            self._happen(table)
        publish(spark, settings, table, snapshot_id)
        if self.when == "after":
            self._happen(table)

    def _happen(self, table: str) -> None:
        if table == self.table and not self.is_done:
            self.is_done = True
            self.then()


LAST_TABLE = [name for area in AREAS for name in answers(area)][-1]
"""The last table that a run publishes before its ledger row."""


@pytest.mark.parametrize(("table", "when"), [(EVENTS, "after"), (LAST_TABLE, "after"), (DAY_LEDGER, "before")])
def test_a_run_that_another_overtakes_while_it_publishes_writes_no_revision(
    spark: SparkSession,
    lake: Settings,
    topic: Topic,
    run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    when: str,
    begin: Begin,
) -> None:
    first, second = begin(a_staged_day), run("run2")

    def one_more_event_lands_and_is_published() -> None:
        topic.event(event_id=an_id(9), item="knife")
        second.land(topic)
        assert [one["revision"] for one in second.build(dates=[DAY]).publish().published] == [1]

    Overtaken(monkeypatch, table, when, one_more_event_lands_and_is_published)
    result = first.publish()

    assert (result.published, result.unchanged) == ([], ["2026-05-03"])
    [row] = read_ledger(lake).revisions
    assert [row.revision, row.run_id, row.landed, row.events] == [1, "run2", 7, 5]
    assert len(pinned_rows(spark, lake, EVENTS)) == 5
    assert [one.line for one in verify_day(lake, "2026-05-03") if one.verdict == DIFFERENT] == []


def pinned_rows(spark: SparkSession, lake: Settings, table: str) -> list[dict[str, Any]]:
    """Return the day's rows in the snapshot that its newest ledger row pins."""
    found = at_snapshot(spark, table, newest_row(lake)["snapshots"][table]).where(on_dates([DAY]))
    return [row.asDict() for row in found.collect()]


@pytest.mark.parametrize("table", [EVENTS, "guild_joins"])
def test_rows_that_were_not_validated_are_never_pinned(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Another writer adds rows of the day while it is published. The day itself has no guild joins."""
    for number, moment in ((1, "2026-05-03T10:00:00Z"), (2, "2026-05-04T10:00:00Z")):
        topic.event(event_id=an_id(number), occurred_at=moment)
    topic.event(event_id=an_id(3), event_type="join_guild", occurred_at="2026-05-04T10:00:00Z")
    first = run("run1")
    first.land(topic)
    run("run0", NEXT_DAY).build().publish()
    first.build()

    def somebody_writes() -> None:
        spark.table(spark_name(table)).limit(1).withColumn("event_date", F.lit(DAY)).writeTo(spark_name(table)).append()

    Overtaken(monkeypatch, EVENTS, "after", somebody_writes)
    result = first.publish()

    assert [(one["day"], one["revision"], one["rows"][table]) for one in result.published] == [
        ("2026-05-03", 1, int(table == EVENTS))
    ]
    assert len(pinned_rows(spark, lake, table)) == int(table == EVENTS)
    now = spark.table(spark_name(table)).where(on_dates([DAY]))
    assert now.count() == int(table == EVENTS), "and the day was staged again over what was written"


def test_a_refusal_of_one_day_does_not_take_back_another(
    lake: Settings, topic: Topic, run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, moment in ((1, "2026-05-03T10:00:00Z"), (2, "2026-05-04T10:00:00Z")):
        topic.event(event_id=an_id(number), occurred_at=moment)
    first = run("run1")
    first.land(topic)
    first.build(dates=[DAY, NEXT_DAY])
    second = run("run2", NEXT_DAY)

    def the_next_day_is_published() -> None:
        second.build(dates=[NEXT_DAY]).publish()

    Overtaken(monkeypatch, DAY_LEDGER, "after", the_next_day_is_published)
    result = first.publish()
    assert [(one["day"], one["revision"]) for one in result.published] == [("2026-05-03", 1)]
    assert result.unchanged == ["2026-05-04"]
    assert [(row.run_id, row.revision) for row in read_ledger(lake).revisions] == [
        ("run1", 1),
        ("run2", 1),
    ]


def test_a_range_of_offsets_is_published_once(spark: SparkSession, lake: Settings, topic: Topic) -> None:
    topic.event(event_id=an_id(1))
    ends = {LANDING: "1", START: offsets_text({0: 0}), END: offsets_text({0: 1})}
    one = stage_append(spark, lake, topic.raw(), RAW_EVENTS, "landing:1", ends)
    stage_append(spark, lake, topic.raw(), RAW_EVENTS, "landing:1", ends)
    table = load(lake, RAW_EVENTS)
    assert table is not None
    staged_ids = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
    assert len(staged_ids) == 2
    publish(spark, lake, RAW_EVENTS, one.snapshot_id)
    other = (staged_ids - {one.snapshot_id}).pop()
    with pytest.raises(PublishRefused):
        publish(spark, lake, RAW_EVENTS, other)
    assert len(rows(spark, RAW_EVENTS)) == 1
    assert position(lake, load(lake, RAW_EVENTS)).offsets == {0: 1}


def test_a_date_without_rows_left_is_emptied(spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun) -> None:
    topic.event(event_id=an_id(1), occurred_at="2026-05-03T10:00:00Z")
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T10:00:00Z")
    for run_id, day in (("run1", DAY), ("run2", NEXT_DAY)):
        one = run(run_id, day)
        one.land(topic)
        one.build().publish()
    nothing = spark.table(spark_name(EVENTS)).limit(0)
    snapshot_id = stage_dates(spark, lake, nothing, EVENTS, "empty", [DAY])
    assert snapshot_id is not None
    assert len(rows(spark, EVENTS)) == 2
    publish(spark, lake, EVENTS, snapshot_id)
    assert [row["event_date"] for row in rows(spark, EVENTS)] == [NEXT_DAY]


def test_a_receipt_names_the_row_that_rose(lake: Settings, topic: Topic, run: MakeRun) -> None:
    for number, item in enumerate(("sword", "sword", "knife")):
        topic.event(event_id=an_id(number + 1), item=item)
    first = run("run1")
    first.land(topic)
    first.build().publish()
    for number in (4, 5):
        topic.event(event_id=an_id(number), item="knife")
    second = run("run2")
    second.land(topic)
    second.build().publish()
    changed = len(json.loads(newest_row(lake)["changes"]))
    assert newest_row(lake)["receipt"] == (
        f"2026-05-03 r2: +2 events, +2 late; {changed} answers changed; "
        "purchase_item knife now rank 1 (was 2) in event_popularity"
    )


def test_a_day_that_fails_a_check_is_not_published_and_the_rows_are_stored(
    spark: SparkSession, lake: Settings, begin: Begin
) -> None:
    first = begin(a_staged_day)
    staged = spark.read.option("versionAsOf", first.stage.events_snapshot_id).table(spark_name(EVENTS))
    one_twice = staged.withColumn("event_id", F.when(F.col("kafka_offset") == 1, an_id(1)).otherwise(F.col("event_id")))
    snapshot_id = stage_dates(spark, lake, one_twice, EVENTS, "broken", [DAY])
    first.stage = Stage(**{**first.stage.__dict__, "events_snapshot_id": snapshot_id})
    with pytest.raises(DaybookError, match=r"2026-05-03: the check unique_event_ids .* fails with 1 rows") as error:
        first.publish()
    assert "daybook checks --day 2026-05-03" in str(error.value)
    assert rows(spark, EVENTS) == []
    [kept] = [row for row in rows(spark, CHECK_FAILURES) if row["severity"] == "fail"]
    assert (kept["check"], kept["severity"], kept["run_id"]) == ("unique_event_ids", "fail", "run1")
    assert json.loads(kept["failing_row"]) == {"event_date": "2026-05-03", "event_id": an_id(1), "events": 2}


def test_a_day_with_a_warning_is_published_with_it(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    topic.event(event_id=an_id(2), host="192.0.2.7")
    topic.event(event_id=an_id(3), host="192.0.2.8")
    topic.event(event_id=an_id(3), host="192.0.2.9")
    first = run("run1")
    first.land(topic)
    first.build().publish()
    assert {(one["check"], one["rows"]) for one in json.loads(newest_row(lake)["checks"])} == {
        ("provider_coverage", 1),
        ("rejected_share", 1),
    }
    assert {row["check"] for row in rows(spark, CHECK_FAILURES)} == {"provider_coverage", "rejected_share"}


def test_a_rebuild_lists_the_changes_then_makes_only_those(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.event(event_id=an_id(1), occurred_at="2026-05-03T10:00:00Z", host="a.cox.net")
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T10:00:00Z")
    first = run("run1")
    first.land(topic)
    first.build().publish()
    run("run2", NEXT_DAY).build().publish()
    same = rebuild(spark, lake, DAY, NEXT_DAY, "nothing new", dry_run=False)
    assert [one["changed"] for one in same] == [False, False]
    assert [one.revision for one in read_ledger(lake).revisions] == [1, 1]

    def renamed(host: str) -> Provider:
        return Provider("renamed", "cox.net") if host.endswith("cox.net") else resolve(host)

    monkeypatch.setattr("daybook_spark.events.resolve", renamed)
    planned = rebuild(spark, lake, DAY, NEXT_DAY, "look", dry_run=True)
    assert [one["changed"] for one in planned] == [True, False]
    assert planned[0]["receipt"] == "2026-05-03 r2: the same counts; 2 answers changed"
    assert [one.revision for one in read_ledger(lake).revisions] == [1, 1]

    assert rebuild(spark, lake, DAY, NEXT_DAY, "do", dry_run=False)[0]["revision"] == 2
    assert (newest_row(lake)["revision"], newest_row(lake, NEXT_DAY)["revision"]) == (2, 1)
    changes = json.loads(newest_row(lake)["changes"])
    assert {name: (one["added"], one["removed"]) for name, one in changes.items()} == {
        "provider_event_popularity": (1, 1),
        "provider_usage": (1, 1),
    }
    assert rebuild(spark, lake, DAY, NEXT_DAY, "again", dry_run=False)[0]["changed"] is False
