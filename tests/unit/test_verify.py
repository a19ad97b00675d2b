"""How verify checks a day's counts and detects an inconsistent ledger, without Spark and Kafka."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

from daybook.cli.days import verify
from daybook.kafka.offsets import offsets_text
from daybook.lake.duckdb_engine import connect
from daybook.lake.ledger import Ledger, read_ledger
from daybook.lake.tables import EVENTS, RAW_EVENTS, REJECTED_EVENTS
from daybook.operations.verify import DIFFERENT, EQUAL, NOT_COMPARED, Claim, Verdict, _Verifying, claimed
from daybook.pipeline.position import END, LANDING, START
from daybook.settings import Settings
from tests.unit.small_lake import SCHEMAS, SmallLake, a_revision

DAY = date(2026, 5, 3)


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    """A published day of twelve raw records: ten events, a duplicate, a rejected one."""
    lake = SmallLake(own_settings)
    lake.publish(DAY, {})
    return lake


def counts(lake: SmallLake, raw_records: int = 12) -> list[Verdict]:
    """The verdicts on the day's counts if raw_events has this many of its records."""
    ledger = read_ledger(lake.settings)
    records = pd.DataFrame(
        {
            "event_date": [DAY] * 12,
            "landing": [1] * 12,
            "kafka_partition": [0] * 12,
            "kafka_offset": range(12),
            "event_id": [str(offset) for offset in range(12)],
        }
    )
    with connect() as connection:
        connection.register(EVENTS, records[:10])
        connection.register(REJECTED_EVENTS, records[10:11])
        connection.register(RAW_EVENTS, records[:raw_records])
        return list(_Verifying(ledger, ledger.of(str(DAY)), connection).counts())


def duplicates(
    lake: SmallLake, ids: str, *, other_day: date, others: dict[str, str], rules: str | None = None
) -> list[Verdict]:
    """The verdicts on the duplicates of a day of three raw records.

    Args:
        lake: the lake, whose own ledger is not read.
        ids: the ids of the three: of an event, of a rejected record, and of one that is neither.
        other_day: another day.
        others: the ids of its published ``event``, of a ``raw`` record that its revision counts, of a ``later`` one.
        rules: the ``rules_version`` of the day.
    """
    revision = a_revision(DAY, landed=3, duplicates=1, rules_version=rules)
    raw = [
        {"event_date": DAY, "landing": 1, "kafka_partition": 0, "kafka_offset": offset, "event_id": one}
        for offset, one in enumerate(ids)
    ]
    there = [
        {"event_date": other_day, "landing": landing, "kafka_partition": 1, "kafka_offset": landing, "event_id": one}
        for kind, landing in (("event", 1), ("raw", 1), ("later", 2))
        if (one := others.get(kind))
    ]
    table = lake.table(EVENTS)
    row = {"event_date": other_day, "event_id": others.get("event")}
    table.append(pa.Table.from_pylist([row], schema=SCHEMAS[EVENTS]))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    other = [a_revision(other_day, snapshots={EVENTS: snapshot.snapshot_id})] if "event" in others else []
    with connect() as connection:
        connection.register(EVENTS, pd.DataFrame(raw[:1]))
        connection.register(REJECTED_EVENTS, pd.DataFrame(raw[1:2]))
        connection.register(RAW_EVENTS, pd.DataFrame(raw + there))
        return list(_Verifying(Ledger(lake.settings, None, (revision, *other)), revision, connection).duplicates())


LATENESS = 30
NEAR, FAR = DAY + timedelta(days=LATENESS), DAY - timedelta(days=LATENESS + 1)


@pytest.mark.parametrize(
    ("ids", "other_day", "others", "verdict"),
    [
        ("xyx", NEAR, {}, EQUAL),
        ("xyz", NEAR, {"event": "z"}, EQUAL),
        ("xyz", NEAR, {"later": "z"}, EQUAL),
        ("xyz", NEAR, {}, DIFFERENT),
        ("xyy", NEAR, {}, DIFFERENT),
        ("xyz", FAR, {"event": "z"}, DIFFERENT),
        ("xyz", FAR, {"later": "z"}, DIFFERENT),
        ("xyz", NEAR, {"event": "x", "raw": "z"}, DIFFERENT),
        ("xyz", NEAR, {"event": "x", "later": "z"}, EQUAL),
    ],
    ids=[
        "of an event of the day",
        "of an event of a near day",
        "of a record of a near day that is not published",
        "of nothing",
        "of a rejected record",
        "of an event of a day too far",
        "of a record of a day too far",
        "of a record that a near day's revision counts and that is not an event",
        "of a record that arrived after a near day's revision",
    ],
)
def test_each_duplicate_is_of_an_event(
    lake: SmallLake, ids: str, other_day: date, others: dict[str, str], verdict: str
) -> None:
    lake.settings = lake.settings.model_copy(update={"lateness_days": LATENESS})
    counted, by_id = duplicates(lake, ids, other_day=other_day, others=others)
    assert counted.verdict == EQUAL
    assert by_id.verdict == verdict
    found = 1 if verdict == EQUAL else 0
    assert by_id.line == f"duplicates 1, with the id of an event within 30 days {found}"


