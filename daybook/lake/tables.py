"""The lake's own tables: their names, columns and partitions, defined once for writers, readers and tests.

Each answer of a day also has a table, whose columns are those of its ``.sql`` file. Readers without a JVM are in
:mod:`daybook.lake.catalog`, writers in the ``daybook_spark`` package.
"""

from __future__ import annotations

from dataclasses import dataclass

from daybook.contract import RECORD_FIELDS

CATALOG = "lake"
NAMESPACE = "game"

RAW_EVENTS = "raw_events"
EVENTS = "events"
REJECTED_EVENTS = "rejected_events"
DAY_LEDGER = "day_ledger"
ACCEPTED_LOSSES = "accepted_losses"
CHECK_FAILURES = "check_failures"
REPLAYED_RECORDS = "replayed_records"
ERASURES = "erasures"


@dataclass(frozen=True)
class Table:
    """A table of the lake."""

    name: str
    rows: str
    """What a row is."""
    columns: str
    """The columns as in Spark's DDL, with comments. A newer Daybook may add some: they are null in older rows."""
    by_day: bool
    """Whether it is partitioned by ``event_date``."""


_FIELDS_OF_RECORD = ", ".join(
    f"{name} {kind.upper()}" + (" COMMENT 'UTC'" if kind == "timestamp" else "") for name, kind in RECORD_FIELDS
)

_TABLES = (
    Table(
        RAW_EVENTS,
        "a Kafka record. (landing, kafka_partition, kafka_offset) identifies it permanently, even if the topic is "
        "created again and its offsets restart at 0",
        """
        landing BIGINT COMMENT 'number of the landing that brought it, from 1',
        kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP COMMENT 'of the record, UTC',
        key BINARY, value BINARY COMMENT 'as received',
        event_id STRING COMMENT 'lower case; null if the record has none',
        event_date DATE COMMENT 'day of occurred_at, UTC; null if it is missing or impossible'
        """,
        by_day=True,
    ),
    Table(
        EVENTS,
        "an accepted event. A field that was added to the contract later is null on older days",
        f"""
        {_FIELDS_OF_RECORD},
        provider STRING COMMENT 'a name in the alias file, or a bucket in brackets',
        provider_domain STRING COMMENT 'registrable domain of the host; null where it has none',
        landing BIGINT, kafka_partition INT, kafka_offset BIGINT,
        is_late BOOLEAN COMMENT 'arrived after the first revision of its day was built',
        event_date DATE
        """,
        by_day=True,
    ),
    Table(
        REJECTED_EVENTS,
        "a record that is not an event",
        """
        reason STRING COMMENT 'code', detail STRING COMMENT 'the reason in words',
        landing BIGINT, kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP, key BINARY, value BINARY,
        event_date DATE
        """,
        by_day=True,
    ),
    Table(
        CHECK_FAILURES,
        "a row that failed a check; its day was published with a warning, or not published",
        """
        event_date DATE, checked_at TIMESTAMP COMMENT 'UTC', run_id STRING,
        check STRING COMMENT 'name of the file under spark/sql/checks', severity STRING COMMENT 'fail or warn',
        failing_row STRING COMMENT 'the failing row, JSON'
        """,
        by_day=True,
    ),
    Table(
        DAY_LEDGER,
        "a published revision of a day",
        """
        event_date DATE COMMENT 'the day',
        revision INT COMMENT '1 for the first revision of the day; each later one is one higher',
        published_at TIMESTAMP COMMENT 'when this row was written, UTC',
        run_id STRING COMMENT 'the run that published it',
        sent BIGINT COMMENT 'sent by the generator; null for a day of live traffic alone',
        accepted BIGINT COMMENT 'acknowledged to the generator; null for a day of live traffic alone',
        refused BIGINT COMMENT 'refused to the generator; null for a day of live traffic alone',
        landed BIGINT COMMENT 'raw records of the day',
        events BIGINT COMMENT 'rows of the table events',
        duplicates BIGINT COMMENT 'raw records that repeat an event: same event_id, same body',
        rejected BIGINT COMMENT 'rows of the table rejected_events',
        late BIGINT COMMENT 'events that arrived after the first revision of the day was built',
        balanced BOOLEAN COMMENT 'whether every line in lines balances',
        lines STRING COMMENT 'JSON list of the compared counts',
        receipt STRING COMMENT 'one sentence: what this revision changed',
        changes STRING COMMENT 'JSON: answer -> its changes; empty for the first revision',
        checks STRING COMMENT 'JSON list: checks that failed and only warn',
        range_start STRING COMMENT 'JSON partition -> first Kafka offset that the run landed',
        range_end STRING COMMENT 'JSON partition -> frozen end offset of the run',
        range_records BIGINT COMMENT 'records that the run landed; 0 if an earlier run landed the range',
        range_gaps BIGINT COMMENT 'offsets without a record: transaction markers and aborted records',
        landing BIGINT COMMENT 'number of the last landing that the revision was built from',
        built_to STRING COMMENT 'JSON partition -> end offset up to which raw records were read',
        raw_snapshot_id BIGINT COMMENT 'snapshot of raw_events that the revision was built from',
        provider_map_version STRING COMMENT 'version of the provider map',
        answers_version STRING COMMENT 'digest of the SQL of all answers',
        rules_version STRING COMMENT 'the lateness setting; null on older rows',
        snapshots MAP<STRING, BIGINT>
            COMMENT 'table -> snapshot that shows this revision; null if the table never had a row'
        """,
        # it has one row per day: by-day partitions would make every read open one file per day
        by_day=False,
    ),
    Table(
        ACCEPTED_LOSSES,
        "an operator's decision to continue without lost records",
        """
        accepted_at TIMESTAMP COMMENT 'UTC', accepted_by STRING COMMENT 'user name of the operator', note STRING,
        landing BIGINT COMMENT 'number of the last landing before the loss',
        topic_id STRING COMMENT 'id of the topic that landing continues with',
        lost STRING COMMENT 'what was lost, in words',
        records BIGINT COMMENT 'lost records (count); null if unknown',
        resume_from STRING COMMENT 'JSON partition -> offset that the next landing starts from'
        """,
        by_day=False,
    ),
    Table(
        REPLAYED_RECORDS,
        "a rejected record that the intake has accepted since",
        """
        replayed_at TIMESTAMP COMMENT 'UTC', replayed_by STRING COMMENT 'user name of the operator',
        landing BIGINT, kafka_partition INT, kafka_offset BIGINT,
        event_id STRING COMMENT 'the id that the record was accepted with'
        """,
        by_day=False,
    ),
    Table(
        ERASURES,
        "an erasure of a player",
        """
        erased_at TIMESTAMP COMMENT 'UTC', erased_by STRING COMMENT 'user name of the operator', note STRING,
        user_digest STRING COMMENT 'SHA-256 of the user_id, hex: proves that a given player was erased',
        records BIGINT COMMENT 'raw records that were removed',
        days STRING COMMENT 'JSON list of objects: day (null for records without one), records',
        landing BIGINT COMMENT 'number of the last landing whose records were removed',
        event_ids ARRAY<STRING> COMMENT 'the erased events of generated days; names no player'
        """,
        by_day=False,
    ),
)
TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
"""The tables that exist whatever questions are asked, by name."""


def spark_name(table: str) -> str:
    """Return the table's full name in Spark SQL.

    >>> spark_name("events")
    'lake.game.events'
    """
    return f"{CATALOG}.{NAMESPACE}.{table}"
