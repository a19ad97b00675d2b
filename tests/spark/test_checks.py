"""Checks of a day, on rows written for them."""

from __future__ import annotations

from datetime import date

import pytest
from pyspark.sql import SparkSession

from daybook.sql.checks import checks, thresholds
from daybook_spark.checking import failing_rows
from event_generator.play import USER_AGENT

DAY = date(2026, 5, 3)


@pytest.mark.parametrize(("sender", "found"), [(f"'{USER_AGENT}'", 0), ("'a game'", 1), ("CAST(NULL AS STRING)", 1)])
def test_a_day_that_was_generated_weeks_later_has_no_warning_and_a_days_late_clients_have(
    spark: SparkSession, sender: str, found: int
) -> None:
    columns = ("DATE'2026-05-03' AS event_date", "TIMESTAMP'2026-05-03 12:00:00' AS occurred_at")
    events = spark.range(1_500).selectExpr(
        *columns, "TIMESTAMP'2026-05-20 12:00:00' AS received_at", f"{sender} AS user_agent"
    )
    events.createOrReplaceTempView("events")
    name = "delayed_share"
    assert failing_rows(spark, {name: checks()[name]}, thresholds(), [DAY]).count() == found
