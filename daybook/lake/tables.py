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
        event_id STRING COMMENT 'lower case; null if the record does not say',
        event_date DATE COMMENT 'day of occurred_at, UTC; null if the record names no day that can be'
        """,
        by_day=True,
    ),
    Table(
        EVENTS,
        "an accepted event. A field that was added to the contract later is null on older days",
        f"""
        {_FIELDS_OF_RECORD},
        provider STRING COMMENT 'name of the alias file, or a bucket in brackets',
        provider_domain STRING COMMENT 'registrable domain of the host; null where it has none',
        landing BIGINT, kafka_partition INT, kafka_offset BIGINT,
        is_late BOOLEAN COMMENT 'came after the first page of its day was built',
        event_date DATE
        """,
        by_day=True,
    ),
    Table(
        REJECTED_EVENTS,
        "a record that is not an event",
        """
        reason STRING COMMENT 'code', detail STRING COMMENT 'what is wrong, in words',
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
        failing_row STRING COMMENT 'the row that is wrong, JSON'
        """,
        by_day=True,
    ),
    Table(
        DAY_LEDGER,
        "a published revision of a day",
        """
        event_date DATE COMMENT 'the day',
        revision INT COMMENT '1 for the first page of the day, one more for each that replaced it',
        published_at TIMESTAMP COMMENT 'when this row was written, UTC',
        run_id STRING COMMENT 'the run that published it',
        sent BIGINT COMMENT 'sent by the generator; null for a day of live traffic alone',
        accepted BIGINT COMMENT 'acknowledged to the generator; null for a day of live traffic alone',
        refused BIGINT COMMENT 'refused to the generator; null for a day of live traffic alone',
        landed BIGINT COMMENT 'raw records of the day',
        events BIGINT COMMENT 'rows of the table events',
        duplicates BIGINT COMMENT 'raw records that repeat an event: same event_id, same body',
        rejected BIGINT COMMENT 'rows of the table rejected_events',
        late BIGINT COMMENT 'events that came after the first page of the day was built',
        balanced BOOLEAN COMMENT 'every line of lines holds',
        lines STRING COMMENT 'JSON list of the lines that were held against each other',
        receipt STRING COMMENT 'one sentence: what this revision changed',
        changes STRING COMMENT 'JSON: answer -> what this revision changed in it; of the first revision nothing',
        checks STRING COMMENT 'JSON list: checks that do not hold and let the page pass',
        range_start STRING COMMENT 'JSON partition -> first Kafka offset that the run landed',
        range_end STRING COMMENT 'JSON partition -> frozen end offset of the run',
        range_records BIGINT COMMENT 'records that the run landed; 0 where an earlier run had landed the range',
        range_gaps BIGINT COMMENT 'offsets of the range that hold no record: transaction markers and aborted records',
        landing BIGINT COMMENT 'number of the last landing that the page was built from',
        built_to STRING
            COMMENT 'JSON partition -> end offset up to which raw records were seen when the page was built',
        raw_snapshot_id BIGINT COMMENT 'snapshot of raw_events that the page was built from',
        provider_map_version STRING COMMENT 'the rule that named the providers',
        answers_version STRING COMMENT 'digest of the SQL of all answers',
        rules_version STRING COMMENT 'the setting of lateness; null on older rows',
        snapshots MAP<STRING, BIGINT>
            COMMENT 'table -> snapshot that holds this page; null if the table never had a row'
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
        topic_id STRING COMMENT 'id of the topic that the record goes on with',
        lost STRING COMMENT 'what is gone, in words',
        records BIGINT COMMENT 'how many records are gone; null where nobody can know',
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
        user_digest STRING COMMENT 'SHA-256 of the user_id, hex: proves that a given player was erased, names none',
        records BIGINT COMMENT 'raw records that were removed',
        days STRING COMMENT 'JSON list of objects: day (null for records that name none), records',
        landing BIGINT COMMENT 'number of the last landing whose records were removed',
        event_ids ARRAY<STRING> COMMENT 'what the ledger of a generated day has to account for; names no player'
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
