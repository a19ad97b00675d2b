"""Days counted by hand take the lake's whole path in one run: landed, built, answered, published, read."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import SparkSession

from daybook.lake.answers import answer_rows
from daybook.lake.ledger import read_ledger
from daybook.pipeline.due import dates_due
from daybook.settings import Settings
from daybook.sql.answers import answers
from tests.known_days import RECEIVED_AT, KnownDay, known_days, sent
from tests.spark.lake_run import Run
from tests.spark.topic_records import Topic

KNOWN = known_days()
each_known_day = pytest.mark.parametrize("known", KNOWN.values(), ids=list(KNOWN))


@pytest.fixture(scope="module")
def published(spark: SparkSession, module_lake: Settings) -> Settings:
    """A lake where every known day is published."""
    days = sorted(known.day for known in KNOWN.values())
    assert len(set(days)) == len(days), "two fixtures have a day in common: one of them has to move"
    topic = Topic(spark)
    for event in sent(KNOWN.values()):
        topic.client_event(event, received_at=RECEIVED_AT)
    run = Run(spark, module_lake, "known", days[-1])
    run.land(topic)
    due = [one for day in days for one in dates_due(module_lake, day, force=False)]
    assert due == days, "each day is due in its own run, and in no other's"
    done = run.build(dates=due).publish().published
    assert [(one["day"], one["revision"]) for one in done] == [(str(day), 1) for day in days]
    return module_lake


@each_known_day
def test_every_answer_is_what_was_counted_by_hand(published: Settings, known: KnownDay) -> None:
    found: dict[str, Any] = {name: answer_rows(read_ledger(published), name, str(known.day)) for name in answers()}
    assert set(known.expected) == set(found), f"{known.name}: every answer has its rows counted, if only []"
    wrong = sorted(name for name, rows in found.items() if _cells(rows) != _cells(known.expected[name]))
    message = f"{known.day}: {', '.join(wrong)} (tests/fixtures/known_days/{known.fixture})"
    assert {name: found[name] for name in wrong} == {name: known.expected[name] for name in wrong}, message
    assert not wrong, f"{message}: the columns are in another order"


def _cells(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """The rows with their columns in order."""
    return [list(row.items()) for row in rows]


@each_known_day
def test_the_ledger_counts_what_was_counted_by_hand(published: Settings, known: KnownDay) -> None:
    newest = read_ledger(published).of(str(known.day))
    assert {name: getattr(newest, name) for name in known.counts} == known.counts, f"{known.day}: the ledger"
    assert newest.balanced, f"{known.day}: the ledger"
