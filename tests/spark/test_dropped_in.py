"""Adding a question means adding a file: everything else follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from daybook.lake.answers import answer_rows
from daybook.lake.ledger import read_ledger
from daybook.lake.query import query_rows
from daybook.lake.tables import spark_name
from daybook.operations.trace import trace_rows
from daybook.operations.verify import EQUAL, verify_day
from daybook.report.write import write_report
from daybook.settings import Settings
from daybook.sql.answers_page import answers_page
from tests.dropped_in import NAME, drop_in, own_answers
from tests.spark.lake_run import Run, an_id
from tests.spark.topic_records import Topic

DAY = "2026-05-03"
MINUTES = (7, 7, 30)


def test_a_file_that_is_dropped_in_is_a_table_a_line_of_the_ledger_a_part_of_the_report_and_can_be_verified(
    spark: SparkSession, lake: Settings, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_in(own_answers(tmp_path, monkeypatch))
    for number, minute in enumerate(MINUTES):
        topic.event(event_id=an_id(number + 1), occurred_at=f"{DAY}T12:{minute:02d}:00Z")
    topic.event(event_id=an_id(9), event_type="join_guild", occurred_at=f"{DAY}T13:30:00Z")
    run = Run(spark, lake, "run1")
    run.land(topic)
    run.build().publish()

    rows = [{"minute": 7, "events": 2}, {"minute": 30, "events": 1}]
    assert answer_rows(read_ledger(lake), NAME, DAY) == rows
    meanings = {one.name: one.metadata["comment"] for one in spark.table(spark_name(NAME)).schema}
    assert meanings["minute"] == "minute of the hour, 0 to 59"

    lines = {one["line"]: (one["left"], one["right"]) for one in json.loads(read_ledger(lake).of(DAY).lines)}
    assert lines[f"events of the day where item IS NOT NULL = sum over {NAME}"] == (3, 3)

    [page, _] = write_report(lake, DAY)
    html = page.read_text(encoding="utf-8")
    assert f'<h3 id="{NAME}">Which minutes are busy?' in html
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["answers"][NAME]["rows"] == rows
    csv_lines = (page.parent / DAY / f"{NAME}.csv").read_text(encoding="utf-8-sig").split()
    assert csv_lines == ["day,minute,events", f"{DAY},7,2", f"{DAY},30,1"]
    assert f"### {NAME}" in answers_page()

    assert query_rows(lake, f"SELECT SUM(events) AS events FROM {NAME}") == [{"events": 3}]
    trace = trace_rows(lake, NAME, DAY, "minute = 7")
    assert (trace.counted, trace.found) == (2, 2)
    [verdict] = [one.verdict for one in verify_day(lake, DAY) if one.line.startswith(f"{NAME}: ")]
    assert verdict == EQUAL
