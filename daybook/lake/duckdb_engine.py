"""The lake in DuckDB: a second engine next to Spark, for recounts, questions across days and analysts' own SQL.

A connection reads only what is registered with it, and writes nothing: SQL can reach no file, network or setting.
Tables are registered as PyArrow datasets over the Parquet files that Iceberg names. So every storage that the lake
supports is read the same way. Columns and days that a statement does not use are not read, and nothing is loaded in
advance.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from daybook.errors import BadInput, DaybookError
from daybook.lake.catalog import load
from daybook.lake.snapshots import day_files, readable_snapshot
from daybook.lake.uris import is_local, path_of
from daybook.settings import Settings

if TYPE_CHECKING:
    import pyarrow.dataset as pads
    from duckdb import DuckDBPyConnection
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from sqlglot import exp

    from daybook.lake.ledger import Revision


_PARQUET = b"PAR1"
"""The magic bytes at the start and end of a Parquet file."""


def connect() -> DuckDBPyConnection:
    """Return a new in-memory connection in UTC that can reach only what is registered with it."""
    import duckdb

    connection = duckdb.connect(
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # a misspelled table must not resolve to a Python variable of this program
            "python_enable_replacements": "false",
            # DuckDB would spill rows that do not fit into memory to the working directory
            "temp_directory": "",
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


@lru_cache(maxsize=128)
def in_duckdb(statement: str) -> str:
    """Translate a statement in Spark's SQL into DuckDB's; ``:name`` becomes ``$name``. Comments are dropped.

    >>> in_duckdb("SELECT COUNT(item <=> :item) AS n -- how many")
    'SELECT COUNT(item IS NOT DISTINCT FROM $item) AS n'
    """
    return parsed(statement).transform(_count_if).sql(dialect="duckdb", comments=False)


def _count_if(node: exp.Expr) -> exp.Expr:
    """Return COUNT_IF with Spark's meaning: 0 where the condition is null on every row; DuckDB's returns null."""
    from sqlglot import exp

    if not isinstance(node, exp.CountIf):
        return node
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=node.this))


def parsed(sql: str) -> exp.Expr:
    """Return the syntax tree of a text in Spark's SQL.

    Raises:
        DaybookError: it is not valid SQL; the message names the position.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return sqlglot.parse_one(sql, dialect="spark")
    except SqlglotError as error:
        raise DaybookError(f"not a statement in Spark's SQL: {str(error).splitlines()[0]}") from None


def tables_of(statement: str) -> set[str]:
    """Return the names of the tables that a statement in Spark's SQL reads, without its own common table expressions.

    >>> sorted(tables_of("WITH one AS (SELECT * FROM events) SELECT * FROM one JOIN purchases USING (item)"))
    ['events', 'purchases']
    """
    from sqlglot import exp

    tree = parsed(statement)
    steps = {step.alias for step in tree.find_all(exp.CTE)}
    return {table.name for table in tree.find_all(exp.Table)} - steps


def published_rows(settings: Settings, name: str, revisions: Iterable[Revision]) -> pads.Dataset | None:
    """Return the rows of a table for some published days as a dataset, without reading them yet.

    Each day is read at its newest revision, even while a restatement of it is half published.

    Args:
        settings: where the lake is.
        name: ``events``, ``rejected_events`` or an answer.
        revisions: the newest revision of each wanted day (:attr:`daybook.lake.ledger.Ledger.newest`).

    Returns:
        The dataset, with ``event_date`` among its columns; None if no day was ever published with this table.
    """
    table = load(settings, name)
    if table is None:
        return None
    pinned = {one.event_date: snapshot_id for one in revisions if (snapshot_id := one.snapshots.get(name)) is not None}
    files: list[tuple[date | None, str]] = []
    for snapshot_id, days in _states(table, pinned).items():
        files += _files(table, snapshot_id, days)
    return _dataset(table, files)


def table_rows(settings: Settings, name: str) -> pads.Dataset | None:
    """Return all current rows of a table as a dataset, without reading them yet; None if there is no such table."""
    table = load(settings, name)
    if table is None:
        return None
    current = table.current_snapshot()
    return _dataset(table, _files(table, current.snapshot_id, None) if current else [])


def _states(table: Table, pinned: dict[date, int]) -> dict[int, set[date]]:
    """Map snapshots to the days to read there: the newest, except for days rewritten since their revision."""
    current = table.current_snapshot()
    if current is None:
        return {}
    known = {one.snapshot_id: one.sequence_number or 0 for one in table.metadata.snapshots}
    partitions = table.inspect.partitions(current.snapshot_id)
    written = (
        {
            row["partition"]["event_date"]: known.get(row["last_updated_snapshot_id"], 0)
            for row in partitions.select(["partition", "last_updated_snapshot_id"]).to_pylist()
        }
        if partitions.num_rows
        else {}
    )
    states: dict[int, set[date]] = defaultdict(set)
    for day, snapshot_id in pinned.items():
        newest = current.snapshot_id
        # an expired snapshot takes along the files that only it had: the rest is as old, or of a new revision
        if snapshot_id != newest and written.get(day, 0) > known.get(snapshot_id, 0):
            states[readable_snapshot(table, snapshot_id) or newest].add(day)
        else:
            states[newest].add(day)
    return states


