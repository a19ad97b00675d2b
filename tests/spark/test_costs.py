"""Count the work that a day gives Spark, to guard its speed. The benchmarks measure time.

Exceeding a limit is not an error in itself: find what needs more, and raise the limit if it is worth it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from daybook.lake.catalog import load
from daybook.lake.tables import EVENTS, spark_name
from daybook.settings import Settings
from daybook.sql.answers import AREAS, answers
from daybook_spark.answering import stage_answers
from daybook_spark.building import create_tables
from daybook_spark.events import ids_also_in, same_ids_elsewhere
from daybook_spark.staging import at_snapshot, create_table, on_dates, stage_append
from tests.spark.lake_run import DAY, Run, an_id
from tests.spark.topic_records import Topic

MOST_JOBS = {"land": 1, "build": 9, "user_behaviour": 41, "host_providers": 13, "publish": 21}
"""Spark jobs of each step for the first revision of a day."""
MOST_STATEMENTS_OF_A_RESTATED_DAY = 1
"""Statements that publishing a day again needs in addition to those of its first revision."""
MOST_SCANS = 20
"""Scans of a day's events, by all answers together."""


class Jobs:
    """Counts Spark's jobs, block by block."""

    def __init__(self, spark: SparkSession) -> None:
        self._context = spark.sparkContext
        self.counted: dict[str, int] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the jobs of the block."""
        self._context.setJobGroup(name, name)
        try:
            yield
        finally:
            self.counted[name] = len(self._context.statusTracker().getJobIdsForGroup(name))
            self._context._jsc.clearJobGroup()


def files_read(rows: DataFrame) -> int:
    """Return how many data files Iceberg's scans hand to Spark for these rows."""
    rows.collect()
    plan = rows._jdf.queryExecution().executedPlan()
    leaves = plan.collectLeaves()
    return sum(
        int(leaves.apply(number).metrics().apply("resultDataFiles").value()) for number in range(leaves.length())
    )


def statements(spark: SparkSession) -> int:
    """Return how many commands and queries Spark has run in this session."""
    store = spark._jsparkSession.sharedState().statusStore()
    return int(store.executionsCount())


@pytest.fixture
def a_small_day(topic: Topic) -> Topic:
    for number in range(40):
        topic.event(
            event_id=an_id(number), item=f"item{number % 3}", user_id=f"user{number % 7}", host=f"host{number}.att.com"
        )
    return topic


def test_the_jobs_of_a_day(spark: SparkSession, lake: Settings, a_small_day: Topic) -> None:
    jobs, run = Jobs(spark), Run(spark, lake, "first")
    with jobs.of("land"):
        run.land(a_small_day)
    with jobs.of("build"):
        run.build(dates=[DAY])
    for area in AREAS:
        with jobs.of(area):
            stage_answers(spark, lake, area, run.stage)
    jobs.counted["build"] -= sum(jobs.counted[area] for area in AREAS)
    with jobs.of("publish"):
        run.publish()
    assert {name: count for name, count in jobs.counted.items() if count > MOST_JOBS[name]} == {}, jobs.counted
    assert jobs.counted.keys() == MOST_JOBS.keys()


@pytest.mark.long
def test_all_answers_of_a_restated_day_are_compared_in_one_statement(
    spark: SparkSession, lake: Settings, topic: Topic
) -> None:
    made = []
    for number in range(2):
        topic.event(event_id=an_id(number))
        run = Run(spark, lake, f"run{number}")
        run.land(topic)
        run.build()
        before = statements(spark)
        run.publish()
        made.append(statements(spark) - before)
    assert made[1] - made[0] <= MOST_STATEMENTS_OF_A_RESTATED_DAY, made


def test_the_ids_of_thirty_days_are_not_sorted_for_those_of_one(a_small_day: Topic) -> None:
    ids = a_small_day.raw().select("event_id")
    rows = ids_also_in(ids, ids, in_memory=True)
    rows.collect()
    plan: str = rows._jdf.queryExecution().executedPlan().toString()
    assert [plan.count("BroadcastHashJoin") > 0, plan.count("Sort"), plan.count("hashpartitioning")] == [True, 0, 0]


