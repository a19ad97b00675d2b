"""Runs a one-event day in a separate lake: lands, answers and publishes it; ``make setup`` runs this as a rehearsal.

One row replaces the broker; see :mod:`daybook.jobs.class_archive`.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from daybook.contract import EXAMPLES, client_event, complete, encode
from daybook.kafka.offsets import offsets_text
from daybook.lake.tables import RAW_EVENTS
from daybook.pipeline.position import END, LANDING, START
from daybook.settings import Settings
from daybook.sql.answers import AREAS
from daybook_spark.answering import stage_answers
from daybook_spark.events import to_raw
from daybook_spark.job import arguments, run
from daybook_spark.landing import kafka_range
from daybook_spark.pages import create_tables, stage_pages
from daybook_spark.publishing import publish_pages
from daybook_spark.staging import publish, stage_append


def work(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Rehearse a day; the summary has the published days."""
    create_tables(spark, settings)
    moment = datetime(args.day.year, args.day.month, args.day.day, tzinfo=UTC)
    event = client_event.validate_python({**EXAMPLES["purchase_item"], "occurred_at": moment.isoformat()})
    value = encode(complete(event, received_at=moment, request_host="", user_agent="rehearsal"))
    source = kafka_range(spark, settings, {0: 0}, {0: 1})  # only its schema is used: no broker is needed
    row = spark.createDataFrame([(b"", value, settings.kafka_topic, 0, 0, moment, 0)], source.schema)
    offsets = {LANDING: "1", START: offsets_text({0: 0}), END: offsets_text({0: 1})}
    landing = to_raw(row, 1, settings.future_tolerance_minutes)
    publish(
        spark,
        settings,
        RAW_EVENTS,
        stage_append(spark, settings, landing, RAW_EVENTS, "landing:1", offsets).snapshot_id,
    )
    stage = stage_pages(spark, settings, [args.day], args.run_id, [])
    answers: dict[str, int | None] = {}
    for area in AREAS:
        answers |= stage_answers(spark, settings, area, stage)
    return {"published": publish_pages(spark, settings, stage, answers, args.day, None).published}


if __name__ == "__main__":
    run("rehearse_day", arguments("Rehearse a day in a separate lake."), work)