def _files(table: Table, snapshot_id: int, days: Collection[date] | None) -> list[tuple[date | None, str]]:
    """Return day and path of each data file: of some days, or of all days and of rows without a day."""
    found = []
    for day, task in day_files(table, snapshot_id, days):
        if task.delete_files:
            raise DaybookError(
                f"{table.name()[-1]} has row-level delete files, which this reader does not support; nothing was read. "
                "Daybook never writes them: find out what wrote to this table, and rewrite its data files"
            )
        if is_local(task.file.file_path):
            _refuse_cut(table.name()[-1], task.file)
        found.append((day, task.file.file_path))
    return found


def _refuse_cut(table: str, file: DataFile) -> None:
    """Refuse a data file that is missing, truncated or not Parquet: DuckDB reports that late, sometimes unnamed.

    Raises:
        DaybookError: the file is one of these; the message names it.
    """
    from daybook.lake.lake_table import Damaged, unreadable

    try:
        with path_of(file.file_path).open("rb") as data:
            found = data.seek(0, os.SEEK_END)
            if found != file.file_size_in_bytes:
                raise Damaged(f"it has {found:,} bytes instead of {file.file_size_in_bytes:,}")
            data.seek(-len(_PARQUET), os.SEEK_END)
            if data.read() != _PARQUET:
                raise Damaged("it does not end with the marker of a Parquet file")
    except (OSError, Damaged) as error:
        raise unreadable(table, "data file", file.file_path, error) from None


def _dataset(table: Table, files: Iterable[tuple[date | None, str]]) -> pads.Dataset:
    import pyarrow.dataset as pads
    from pyiceberg.io.pyarrow import PyArrowFileIO

    if not isinstance(table.io, PyArrowFileIO):
        raise DaybookError(
            f"{table.location()} is read by {type(table.io).__name__}; DuckDB needs PyArrow's file systems"
        )
    schema = table.schema().as_arrow()
    form = pads.ParquetFileFormat()
    filesystems: dict[str, Any] = {}
    fragments = []
    for day, path in files:
        scheme, netloc, place = table.io.parse_location(path)
        filesystem = filesystems.setdefault(f"{scheme}://{netloc}", table.io.fs_by_scheme(scheme, netloc))
        # every row of the file has this value: files of days that are not queried are not opened
        common = None if day is None else pads.field("event_date") == day
        fragments.append(form.make_fragment(place, filesystem, partition_expression=common))
    return pads.FileSystemDataset(fragments, schema, form)


def fetch(connection: DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a statement in DuckDB's SQL, as dictionaries (:func:`fetch_table`).

    Raises:
        BadInput: DuckDB rejects it; the message gives the reason.
    """
    return fetch_table(connection, sql, values)[1]


def fetch_table(
    connection: DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns of a statement in DuckDB's SQL, and its rows as dictionaries.

    Columns of the same name are numbered: ``item``, ``item_1``.

    Raises:
        BadInput: DuckDB rejects it; the message gives the reason, and the position of a mistake in the statement.
    """
    import duckdb

    try:
        found = connection.execute(sql, values or {})
        names = _numbered([column[0] for column in found.description or ()])
        rows: Sequence[tuple[Any, ...]] = found.fetchall()
    except duckdb.Error as error:
        raise refusal(str(error)) from None
    return names, [dict(zip(names, row, strict=True)) for row in rows]


def _numbered(names: Sequence[str]) -> list[str]:
    """Return the names, with a number added to each repeated one so that all differ.

    >>> _numbered(["item", "item", "item_1", "item"])
    ['item', 'item_2', 'item_1', 'item_3']
    """
    taken, result = set(names), list[str]()
    for name in names:
        if name in result:
            name = next(one for number in count(1) if (one := f"{name}_{number}") not in taken)
            taken.add(name)
        result.append(name)
    return result


_OF_A_TABLE = re.compile(r"reading the stream registered as '(\w+)' failed: (.*)")
_A_FILE = re.compile(r"'(/.+\.parquet)'")


def refusal(message: str) -> DaybookError:
    """Translate DuckDB's error for the reader: a statement that it rejects, or a data file that cannot be read."""
    of_table = _OF_A_TABLE.search(" ".join(message.split()))
    if of_table is None:
        return BadInput(f"DuckDB: {message}")
    from daybook.lake.lake_table import unreadable

    table, reason = of_table.groups()
    file = _A_FILE.search(reason)
    gone = "No such file" in reason
    return unreadable(
        table, "data file", file[1] if file else "a file", FileNotFoundError() if gone else ValueError(reason)
    )
