"""Raw records compared with those of a real broker: the same bytes, nothing missing, nothing extra."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from confluent_kafka import TopicPartition
from pyiceberg.catalog.sql import SqlCatalog

from daybook.kafka.offsets import offsets_text, topic_state
from daybook.lake.config import sqlalchemy_uri
from daybook.lake.duckdb_engine import connect, table_rows
from daybook.lake.ledger import Ledger
from daybook.lake.tables import CATALOG, NAMESPACE, RAW_EVENTS
from daybook.operations.verify import DIFFERENT, EQUAL, Verdict, _Verifying, as_in_kafka
from daybook.pipeline.position import END, LANDING, START, TOPIC_ID
from daybook.settings import Settings
from tests.integration.own_broker import OwnBroker, own_settings
from tests.integration.own_topic import Topic
from tests.unit.small_lake import SCHEMAS, a_revision

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = date(2026, 5, 3)
FIRST, LAST = 0, 3


def event(number: int, day: date = DAY) -> bytes:
    return json.dumps({"event_id": str(number), "occurred_at": f"{day}T12:00:0{number}Z"}).encode()


SENT = [event(0), event(1), event(2, date(2026, 5, 2)), event(3)]
"""Four records of a partition; the third belongs to another day."""
LANDED: dict[int, bytes | None] = {0: SENT[0], 1: SENT[1], 3: SENT[3]}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker for this module alone."""
    with OwnBroker(own_settings(tmp_path_factory.mktemp("verify"))) as one:
        yield one.settings


@pytest.fixture(scope="module")
def settings(broker: Settings) -> Iterator[Settings]:
    """A topic with these records, and settings that name it."""
    topic = Topic(broker)
    topic.send(0, *SENT)
    yield broker.model_copy(update={"kafka_topic": topic.name})
    topic.delete()


RAW = SCHEMAS[RAW_EVENTS]


def held(settings: Settings, landed: dict[int, bytes | None], last: int = LAST) -> Verdict:
    rows = [
        {"event_date": DAY, "landing": 1, "kafka_partition": 0, "kafka_offset": offset, "value": value}
        for offset, value in landed.items()
    ]
    raw = pads.dataset(pa.Table.from_pylist(rows, schema=RAW))
    return as_in_kafka(settings, raw, DAY, ((1, 1), 0, FIRST, last), "Kafka")


def test_the_days_records_are_compared_and_another_days_are_not(settings: Settings) -> None:
    assert held(settings, LANDED) == Verdict(EQUAL, "Kafka: 3 records of the day, byte by byte")


def test_other_bytes_are_found(settings: Settings) -> None:
    found = held(settings, {**LANDED, 1: SENT[1].replace(b"12", b"13")})
    assert found == Verdict(DIFFERENT, "Kafka: offset 1 has other bytes than raw_events")


def test_a_record_that_was_not_landed_is_found(settings: Settings) -> None:
    found = held(settings, {0: SENT[0], 3: SENT[3]})
    assert found == Verdict(DIFFERENT, "Kafka: offset 1 belongs to the day but is not in raw_events")


def test_a_record_that_kafka_does_not_have_is_found(settings: Settings) -> None:
    found = held(settings, {**LANDED, 4: event(4)}, last=4)
    assert found == Verdict(DIFFERENT, "Kafka: offset 4 is in raw_events but not in Kafka")


