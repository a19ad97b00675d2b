"""DuckDB lands a day: the records as an Arrow table, then SQL."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

from benchmarks.peers.land_rules import REQUIRED
from benchmarks.peers.topic import providers, table
from daybook.contract import RECORD_FIELDS
from daybook.settings import Settings, load_settings

TYPES = {"string": "VARCHAR", "int": "INTEGER", "timestamp": "VARCHAR"}
"""Spark's types -> DuckDB's types for JSON; times are text here, so that an invalid one does not stop the rest."""


def land(settings: Settings, folder: Path) -> duckdb.DuckDBPyConnection:
    """Write the events below the folder; return the connection, which is in UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("records", table(settings))
    structure = json.dumps({name: TYPES[kind] for name, kind in RECORD_FIELDS})
    columns = ", ".join(
        f"TRY_CAST({name} AS TIMESTAMPTZ) AS {name}" if kind == "timestamp" else name for name, kind in RECORD_FIELDS
    )
    required = " AND ".join(f"{name} IS NOT NULL" for name in REQUIRED)
    connection.execute(f"""
        CREATE TEMP TABLE parsed AS
        SELECT DISTINCT ON (event_id) {columns}
        FROM (
            SELECT event.* FROM (
                SELECT json_transform(CASE WHEN json_valid(text) THEN text END, '{structure}') AS event
                FROM (SELECT decode(value) AS text FROM records)
            )
        )
        WHERE {required}
    """)
    connection.unregister("records")
    hosts = connection.execute("SELECT DISTINCT host FROM parsed").fetchall()
    connection.register("providers", providers(host for (host,) in hosts))
    connection.execute(f"""
        COPY (
            SELECT parsed.*, providers.provider, CAST(occurred_at AS DATE) AS event_date
            FROM parsed LEFT JOIN providers USING (host)
        ) TO '{folder / "events"}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (event_date))
    """)
    connection.execute("DROP TABLE parsed")
    return connection


if __name__ == "__main__":
    land(load_settings(), Path(sys.argv[1]))