def test_duplicates_of_another_lateness_are_not_compared_by_id(lake: SmallLake) -> None:
    _, by_id = duplicates(lake, "xyz", other_day=NEAR, others={}, rules="lateness 7 days")
    assert by_id.verdict == NOT_COMPARED


def test_duplicates_that_the_ledger_does_not_count_are_found(lake: SmallLake) -> None:
    counted, _ = duplicates(lake, "xyxx", other_day=NEAR, others={})
    assert counted.verdict == DIFFERENT


def test_a_day_that_agrees_with_its_ledger_has_no_difference(lake: SmallLake) -> None:
    assert {one.verdict for one in counts(lake)} == {EQUAL}


def test_a_revision_that_the_ledger_has_twice_is_reported_until_another_replaces_it(lake: SmallLake) -> None:
    lake.publish(DAY, {}, run_id="another", published_at=datetime(2026, 5, 4, 1, tzinfo=UTC))
    first = counts(lake)[0]
    assert first.verdict == DIFFERENT
    assert first.line.startswith("the ledger has 2 rows for revision 1")
    assert """airflow dags trigger game_events_daily -c '{"day": "2026-05-03", "force": true}'""" in first.line
    lake.publish(DAY, {}, revision=2)
    assert {one.verdict for one in counts(lake)} == {EQUAL}


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        (
            "Kafka, landing 1, partition 0, offsets 0 to 3: offset 2 belongs to the day but is not in raw_events",
            "daybook restore",
        ),
        ("events in the ledger 3, rows of events 2", "daybook rebuild --from 2026-05-03 --to 2026-05-03 --dry-run"),
    ],
)
def test_every_line_of_a_day_is_printed_and_the_next_command_is_named(
    monkeypatch: pytest.MonkeyPatch, line: str, cure: str
) -> None:
    verdicts = [Verdict(EQUAL, "one"), Verdict(DIFFERENT, line), Verdict(EQUAL, "another")]
    monkeypatch.setattr("daybook.cli.days.verify_day", lambda _settings, _day: iter(verdicts))
    done = CliRunner().invoke(verify, ["--day", "2026-05-03", "--day", "2026-05-04"])
    assert done.exit_code == 1
    assert [text.split("  ")[0] for text in done.stdout.splitlines()] == ["2026-05-03"] * 3, "and not the next day"
    assert line in done.stderr
    assert cure in done.stderr


@pytest.mark.parametrize(
    ("days_kept", "verdict"),
    [(0, DIFFERENT), ("longer than the day is old", DIFFERENT), (62, NOT_COMPARED)],
)
def test_raw_records_are_removed_by_retention_only_where_there_is_one(
    lake: SmallLake, days_kept: int | str, verdict: str
) -> None:
    if not isinstance(days_kept, int):
        days_kept = (datetime.now(UTC).date() - DAY) // timedelta(days=1)
    lake.settings = lake.settings.model_copy(update={"raw_retention_days": days_kept})
    found = [one for one in counts(lake, raw_records=0) if "raw records of the day" in one.line]
    assert found[0].verdict == verdict
    assert ("removed by retention" in found[0].line) == (verdict == NOT_COMPARED)


def test_the_claims_of_a_revision_continue_to_the_end_that_it_was_built_to(lake: SmallLake) -> None:
    """Also if a landing's snapshot was expired: the ranges from the first offset to the last have no gap."""
    for day in (DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)):
        lake.land({day: 1})
    table = lake.catalog.load_table(("game", RAW_EVENTS))
    for landing, start, end in ((2, {0: 4}, {0: 6, 1: 3}), (4, {0: 9, 1: 3}, {0: 9, 1: 5})):
        properties = {LANDING: str(landing), START: offsets_text(start), END: offsets_text(end)}
        with table.transaction() as transaction, transaction.update_snapshot(properties).fast_append():
            pass
    assert claimed(table, 0, {}, 5, {0: 11, 1: 5}) == [
        Claim((1, 1), 0, 0, 4),
        Claim((2, 2), 0, 4, 6),
        Claim((2, 2), 1, 0, 3),
        Claim((3, 3), 0, 6, 9),
        Claim((4, 4), 1, 3, 5),
        Claim((5, 5), 0, 9, 11),
    ]
    assert claimed(table, 0, {}, 3, {0: 9, 1: 3})[-1] == Claim((3, 3), 0, 6, 9), "later landings are not the revision's"
    assert claimed(table, 2, {0: 6, 1: 3}, 4, {0: 9, 1: 5})[0] == Claim((3, 3), 0, 6, 9), "behind an accepted loss"
    assert claimed(None, 0, {}, 7, {0: 2}) == [Claim((1, 7), 0, 0, 2)]
    assert claimed(table, 5, {}, 5, {0: 11}) == []
