"""Runs the questions on staged events and stages their rows, one table for each ``.sql`` file."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, SparkSession

from daybook.errors import NonRetryableError
from daybook.lake.tables import EVENTS, spark_name
from daybook.settings import Settings
from daybook.sql.answers import Answer, answers
from daybook_spark.building import Stage
from daybook_spark.staging import at_snapshot, create_table, on_dates, stage_dates

Staged = dict[str, int | None]
"""Answer -> id of the staged snapshot; None if there are no rows to add and none to remove."""


def ask(spark: SparkSession, answer: Answer, days: list[date]) -> DataFrame:
    """Return the rows of an answer for some days (in order, at least one).

    The statement reads the view ``events``: the staged events of these days, as they will be once published.

    Raises:
        NonRetryableError: the statement cannot be run, or its rows have no day.
    """
    rows = spark.sql(answer.statement, args={"first_day": days[0], "last_day": days[-1]})
    if "event_date" not in rows.columns:
        raise NonRetryableError(
            f"{answer.area}/{answer.name}.sql: the statement must return the column event_date, the day of each row"
        )
    return rows


def stage_answers(spark: SparkSession, settings: Settings, area: str, stage: Stage) -> Staged:
    """Stage every answer of an area for the days of a stage.

    Args:
        spark: the session.
        settings: where the lake is.
        area: ``user_behaviour`` or ``host_providers``.
        stage: what :func:`daybook_spark.building.build_days` staged.

    Returns:
        What was staged; empty if no day had to be built.
    """
    days = sorted(stage.base_revisions)
    if not days:
        return {}
    at_snapshot(spark, EVENTS, stage.events_snapshot_id).where(on_dates(list(days))).createOrReplaceTempView(EVENTS)
    result: Staged = {}
    for name, answer in answers(area).items():
        rows = ask(spark, answer, days)
        create_table(spark, settings, name, _ddl(rows, answer))
        known = spark.table(spark_name(name)).columns
        if sorted(known) != sorted(rows.columns):
            raise NonRetryableError(
                f"{area}/{name}.sql returns the columns {', '.join(rows.columns)}; "
                f"its table has {', '.join(known)}. Nothing was published. Give the new question a new file name, "
                f"or drop {spark_name(name)} and run the days again"
            )
        # a day's answer is small: write one file per day, not one per shuffle partition
        result[name] = stage_dates(spark, settings, rows.select(*known).coalesce(1), name, stage.wap_id, list(days))
    return result


def _ddl(rows: DataFrame, answer: Answer) -> str:
    """The columns of an answer's table as DDL, each with the comment from the answer's file."""
    meanings = {"event_date": "the day, UTC", **answer.columns}
    comments = {name: meanings.get(name, "").replace("'", "''") for name in rows.columns}
    return ", ".join(
        f"`{field.name}` {field.dataType.simpleString()} COMMENT '{comments[field.name]}'" for field in rows.schema
    )
