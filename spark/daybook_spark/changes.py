"""Finds what a new revision changes in the answers: compares the staged rows with those of the previous revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from daybook.lake.catalog import load
from daybook.lake.ledger import Revision
from daybook.lake.snapshots import page_state
from daybook.pipeline.balance import AnswerChange, RowChange
from daybook.settings import Settings
from daybook.sql.answers import Answer, answers
from daybook_spark.answering import Staged
from daybook_spark.staging import at_snapshot, on_dates

SHOWN_ROWS = 10
"""Most changed rows of an answer and day that the receipt lists; all of them are counted."""


def changed_rows(before: DataFrame, after: DataFrame, answer: Answer) -> DataFrame:
    """Return the rows that differ: event_date, row_key, before, after (JSON, null if there is no row), by_how_much.

    Args:
        before: the answer's published rows.
        after: its staged rows; the same columns.
        answer: defines the key columns of a row, and the column that adds up to events; ``by_how_much`` is the
            difference in that column (0 if there is no such column).
    """
    values = [name for name in after.columns if name not in ("event_date", *answer.key)]
    whole = {"ignoreNullFields": "false"}
    key = F.to_json(F.struct(*answer.key), whole) if answer.key else F.lit("{}")

    def side(rows: DataFrame, name: str) -> DataFrame:
        amount = F.col(answer.balance.column) if answer.balance else F.lit(0)
        return rows.select(
            "event_date", key.alias("row_key"), F.struct(*values).alias(name), amount.alias(f"{name}_amount")
        )

    both = side(before, "before").join(side(after, "after"), on=["event_date", "row_key"], how="full_outer")
    zero = F.lit(0)
    return both.where(~F.col("before").eqNullSafe(F.col("after"))).select(
        "event_date",
        "row_key",
        F.to_json("before", whole).alias("before"),
        F.to_json("after", whole).alias("after"),
        (F.coalesce("after_amount", zero) - F.coalesce("before_amount", zero)).cast("bigint").alias("by_how_much"),
    )


def changes(
    spark: SparkSession, settings: Settings, staged_answers: Staged, previous: Mapping[date, Revision]
) -> dict[date, dict[str, AnswerChange]]:
    """Return the changes in the answers of days that are already published.

    Args:
        spark: the session.
        settings: where the lake is.
        staged_answers: answer -> staged snapshot.
        previous: each day's newest revision.

    Returns:
        Day -> answer -> its changes; unchanged answers are left out. A receipt is created once and stored in the
        ledger, so the snapshots that it was created from may expire later.
    """
    result: dict[date, dict[str, AnswerChange]] = {day: {} for day in previous}
    for name, answer in answers().items():
        if not previous or name not in staged_answers:
            continue
        metadata = load(settings, name)
        for pinned, days in _by_snapshot(name, previous).items():
            known = page_state(metadata, pinned) if metadata is not None and pinned else None
            before = at_snapshot(spark, name, known).where(on_dates(list(days)))
            after = at_snapshot(spark, name, staged_answers[name]).where(on_dates(list(days)))
            differing = changed_rows(before, after.select(*before.columns), answer)
            # the ledger is retained for ever and must not name players: such rows are only counted
            for day, change in _summary(differing, names_rows=not answer.names_players).items():
                result[day][name] = change
    return result


def _by_snapshot(name: str, previous: Mapping[date, Revision]) -> dict[int | None, list[date]]:
    days: dict[int | None, list[date]] = {}
    for day, page in previous.items():
        days.setdefault(page.snapshots.get(name), []).append(day)
    return days


def _summary(rows: DataFrame, *, names_rows: bool) -> dict[date, AnswerChange]:
    most_first = Window.partitionBy("event_date").orderBy(F.abs("by_how_much").desc(), "row_key")
    everything = Window.partitionBy("event_date")
    shown = (
        rows.withColumn("nth", F.row_number().over(most_first))
        .withColumn("added", F.count_if(F.col("before").isNull()).over(everything))
        .withColumn("removed", F.count_if(F.col("after").isNull()).over(everything))
        .withColumn("rows", F.count(F.lit(1)).over(everything))
        .where(F.col("nth") <= SHOWN_ROWS)
        .orderBy("event_date", "nth")
        .collect()
    )
    result: dict[date, AnswerChange] = {}
    for row in shown:
        change = result.setdefault(
            row["event_date"],
            AnswerChange(row["added"], row["removed"], row["rows"] - row["added"] - row["removed"], []),
        )
        before, after = (json.loads(row[side]) if row[side] else None for side in ("before", "after"))
        if not names_rows:
            continue
        change.rows.append(RowChange(json.loads(row["row_key"]), before, after))
    return result
