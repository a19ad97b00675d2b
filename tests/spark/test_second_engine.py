"""Days counted by hand, recounted, traced and exported by the second engine; also a day that was tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from daybook.errors import BadInput
from daybook.lake.answers import answer_rows
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import DAY_LEDGER, EVENTS, RAW_EVENTS, spark_name
from daybook.operations.export import export_day
from daybook.operations.trace import trace_rows
from daybook.operations.verify import DIFFERENT, EQUAL, NOT_COMPARED, Verdict, verify_day
from daybook.settings import Settings
from daybook.sql.answers import answers
from tests.known_days import KnownDay
from tests.spark.test_known_days import KNOWN, each_known_day, published

pytestmark = pytest.mark.long

__all__ = ["published"]

ORDINARY = "ordinary_day"


def different(settings: Settings, day: str) -> list[str]:
    """Return the lines on which verify finds a difference."""
    return [one.line for one in verify_day(settings, day) if one.verdict == DIFFERENT]


@each_known_day
def test_every_answer_is_recounted_to_the_same(published: Settings, known: KnownDay) -> None:
    verdicts = list(verify_day(published, str(known.day)))
    assert [one for one in verdicts if one.verdict == DIFFERENT] == []
    recounted = {one.line.split(":")[0] for one in verdicts if "recounted by DuckDB" in one.line}
    assert recounted == set(answers())
    # these tests have no broker and no generator; those of the stack have both
    assert [one.line.split(":")[0] for one in verdicts if one.verdict == NOT_COMPARED] == ["generator", "Kafka"]
    assert (
        Verdict(EQUAL, f"rows of events {known.counts['events']}, distinct event ids {known.counts['events']}")
        in verdicts
    )


@each_known_day
@pytest.mark.parametrize("name", answers())
def test_every_number_is_traced_to_as_many_events(published: Settings, known: KnownDay, name: str) -> None:
    if not known.expected[name]:
        with pytest.raises(BadInput, match="no row of"):
            trace_rows(published, name, str(known.day), None)
        return
    for row in known.expected[name]:
        where = " AND ".join(
            f"{column} IS NULL" if row[column] is None else f"{column} = {row[column]!r}"
            for column in answers()[name].key
        )
        trace = trace_rows(published, name, str(known.day), where or None)
        assert trace.rows == [row]
        assert trace.counted == trace.found, f"{known.name}: {name} where {where}"


def test_a_trace_names_the_coordinates_that_raw_events_has(published: Settings, spark: SparkSession) -> None:
    day = str(KNOWN[ORDINARY].day)
    trace = trace_rows(published, "event_popularity", day, 'item = "sword"')
    raw = spark.table(spark_name(RAW_EVENTS)).where(f"event_date = '{day}'").collect()
    ids = {(row["landing"], row["kafka_partition"], row["kafka_offset"]): row["event_id"] for row in raw}
    assert trace.events
    for event in trace.events:
        coordinates = (event["landing"], event["kafka_partition"], event["kafka_offset"])
        assert ids[coordinates] == event["event_id"]
        assert event["item"] == "sword"


def test_an_event_behind_several_rows_is_listed_once(published: Settings) -> None:
    trace = trace_rows(published, "item_affinity", str(KNOWN[ORDINARY].day), None)
    assert len(trace.rows) > 1
    coordinates = [(event["landing"], event["kafka_partition"], event["kafka_offset"]) for event in trace.events]
    assert len(coordinates) == len(set(coordinates)) > 1


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("weekly_retention", None, "has no traceable rows"),
        ("nothing", None, "has no traceable rows"),
        ("purchases", "price > 5", "purchases has no column 'price'; it has item, events"),
        ("purchases", "item = ", "is not a valid condition"),
        ("purchases", "item = 'spoon'", "no row of purchases"),
        ("purchases", "item = 'x') OR (1 = 1", "is not a valid condition"),
    ],
)
def test_an_answer_that_cannot_be_traced_gives_the_reason(
    published: Settings, name: str, where: str | None, message: str
) -> None:
    with pytest.raises(BadInput) as refused:
        trace_rows(published, name, str(KNOWN[ORDINARY].day), where)
    assert message in str(refused.value)


@each_known_day
def test_an_export_holds_the_events_and_the_answers(published: Settings, known: KnownDay, tmp_path: Path) -> None:
    written = dict(export_day(published, str(known.day), tmp_path))
    folder = f"event_date={known.day}"
    assert written == {
        tmp_path / name / folder / "part.parquet": len(rows)
        for name, rows in {EVENTS: range(known.counts["events"]), **known.expected}.items()
    }
    popular = pq.ParquetFile(tmp_path / "event_popularity" / folder / "part.parquet").read().to_pylist()
    rows = known.expected["event_popularity"]
    assert sorted(popular, key=str) == sorted(rows, key=str), "and the date stands in the folder's name alone"


Change = Any


@pytest.fixture
def tampered(published: Settings) -> Any:
    """Rewrite a day of a table without the ledger, as no writer of Daybook does, and restore it afterwards."""
    restored = []

    def tamper(name: str, day: str, change: Change) -> None:
        table = load(published, name)
        assert table is not None
        before = table.scan(row_filter=f"event_date = '{day}'").to_arrow()
        restored.append((table, day, before))
        _rewrite(table, day, pa.Table.from_pylist(change(before.to_pylist()), schema=before.schema))
        pinned = table.refresh().current_snapshot()
        assert pinned is not None
        ledger = load(published, DAY_LEDGER)
        assert ledger is not None
        rows = ledger.scan(row_filter=f"event_date = '{day}'").to_arrow()
        restored.append((ledger, day, rows))
        pins = [
            {**row, "snapshots": {**row["snapshots"], name: pinned.snapshot_id}}
            for row in rows.to_pylist(maps_as_pydicts="strict")
        ]
        _rewrite(ledger, day, pa.Table.from_pylist(pins, schema=rows.schema))

    yield tamper
    for table, day, before in reversed(restored):
        _rewrite(table.refresh(), day, before)


def _rewrite(table: Any, day: str, rows: pa.Table) -> None:
    table.overwrite(rows, overwrite_filter=f"event_date = '{day}'")


def test_a_number_that_was_changed_is_found(published: Settings, tampered: Any) -> None:
    day = str(KNOWN[ORDINARY].day)

    def one_more(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "users": row["users"] + (row["provider"] == "cox")} for row in rows]

    cox = next(row for row in KNOWN[ORDINARY].expected["provider_usage"] if row["provider"] == "cox")
    tampered("provider_usage", day, one_more)
    [line] = different(published, day)
    assert line.startswith("provider_usage: ")
    assert line.endswith(f"provider=cox: users is published as {cox['users'] + 1}, recounted as {cox['users']}")


def test_a_revision_that_was_built_by_other_sql_is_not_wrong(
    published: Settings, tampered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = str(KNOWN[ORDINARY].day)
    tampered("provider_usage", day, lambda rows: [{**row, "users": 99} for row in rows])
    monkeypatch.setattr("daybook.operations.verify.answers_version", lambda: "another")
    assert different(published, day) == []
    [verdict] = [one for one in verify_day(published, day) if "built by other SQL" in one.line]
    assert verdict.verdict == NOT_COMPARED


def test_a_row_that_is_gone_is_found(published: Settings, tampered: Any) -> None:
    day = str(KNOWN[ORDINARY].day)
    tampered("hourly_activity", day, lambda rows: sorted(rows, key=lambda row: row["hour"])[1:])
    [line] = different(published, day)
    assert line.endswith("is not published")


def test_a_duplicated_row_is_found(published: Settings, tampered: Any) -> None:
    day = str(KNOWN[ORDINARY].day)
    tampered("guild_joins", day, lambda rows: [*rows, rows[0]])
    [line] = different(published, day)
    assert line.endswith("1 rows have the key of another row")


def test_an_event_that_is_gone_is_found(published: Settings, tampered: Any) -> None:
    day, count = str(KNOWN[ORDINARY].day), KNOWN[ORDINARY].counts["events"]
    tampered(EVENTS, day, lambda rows: rows[1:])
    assert different(published, day)[0] == f"events in the ledger {count}, rows of events {count - 1}"


def test_a_raw_record_that_is_gone_is_found(published: Settings, tampered: Any) -> None:
    day, counts = str(KNOWN[ORDINARY].day), KNOWN[ORDINARY].counts
    tampered(RAW_EVENTS, day, lambda rows: rows[1:])
    assert different(published, day)[0] == (
        f"landed in the ledger {counts['landed']}, raw records of the day {counts['landed'] - 1}"
    )


def test_both_engines_agree_on_answers_across_days(published: Settings, spark: SparkSession) -> None:
    """Their statements are Spark's SQL: Spark runs them unchanged."""
    from datetime import timedelta

    from daybook.sql.answers import ACROSS_DAYS
    from daybook.sql.answers import answers as answers_of

    last = max(known.day for known in KNOWN.values())
    for name, answer in answers_of(ACROSS_DAYS).items():
        spark.table(spark_name("user_activity")).createOrReplaceTempView("user_activity")
        first = last - timedelta(days=answer.days - 1)
        rows = spark.sql(answer.statement, args={"first_day": first, "last_day": last}).collect()
        found = answer_rows(read_ledger(published), name, str(last))
        assert found
        by_spark = [{key: str(value) for key, value in row.items()} for row in (one.asDict() for one in rows)]
        by_duckdb = [{key: str(value) for key, value in row.items()} for row in found]
        assert sorted(by_spark, key=str) == sorted(by_duckdb, key=str), name
