"""A DuckDB script of a whole day: it lands like the DuckDB peer, then answers."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import duckdb

from benchmarks.peers.land_duckdb import land
from daybook.lake.duckdb_engine import in_duckdb
from daybook.lake.tables import EVENTS
from daybook.settings import load_settings
from daybook.sql.answers import answers


def answer(connection: duckdb.DuckDBPyConnection, folder: Path, day: date) -> None:
    """Answer every question from the events in the folder; write to ``answers/NAME/*.parquet`` next to them."""
    pattern = folder / "events" / "*" / "*.parquet"
    connection.execute(f"CREATE VIEW {EVENTS} AS SELECT * FROM read_parquet('{pattern}', hive_partitioning = true)")
    for name, one in answers().items():
        file = folder / "answers" / name / "part.parquet"
        file.parent.mkdir(parents=True)
        connection.execute(
            f"COPY ({in_duckdb(one.statement)}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)",
            {"first_day": day, "last_day": day},
        )


if __name__ == "__main__":
    with land(load_settings(), Path(sys.argv[1])) as made:
        answer(made, Path(sys.argv[1]), date.fromisoformat(sys.argv[2]))