def test_no_job_looks_through_days_that_have_no_records(spark: SparkSession, a_small_day: Topic) -> None:
    jobs = Jobs(spark)
    with jobs.of("look"):
        assert same_ids_elsewhere(a_small_day.raw(), [DAY, None], 30, {DAY: 40, None: 2}) is None
    assert jobs.counted == {"look": 0}


def test_groups_are_looked_for_in_one_map(a_small_day: Topic, capsys: pytest.CaptureFixture[str]) -> None:
    counts = a_small_day.raw().groupBy("event_id").count()
    counts.collect()  # an adaptive plan has no code before its first execution
    counts.explain(mode="codegen")
    code = capsys.readouterr().out
    assert ["HashAggregate" in code, "FastHashMap" in code] == [True, False]


def test_a_run_makes_no_statement_for_tables_that_are_there(spark: SparkSession, lake: Settings) -> None:
    before = statements(spark)
    create_tables(spark, lake)
    assert statements(spark) == before


def test_a_table_of_before_gets_the_properties_that_it_lacks_and_keeps_its_own(
    spark: SparkSession, lake: Settings
) -> None:
    name, lacking = "write.parquet.dict-size-bytes", "write.spark.fanout.enabled"
    spark.sql(f"ALTER TABLE {spark_name(EVENTS)} SET TBLPROPERTIES ('{name}' = '1024')")
    spark.sql(f"ALTER TABLE {spark_name(EVENTS)} UNSET TBLPROPERTIES ('{lacking}')")
    create_tables(spark, lake)
    table = load(lake, EVENTS)
    assert table is not None
    assert (table.properties[name], table.properties[lacking]) == ("1024", "true")


def test_players_are_not_looked_up_in_a_dictionary_and_types_are(spark: SparkSession, lake: Settings) -> None:
    """3,000 players, each twice: 140 KB of names. A dictionary may have 64 KB here; Parquet's default is 2 MB."""
    create_table(spark, lake, "players", "user_id string, event_type string, event_date date")
    rows = spark.range(6000).selectExpr(
        "concat('a player with a name as long as an id ', id % 3000) AS user_id",
        "concat('type', id % 5) AS event_type",
        f"DATE '{DAY}' AS event_date",
    )
    staged = stage_append(spark, lake, rows.coalesce(1), "players", "costs", {})
    table = load(lake, "players")
    assert table is not None
    files = [entry.data_file for one in staged.manifests(table.io) for entry in one.fetch_manifest_entry(table.io)]
    assert len(files) == 1
    with table.io.new_input(files[0].file_path).open() as parquet:
        group = pq.ParquetFile(parquet).metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
    has_dictionary = {one.path_in_schema: one.has_dictionary_page for one in columns}
    assert has_dictionary == {"user_id": False, "event_type": True, "event_date": True}


@pytest.mark.long
def test_a_day_reads_its_own_files_alone(spark: SparkSession, lake: Settings, topic: Topic) -> None:
    """An answer that read all days would be correct, but slower with each day of the lake."""
    for number in range(3):
        day = DAY + timedelta(days=number)
        topic.event(event_id=an_id(number), item="sword", occurred_at=f"{day}T12:00:00Z")
        run = Run(spark, lake, f"run{number}", day)
        run.land(topic)
        run.build().publish()
    day_view = at_snapshot(spark, EVENTS, None).where(on_dates([DAY]))
    assert files_read(at_snapshot(spark, EVENTS, None)) == 3
    assert files_read(day_view) == 1
    day_view.createOrReplaceTempView(EVENTS)
    scans = {
        name: _scans(spark.sql(one.statement, args={"first_day": DAY, "last_day": DAY}))
        for name, one in answers().items()
    }
    assert sum(scans.values()) <= MOST_SCANS, scans


def _scans(rows: DataFrame) -> int:
    plan: str = rows._jdf.queryExecution().optimizedPlan().toString()
    return plan.count("RelationV2")