def test_an_erased_record_is_not_a_difference(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook.operations.verify.erasures", lambda _settings: [{"event_ids": ["1"]}])
    found = held(settings, {0: SENT[0], 3: SENT[3]})
    assert found == Verdict(EQUAL, "Kafka: 2 records of the day, byte by byte, 1 erased")


def test_a_record_that_was_landed_as_another_days_is_found(settings: Settings) -> None:
    rows = [{"event_date": None, "landing": 1, "kafka_partition": 0, "kafka_offset": 0, "value": SENT[0]}]
    raw = pads.dataset(pa.Table.from_pylist(rows, schema=RAW))
    found = as_in_kafka(settings, raw, DAY, ((1, 1), 0, FIRST, LAST), "Kafka")
    assert found == Verdict(DIFFERENT, "Kafka: offset 0 belongs to the day but is in raw_events without a day")


@pytest.mark.parametrize(("ahead_minutes", "verdict"), [(59, EQUAL), (-1, DIFFERENT)])
def test_a_record_left_without_a_day_by_a_smaller_tolerance_is_not_a_difference(
    broker: Settings, ahead_minutes: int, verdict: str
) -> None:
    """It has no day because its time is after its receipt; a record of the past has one with every tolerance."""
    message = datetime.now(UTC) + timedelta(minutes=ahead_minutes)
    topic = Topic(broker)
    try:
        value = json.dumps({"event_id": "1", "occurred_at": f"{message:%Y-%m-%dT%H:%M:%SZ}"}).encode()
        topic.send(0, value)
        rows = [{"event_date": None, "landing": 1, "kafka_partition": 0, "kafka_offset": 0, "value": value}]
        raw = pads.dataset(pa.Table.from_pylist(rows, schema=RAW))
        settings = broker.model_copy(update={"kafka_topic": topic.name, "future_tolerance_minutes": 60})
        assert as_in_kafka(settings, raw, message.date(), ((1, 1), 0, 0, 0), "Kafka").verdict == verdict
    finally:
        topic.delete()


class Landed:
    """A topic of two partitions with ten records of the day in each, two landings, and the counts of the day."""

    def __init__(self, broker: Settings, home: Path) -> None:
        self.topic = Topic(broker)
        records = [event(number) for number in range(10)]
        for partition in (0, 1):
            self.topic.send(partition, *records)
        lake_conf = {"home": home, "lake_catalog_uri": "", "lake_warehouse": ""}
        self.settings = broker.model_copy(update={"kafka_topic": self.topic.name, **lake_conf})
        (home / "lake").mkdir(parents=True)
        catalog = SqlCatalog(CATALOG, uri=sqlalchemy_uri(self.settings.catalog_uri), warehouse=self.settings.warehouse)
        catalog.create_namespace(NAMESPACE)
        self.table = catalog.create_table((NAMESPACE, RAW_EVENTS), schema=RAW)
        with self.table.update_spec() as spec:
            spec.add_identity("event_date")
        self.rows: list[dict[str, Any]] = [
            {
                "event_date": DAY,
                "landing": 1 if offset < 6 else 2,
                "kafka_partition": partition,
                "kafka_offset": offset,
                "event_id": str(offset),
                "value": value,
            }
            for partition in (0, 1)
            for offset, value in enumerate(records)
        ]

    def without(self, is_missing: Callable[[int, int], bool]) -> list[str]:
        """Return the lines that differ if raw_events lacks some landed records, by partition and offset."""
        topic_id = topic_state(self.settings).topic_id
        for landing, start, end in ((1, 0, 6), (2, 6, 10)):
            rows = [
                row
                for row in self.rows
                if row["landing"] == landing and not is_missing(row["kafka_partition"], row["kafka_offset"])
            ]
            properties = {
                LANDING: str(landing),
                START: offsets_text({0: start, 1: start}),
                END: offsets_text({0: end, 1: end}),
                TOPIC_ID: topic_id,
            }
            self.table.append(pa.Table.from_pylist(rows, schema=RAW), snapshot_properties=properties)
        return [one.line for one in self.verdicts() if one.verdict == DIFFERENT]

    def verdicts(self) -> list[Verdict]:
        revision = a_revision(DAY, landed=20, landing=2, built_to=offsets_text({0: 10, 1: 10}))
        with connect() as connection:
            raw = table_rows(self.settings, RAW_EVENTS)
            connection.register(RAW_EVENTS, raw)
            return list(_Verifying(Ledger(self.settings, None, (revision,)), revision, connection).kafka(raw))


@pytest.fixture
def landed(broker: Settings, tmp_path: Path) -> Iterator[Landed]:
    one = Landed(broker, tmp_path)
    yield one
    one.topic.delete()


def test_each_landing_and_partition_is_compared_as_far_as_it_claims(landed: Landed) -> None:
    assert landed.without(lambda partition, offset: False) == []
    assert [one.line for one in landed.verdicts()] == [
        f"Kafka, landing {landing}, partition {partition}, offsets {first} to {last}: {count} records of the day, "
        "byte by byte"
        for partition in (0, 1)
        for landing, first, last, count in ((1, 0, 5, 6), (2, 6, 9, 4))
    ]


@pytest.mark.parametrize("retention_days", [0, 9999, 90], ids=["no retention", "kept longer", "removed by retention"])
@pytest.mark.parametrize(
    ("is_missing", "first"),
    [
        (lambda _, offset: offset < 4, (0, 0)),
        (lambda _, offset: offset >= 6, (0, 6)),
        (lambda partition, offset: partition == 0 and offset == 3, (0, 3)),
        (lambda partition, _: partition == 1, (1, 0)),
        (lambda *_: True, (0, 0)),
    ],
    ids=["the first four", "the last four", "one in the middle", "a partition", "the whole day"],
)
def test_records_that_raw_events_lacks_are_found(
    landed: Landed, is_missing: Callable[[int, int], bool], first: tuple[int, int], retention_days: int
) -> None:
    landed.settings = landed.settings.model_copy(update={"raw_retention_days": retention_days})
    found = landed.without(is_missing)
    if retention_days == 90 and is_missing(0, 9) and is_missing(0, 0):
        assert found == [], "the day is old enough for retention to have removed all of it"
        assert [one.line for one in landed.verdicts()] == ["Kafka: the day's raw records were removed by retention"]
        return
    partition, offset = first
    assert f"partition {partition}, " in found[0]
    assert found[0].endswith(f"offset {offset} belongs to the day but is not in raw_events")


def test_offsets_whose_landings_are_forgotten_are_compared_too(landed: Landed) -> None:
    """Maintenance expires snapshots, and with them the offset ranges of the landings."""
    assert landed.without(lambda partition, offset: offset < 4) != []
    landed.table.maintenance.expire_snapshots().by_ids(
        [one.snapshot_id for one in landed.table.metadata.snapshots[:-1]]
    ).commit()
    lines = [one.line for one in landed.verdicts()]
    assert lines[0].startswith("Kafka, landings 1 to 1") or lines[0].startswith(
        "Kafka, landing 1, partition 0, offsets 0 to 5"
    )
    assert lines[0].endswith("offset 0 belongs to the day but is not in raw_events")


def test_records_that_kafka_deleted_are_not_compared_and_the_others_are(landed: Landed) -> None:
    landed.without(lambda partition, offset: offset == 8)
    for done in landed.topic.admin.delete_records([TopicPartition(landed.topic.name, 0, 5)]).values():
        done.result(30)
    lines = [one.line for one in landed.verdicts()]
    assert lines[0] == "Kafka, landing 1, partition 0, offsets 0 to 4: Kafka no longer has them"
    assert lines[1] == "Kafka, landing 1, partition 0, offsets 5 to 5: 1 records of the day, byte by byte"
    assert lines[2].endswith("offset 8 belongs to the day but is not in raw_events")
