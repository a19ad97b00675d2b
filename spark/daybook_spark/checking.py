"""Runs the checks on staged days and stores the failing rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from daybook.lake.tables import CHECK_FAILURES, EVENTS, REJECTED_EVENTS, spark_name
from daybook.sql.checks import KEPT_ROWS, Check, Finding, checks, thresholds
from daybook.sql.files import parameters
from daybook_spark.answering import Staged
from daybook_spark.building import Stage
from daybook_spark.staging import at_snapshot, on_dates


def failing_rows(
    spark: SparkSession, known: Mapping[str, Check], bound: Mapping[str, float], days: list[date]
) -> DataFrame:
    """Return the rows that fail the checks: event_date, check, severity, failing_row (JSON).

    Args:
        spark: the session, with the views that the statements read.
        known: the checks.
        bound: thresholds by name.
        days: the days to check, at least one.
    """
    values = {**bound, "first_day": min(days), "last_day": max(days)}
    found = []
    for check in known.values():
        rows = spark.sql(check.statement, args={name: values[name] for name in parameters(check.statement)})
        found.append(
            rows.select(
                "event_date",
                F.lit(check.name).alias("check"),
                F.lit(check.severity).alias("severity"),
                F.to_json(F.struct(*rows.columns), {"ignoreNullFields": "false"}).alias("failing_row"),
            )
        )
    return reduce(DataFrame.unionByName, found)


def check_days(
    spark: SparkSession, stage: Stage, staged_answers: Staged, days: list[date], *, keep_rows: bool
) -> list[Finding]:
    """Check staged days.

    The statements read the staged rows of these days under the names of their tables.

    Args:
        spark: the session.
        stage: the staged ``events`` and ``rejected_events``.
        staged_answers: the staged answers of all areas.
        days: the days to check.
        keep_rows: add the failing rows to ``check_failures`` immediately, even if the day is not published later.

    Returns:
        Every failed check, ordered by day and name.
    """
    if not days:
        return []
    tables = {EVENTS: stage.events_snapshot_id, REJECTED_EVENTS: stage.rejected_snapshot_id, **staged_answers}
    for table, snapshot_id in tables.items():
        at_snapshot(spark, table, snapshot_id).where(on_dates(list(days))).createOrReplaceTempView(table)
    failing = failing_rows(spark, checks(), thresholds(), days).persist()  # read twice: counted, then stored
    counted = failing.groupBy("event_date", "check", "severity").count().orderBy("event_date", "check").collect()
    if counted and keep_rows:
        nth = F.row_number().over(Window.partitionBy("event_date", "check").orderBy("failing_row"))
        kept = failing.withColumn("nth", nth).where(F.col("nth") <= KEPT_ROWS)
        kept.select(
            "event_date",
            F.lit(datetime.now(UTC)).alias("checked_at"),
            F.lit(stage.run_id).alias("run_id"),
            "check",
            "severity",
            "failing_row",
        ).writeTo(spark_name(CHECK_FAILURES)).append()
    failing.unpersist()
    return [Finding(row["check"], row["severity"], row["event_date"], row["count"]) for row in counted]
