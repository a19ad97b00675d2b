"""Maintenance of the lake: what it deletes, what it retains, and that readers see no difference."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from daybook.errors import DaybookError, NonRetryableError
from daybook.kafka.offsets import offsets_text
from daybook.lake.answers import answer_rows
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import CATALOG, DAY_LEDGER, EVENTS, RAW_EVENTS, REJECTED_EVENTS, spark_name
from daybook.pipeline.due import dates_due, nothing_due
from daybook.pipeline.erasures import erasures
from daybook.pipeline.position import END, LANDING, START, position
from daybook.settings import Settings
from daybook.sql.answers import answers
from daybook_spark import publishing
from daybook_spark.erasing import forget
from daybook_spark.landing import keep_position, left_staged
from daybook_spark.maintenance import (
    STEPS,
    apply_raw_retention,
    compact_files,
    expire_snapshots,
    remove_orphan_files,
)
from daybook_spark.rebuilding import rebuild
from daybook_spark.staging import publish, stage_append
from tests.spark.lake_run import DAY, NEXT_DAY, Begin, MakeRun, Run, an_id, one_event
from tests.spark.topic_records import Topic

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("six_answers")]


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def snapshots(lake: Settings, table: str) -> int:
    metadata = load(lake, table)
    return len(metadata.metadata.snapshots) if metadata else 0


def readers_see(lake: Settings) -> dict[Any, Any]:
    """Return every answer of every published day, and the position."""
    rows = {
        (name, day): answer_rows(read_ledger(lake), name, day.isoformat())
        for day in read_ledger(lake).newest
        for name in answers()
    }
    return {
        **rows,
        "position": position(lake, load(lake, RAW_EVENTS)),
        "revisions": [one.revision for one in read_ledger(lake).revisions],
    }


def two_days(topic: Topic, run: MakeRun) -> Run:
    """Two days in six landings; the first has two revisions."""
    topic.event(event_id=an_id(1))
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T10:00:00Z")
    topic.send(b"\xff")
    first = run("run0")
    first.land(topic)
    first.build().publish()
    for number in range(5):
        topic.event(event_id=an_id(10 + number))
        first.land(topic)
    second = run("run1", NEXT_DAY).build()
    second.publish()
    return second


def a_run_beside_two_days(topic: Topic, run: MakeRun) -> Run:
    """Stage a third revision of the first of two days without publishing it."""
    two_days(topic, run)
    topic.event(event_id=an_id(50))
    waiting = run("waiting")
    waiting.land(topic)
    return waiting.build()


def aged(lake: Settings, days: float) -> None:
    """Make every file of the lake older: Iceberg finds orphans by file time."""
    then = time.time() - days * 86_400
    for file in Path(lake.warehouse.removeprefix("file://")).rglob("*"):
        if file.is_file():
            os.utime(file, (then, then))


def test_each_step_is_safe_to_repeat_and_readers_notice_nothing(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, begin: Begin
) -> None:
    begin(two_days)
    before = readers_see(lake)
    aged(lake, 4)
    assert expire_snapshots(spark, lake, later(8))[EVENTS] >= 1
    assert compact_files(spark, lake, later(8)) == {RAW_EVENTS: 6}
    assert readers_see(lake) == before
    assert expire_snapshots(spark, lake, later(16))[RAW_EVENTS] >= 1  # the snapshots from before the merge expire too
    assert remove_orphan_files(spark, lake, datetime.now(UTC))[RAW_EVENTS] >= 6
    for name, step in STEPS.items():
        assert step(spark, lake, later(0) if name == "remove_orphan_files" else later(16)) == {}, name
    assert readers_see(lake) == before
    topic.event(event_id=an_id(99))
    more = run("more")
    more.land(topic)
    assert [(one["day"], one["revision"]) for one in more.build().publish().published] == [("2026-05-03", 3)]
    assert sorted(row.event_id for row in spark.table(spark_name(EVENTS)).collect()) == sorted(
        an_id(number) for number in (1, 2, *range(10, 15), 99)
    )


def test_a_day_merges_the_ledgers_files_when_there_are_many(
    spark: SparkSession,
    lake: Settings,
    topic: Topic,
    run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ledger_files() -> int:
        ledger = load(lake, DAY_LEDGER)
        return len(list(ledger.scan().plan_files())) if ledger else 0

    monkeypatch.setattr(publishing, "MOST_LEDGER_FILES", 6)
    days: list[date | None] = [date(2026, 5, number) for number in range(1, 6)]
    for number, day in enumerate(days):
        topic.event(event_id=an_id(number), occurred_at=f"{day}T10:00:00Z")
    first = run("first", date(2026, 5, 5))
    first.land(topic)
    assert len(first.build(dates=days).publish().published) == ledger_files() == 5

    topic.event(event_id=an_id(5), occurred_at="2026-05-06T10:00:00Z")
    second = run("second", date(2026, 5, 6))
    second.land(topic)
    assert [one["day"] for one in second.build().publish().published] == ["2026-05-06"]
    assert ledger_files() == 1
    assert [one.day for one in read_ledger(lake).revisions] == [f"2026-05-0{day}" for day in range(1, 7)]

    monkeypatch.setattr(publishing, "MOST_LEDGER_FILES", 1)
    monkeypatch.setattr("daybook_spark.maintenance.CATALOG", "nowhere")
    publishing.merge_ledger_files(spark, lake)  # a day that is published does not fail by it
    assert "were not merged" in capsys.readouterr().out


def test_nothing_younger_than_the_retention_is_removed_and_a_staged_run_still_publishes(
    spark: SparkSession, lake: Settings, begin: Begin
) -> None:
    waiting = begin(a_run_beside_two_days)
    assert expire_snapshots(spark, lake, later(6.9)) == {}
    compact_files(spark, lake, later(6.9))
    remove_orphan_files(spark, lake, datetime.now(UTC))
    assert [one["day"] for one in waiting.publish().published] == ["2026-05-03"]
    assert spark.table(spark_name(EVENTS)).count() == 8


def test_files_merged_under_a_staged_landing_and_a_staged_day_lose_and_double_nothing(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, begin: Begin
) -> None:
    waiting = begin(a_run_beside_two_days)
    assert waiting.stage.events_snapshot_id is not None
    publish(spark, lake, EVENTS, waiting.stage.events_snapshot_id)  # half of the day is published
    topic.event(event_id=an_id(51))
    at = position(lake, load(lake, RAW_EVENTS))
    ends = {LANDING: str(at.landing + 1), START: offsets_text(at.offsets), END: offsets_text({0: len(topic.rows)})}
    rows = topic.raw(len(topic.rows) - 1, at.landing + 1)
    landing = stage_append(spark, lake, rows, RAW_EVENTS, f"landing:{at.landing + 1}", ends)

    for name in (RAW_EVENTS, EVENTS, REJECTED_EVENTS, *answers()):  # all days, not only those with many files
        spark.sql(
            f"CALL {CATALOG}.system.rewrite_data_files("
            f"table => '{spark_name(name)}', options => map('rewrite-all', 'true'))"
        ).collect()

    publish(spark, lake, RAW_EVENTS, landing.snapshot_id)
    assert position(lake, load(lake, RAW_EVENTS)).offsets == {0: len(topic.rows)}
    assert [(one["day"], one["revision"]) for one in waiting.publish().published] == [("2026-05-03", 3)]
    run("next").build().publish()
    assert sorted(row.event_id for row in spark.table(spark_name(EVENTS)).collect()) == sorted(
        an_id(number) for number in (1, 2, *range(10, 15), 50, 51)
    )
    assert spark.table(spark_name(RAW_EVENTS)).count() == len(topic.rows)


def test_a_run_that_slept_longer_than_the_retention_publishes_nothing_twice(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    slept = run("slept")
    slept.land(topic)
    slept.build()
    run("other").build().publish()
    expire_snapshots(spark, lake, later(8))
    result = slept.publish()
    assert (result.published, result.unchanged) == ([], ["2026-05-03"])
    assert spark.table(spark_name(EVENTS)).count() == 1


def test_the_snapshots_of_a_half_published_day_are_not_expired(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, begin: Begin
) -> None:
    begin(one_event)
    before = readers_see(lake)
    topic.event(event_id=an_id(2))
    killed = run("killed")
    killed.land(topic)
    killed.build()
    snapshot_id = killed.answers["event_popularity"]
    assert snapshot_id is not None
    publish(spark, lake, "event_popularity", snapshot_id)  # then the driver died
    expire_snapshots(spark, lake, later(8))
    assert answer_rows(read_ledger(lake), "event_popularity", "2026-05-03") == before["event_popularity", DAY]


def test_a_day_whose_pin_is_expired_is_read_whole_while_a_new_revision_is_half_published(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T10:00:00Z")
    first = run("first")
    first.land(topic)
    first.build().publish()
    [pinned] = [one.snapshots for one in read_ledger(lake).revisions]
    run("second", NEXT_DAY).build().publish()
    before = readers_see(lake)
    expire_snapshots(spark, lake, later(8))
    metadata = load(lake, "event_popularity")
    assert metadata is not None
    snapshot_id = pinned["event_popularity"]
    assert snapshot_id is not None
    assert metadata.snapshot_by_id(snapshot_id) is None
    assert readers_see(lake) == before

    topic.event(event_id=an_id(3))
    killed = run("killed")
    killed.land(topic)
    killed.build()
    snapshot_id = killed.answers["event_popularity"]
    assert snapshot_id is not None
    publish(spark, lake, "event_popularity", snapshot_id)  # then the driver died
    shown = answer_rows(read_ledger(lake), "event_popularity", "2026-05-03")
    assert shown == before["event_popularity", DAY]
    for _ in range(2):  # the second has only the information that the first has left
        expire_snapshots(spark, lake, later(8))
        shown = answer_rows(read_ledger(lake), "event_popularity", "2026-05-03")
        assert shown == before["event_popularity", DAY]

    run("finish").build().publish()
    assert [row["events"] for row in answer_rows(read_ledger(lake), "event_popularity", "2026-05-03")] == [2]
    assert expire_snapshots(spark, lake, later(8))["event_popularity"] >= 2
    assert snapshots(lake, "event_popularity") == 1
    assert [row["events"] for row in answer_rows(read_ledger(lake), "event_popularity", "2026-05-03")] == [2]


def test_a_staged_landing_that_comes_next_outlives_the_retention_and_no_other(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    run("first").land(topic)
    topic.event(event_id=an_id(2))
    next_one = {LANDING: "2", START: offsets_text({0: 1}), END: offsets_text({0: 2})}
    overtaken = {LANDING: "1", START: offsets_text({0: 0}), END: offsets_text({0: 1})}
    waiting = stage_append(spark, lake, topic.raw(1, 2), RAW_EVENTS, "landing:2", next_one)  # then the driver died
    gone = stage_append(spark, lake, topic.raw(0, 1), RAW_EVENTS, "landing:1", overtaken)

    expire_snapshots(spark, lake, later(100))

    raw = load(lake, RAW_EVENTS)
    assert raw is not None
    assert raw.snapshot_by_id(gone.snapshot_id) is None
    found = left_staged(raw, position(lake, raw))
    assert found is not None
    assert found.snapshot_id == waiting.snapshot_id
    publish(spark, lake, RAW_EVENTS, waiting.snapshot_id)
    assert position(lake, load(lake, RAW_EVENTS)).offsets == {0: 2}


def test_the_raw_snapshot_of_a_day_published_this_week_is_not_expired(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    first = run("first")
    first.land(topic)
    first.build()
    topic.event(event_id=an_id(2))
    first.land(topic)
    week_begins = datetime.now(UTC)
    first.publish()
    expire_snapshots(spark, lake, week_begins + timedelta(days=7))
    raw = load(lake, RAW_EVENTS)
    assert raw is not None
    assert first.stage.raw_snapshot_id in {one.snapshot_id for one in raw.metadata.snapshots}
    expire_snapshots(spark, lake, later(8))
    assert snapshots(lake, RAW_EVENTS) == 1


def test_orphans_go_after_three_days_and_files_in_use_never(spark: SparkSession, lake: Settings, begin: Begin) -> None:
    begin(one_event)
    orphan = Path(lake.warehouse.removeprefix("file://")) / "game" / EVENTS / "data" / "left-by-a-kill.parquet"
    orphan.write_bytes(b"half")
    before = readers_see(lake)
    aged(lake, 2.9)
    assert remove_orphan_files(spark, lake, datetime.now(UTC)) == {}
    assert orphan.exists()
    aged(lake, 3.1)
    assert remove_orphan_files(spark, lake, datetime.now(UTC)) == {EVENTS: 1}
    assert not orphan.exists()
    assert readers_see(lake) == before


def test_raw_records_are_removed_after_their_retention_and_their_days_stay_published(
    spark: SparkSession, lake: Settings, begin: Begin
) -> None:
    begin(two_days)
    before = readers_see(lake)
    kept = lake.model_copy(update={"raw_retention_days": 40})
    now = datetime(2026, 6, 13, 1, tzinfo=UTC)  # 41 days after the first day, 40 after the second
    done = apply_raw_retention(spark, kept, now)
    assert done == {RAW_EVENTS: 6}
    assert {row.event_date for row in spark.table(spark_name(RAW_EVENTS)).collect()} == {NEXT_DAY, None}
    assert readers_see(lake) == before
    assert apply_raw_retention(spark, kept, now) == {}
    assert apply_raw_retention(spark, lake, now) == {}, "kept for ever unless a retention is set"

    assert dates_due(kept, DAY, force=False) == []
    with pytest.raises(
        DaybookError, match=r"2026-05-03 is published as revision 2 and cannot be built again: 0 of its 6"
    ):
        Run(spark, kept, "again", DAY).build(force=True)
    rebuilt = rebuild(spark, kept, DAY, NEXT_DAY, "rebuild", dry_run=False)
    assert [one["changed"] for one in rebuilt] == [False, False]
    assert "cannot be built again" in rebuilt[0]["receipt"]
    # without a retention, missing records are an error
    with pytest.raises(
        NonRetryableError, match=r"2026-05-03 cannot be built again: 0 of its 6 .* is 0, so nothing may"
    ):
        Run(spark, lake, "again", DAY).build()
    with pytest.raises(
        NonRetryableError, match=r"2026-05-03 cannot be built again: .* `daybook verify --day 2026-05-03`"
    ):
        rebuild(spark, lake, DAY, NEXT_DAY, "rebuild", dry_run=True)
    with pytest.raises(NonRetryableError, match="2026-05-04 cannot be built: raw records of 2026-05-03 are missing"):
        rebuild(spark, lake, NEXT_DAY, NEXT_DAY, "rebuild", dry_run=True)
    assert readers_see(lake) == before

    # the retention of a record without a day uses Kafka's timestamp: the night before the second day
    assert apply_raw_retention(spark, kept, now + timedelta(days=1)) == {RAW_EVENTS: 2, REJECTED_EVENTS: 1}
    assert dates_due(kept, DAY, force=False) == []
    assert readers_see(lake) == before


NARROW = {"lateness_days": 1, "raw_retention_days": 4}
LONG_AFTER = datetime(2026, 7, 1, tzinfo=UTC)


def test_records_that_no_revision_counts_stay_and_are_never_published_alone(
    spark: SparkSession, lake: Settings, topic: Topic, begin: Begin
) -> None:
    first = begin(one_event)
    for number in (2, 3):  # they come after the lateness window; there are more of them than the published day has
        topic.event(event_id=an_id(number))
    first.land(topic)
    narrow = lake.model_copy(update=NARROW)
    before = readers_see(lake)

    assert apply_raw_retention(spark, narrow, LONG_AFTER) == {RAW_EVENTS: 1}
    assert apply_raw_retention(spark, narrow, LONG_AFTER) == {}

    assert sorted(row.event_id for row in spark.table(spark_name(RAW_EVENTS)).collect()) == [an_id(2), an_id(3)]
    for force in (False, True):
        with pytest.raises(
            DaybookError, match=r"2026-05-03 is published as revision 1 and cannot be built again: 0 of its 1"
        ):
            Run(spark, narrow, "again", DAY).build(force=force)
    assert readers_see(lake) == before


def test_a_day_whose_neighbour_is_removed_is_not_built_for_an_id_could_count_twice(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    topic.event(event_id=an_id(1), occurred_at="2026-05-04T10:00:00Z")  # a retry: not an event of the second day
    topic.event(event_id=an_id(2), occurred_at="2026-05-04T10:00:00Z")
    first = run("first")
    first.land(topic)
    first.build().publish()
    run("second", NEXT_DAY).build().publish()
    narrow = lake.model_copy(update=NARROW)
    assert apply_raw_retention(spark, narrow, datetime(2026, 5, 8, tzinfo=UTC)) == {RAW_EVENTS: 1}
    topic.event(event_id=an_id(3), occurred_at="2026-05-04T10:00:00Z")
    first.land(topic)
    before = readers_see(lake)

    assert dates_due(narrow, NEXT_DAY, force=False) == []
    assert "2026-05-04 cannot be built" in nothing_due(narrow, NEXT_DAY), "it has a new record, and says why it waits"
    with pytest.raises(DaybookError, match=r"2026-05-04 cannot be built: .* removed the raw records of 2026-05-03"):
        Run(spark, narrow, "forced", NEXT_DAY).build(force=True)
    rebuilt = rebuild(spark, narrow, DAY, NEXT_DAY, "rebuild", dry_run=False)
    assert ["cannot be built" in one["receipt"] for one in rebuilt] == [True, True]
    assert readers_see(lake) == before


def test_raw_records_that_an_unpublished_day_will_be_compared_with_stay_until_it_is_published(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.event(event_id=an_id(1))
    topic.event(event_id=an_id(1), occurred_at="2026-05-04T10:00:00Z")
    first = run("first")
    first.land(topic)
    first.build().publish()
    narrow = lake.model_copy(update=NARROW)
    assert apply_raw_retention(spark, narrow, LONG_AFTER) == {}
    run("second", NEXT_DAY).build().publish()
    assert [row.event_date for row in spark.table(spark_name(EVENTS)).collect()] == [DAY]
    assert apply_raw_retention(spark, narrow, LONG_AFTER) == {RAW_EVENTS: 2}


def test_records_without_a_day_stay_until_they_are_rejected(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    topic.send(b"\xff")
    first = run("first")
    first.land(topic)
    narrow = lake.model_copy(update=NARROW)
    assert apply_raw_retention(spark, narrow, LONG_AFTER) == {}
    first.build().publish()
    spark.sql(f"DELETE FROM {spark_name(RAW_EVENTS)} WHERE event_date IS NULL")  # then the step is killed
    assert dates_due(narrow, DAY, force=False) == []
    assert apply_raw_retention(spark, narrow, LONG_AFTER) == {REJECTED_EVENTS: 1}
    assert dates_due(narrow, DAY, force=False) == []


def test_a_player_of_a_day_without_raw_records_is_not_forgotten_at_the_cost_of_the_others(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    for number, user in enumerate(("keeper", "leaver")):
        topic.event(event_id=an_id(number), user_id=user)
    first = run("first")
    first.land(topic)
    first.build().publish()
    apply_raw_retention(spark, lake.model_copy(update=NARROW), LONG_AFTER)
    before = readers_see(lake)
    with pytest.raises(
        DaybookError, match=r"2026-05-03: these published days have rows of the user .* Nothing was removed"
    ):
        forget(spark, lake, "leaver", "forget", "")
    assert readers_see(lake) == before
    assert erasures(lake) == []


def test_a_landing_made_while_the_position_is_written_is_not_set_back(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):  # enough files to merge; the merged snapshot does not record the position
        topic.event(event_id=an_id(number))
        run("first").land(topic)
    monkeypatch.setattr("daybook_spark.maintenance.keep_position", lambda *_: None)
    assert compact_files(spark, lake, later(0)) == {RAW_EVENTS: 5}
    seen = [load(lake, RAW_EVENTS)]
    topic.event(event_id=an_id(9))
    run("other").land(topic)  # after maintenance has loaded the table, before it commits
    compact_files(spark, lake, later(0))
    stands = position(lake, load(lake, RAW_EVENTS))
    assert stands.landing == 6

    monkeypatch.setattr("daybook_spark.landing.load", lambda *of: seen.pop() if seen else load(*of))
    keep_position(lake)

    assert not seen
    assert position(lake, load(lake, RAW_EVENTS)) == stands


def test_a_lake_with_a_hundred_thousand_leftovers_is_as_fast_as_new_after_the_upkeep(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, begin: Begin
) -> None:
    """The leftovers are staged snapshots, written into the metadata as 100,000 killed runs would leave them."""
    begin(one_event)
    fresh = seconds(lambda: load(lake, EVENTS))
    rows = spark.table(spark_name(EVENTS))
    stage_append(spark, lake, rows, EVENTS, "leftover", {})
    _multiply_newest_snapshot(lake, EVENTS, 100_000)
    assert snapshots(lake, EVENTS) > 100_000
    full = seconds(lambda: load(lake, EVENTS))

    assert expire_snapshots(spark, lake, later(8))[EVENTS] > 100_000

    assert snapshots(lake, EVENTS) == 1
    after = seconds(lambda: load(lake, EVENTS))
    print(f"load: new {fresh:.3f} s, full {full:.1f} s, after {after:.3f} s")  # noqa: T201  the figure is the point
    assert after < full / 10
    topic.event(event_id=an_id(2))
    second = run("second")
    second.land(topic)
    assert [one["day"] for one in second.build().publish().published] == ["2026-05-03"]


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _multiply_newest_snapshot(lake: Settings, table: str, times: int) -> None:
    metadata = load(lake, table)
    assert metadata is not None
    old = Path(metadata.metadata_location.removeprefix("file:"))
    old = Path("/" + str(old).lstrip("/"))
    content = json.loads(old.read_text(encoding="utf-8"))
    newest = max(content["snapshots"], key=lambda one: one["sequence-number"])
    content["snapshots"] += [{**newest, "snapshot-id": 1_000_000 + number} for number in range(times)]
    new = old.with_name("99999-leftovers.metadata.json")
    new.write_text(json.dumps(content), encoding="utf-8")
    with sqlite3.connect(lake.catalog_uri.removeprefix("jdbc:sqlite:")) as catalog:
        catalog.execute("UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (new.as_uri(), table))
