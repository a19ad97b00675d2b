"""Names of the lake: catalog, namespace, tables and the snapshot properties that tie a commit to its run.

Only names: readers without a JVM are in :mod:`daybook.lake`, writers in the ``daybook_spark`` package.
"""

from __future__ import annotations

from pathlib import Path

from daybook.settings import REPOSITORY

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
OWN_TABLES: frozenset[str] = frozenset(
    {
        RAW_EVENTS,
        EVENTS,
        REJECTED_EVENTS,
        DAY_LEDGER,
        ACCEPTED_LOSSES,
        CHECK_FAILURES,
        REPLAYED_RECORDS,
        ERASURES,
    }
)
"""The tables that are there whatever questions are asked; every answer of a day has one besides."""

SQL_DIR = REPOSITORY / "spark" / "sql"
AREAS: tuple[str, ...] = ("user_behaviour", "host_providers")
"""The two families of questions of a day: folders of :data:`SQL_DIR`, and tasks of the DAG."""
ACROSS_DAYS = "across_days"
"""Folder of the questions that look at several days. What they answer with is worked out from the published days when
it is asked for, and never stored: a restated day, or a backfill in any order, leaves none of it behind the times."""


def answer_files(area: str | None = None) -> dict[str, Path]:
    """The answers as name -> ``.sql`` file, in alphabetical order: of a folder, or all that answer for one day."""
    areas = (area,) if area else AREAS
    return dict(sorted((path.stem, path) for name in areas for path in (SQL_DIR / name).glob("*.sql")))


def spark_name(table: str) -> str:
    """The table's full name in Spark SQL.

    >>> spark_name("events")
    'lake.game.events'
    """
    return f"{CATALOG}.{NAMESPACE}.{table}"
