"""``daybook export``: published days as plain Parquet files that need no catalog."""

from __future__ import annotations

from pathlib import Path

from daybook.files import private_dir, whole_file
from daybook.lake.duckdb_engine import published_rows
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import EVENTS
from daybook.settings import Settings
from daybook.sql.answers import answers


def export_day(settings: Settings, day: str, folder: Path) -> list[tuple[Path, int]]:
    """Write the events and every answer of a day, at its newest revision.

    Each table is a folder of its own, partitioned as Hive does it: ``<table>/event_date=YYYY-MM-DD/part.parquet``. The
    date is only in the folder's name, where pandas, Polars, DuckDB, PyArrow and Spark look for it. Each file replaces
    its previous version in one step. A day without rows of a table has a file without rows. Only their user can access
    the files and the folders of the days, because they hold what players did.

    Returns:
        The files, and how many rows each has.

    Raises:
        BadInput: the day is not published.
    """
    import pyarrow.parquet as pq

    newest = read_ledger(settings).of(day)
    written = []
    for name in (EVENTS, *answers()):
        rows = published_rows(settings, name, [newest])
        if rows is None:
            continue
        columns = [column for column in rows.schema.names if column != "event_date"]
        file = folder / name / f"event_date={day}" / "part.parquet"
        private_dir(file.parent)
        scanner = rows.scanner(columns=columns)
        count = 0
        with (
            whole_file(file) as partial,
            pq.ParquetWriter(partial, scanner.projected_schema, compression="zstd") as writer,
        ):
            for batch in scanner.to_batches():
                writer.write_batch(batch)
                count += batch.num_rows
        written.append((file, count))
    return written
