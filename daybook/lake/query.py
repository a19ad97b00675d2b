"""``daybook query``: an analyst's own SQL over the published days, in DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daybook.errors import BadInput
from daybook.settings import Settings
from daybook.sql.answers import answers

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WRITING = frozenset(
    {"ALTER", "COPY", "COPY_DATABASE", "CREATE", "DELETE", "DROP", "EXPORT", "INSERT", "MERGE_INTO", "UPDATE"}
)
"""DuckDB's statement types that write."""


def open_lake(settings: Settings, wanted: set[str] | None = None) -> DuckDBPyConnection:
    """Return a read-only connection to which every table of the lake is registered under its name.

    ``events``, ``rejected_events`` and the answers hold the published days, each at its newest revision. The lake's
    other tables are as they are now.

    Args:
        settings: where the lake is.
        wanted: only these tables.

    Raises:
        BadInput: no day is published yet.
    """
    from daybook.lake.duckdb_engine import connect, published_rows, table_rows
    from daybook.lake.ledger import read_ledger
    from daybook.lake.tables import EVENTS, REJECTED_EVENTS, TABLES

    newest = read_ledger(settings).newest.values()
    if not newest:
        raise BadInput("no day is published yet; `make demo` generates and publishes one")
    connection = connect()
    by_day = {EVENTS, REJECTED_EVENTS, *answers()}
    for name in sorted(by_day | TABLES.keys()):
        if wanted is not None and name not in wanted:
            continue
        rows = published_rows(settings, name, newest) if name in by_day else table_rows(settings, name)
        if rows is not None:
            connection.register(name, rows)
    return connection


def query_rows(settings: Settings, sql: str) -> list[dict[str, Any]]:
    """Return the rows of a statement in DuckDB's SQL over the lake (:func:`query_table`)."""
    return query_table(settings, sql)[1]


def query_table(settings: Settings, sql: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns and rows of a statement in DuckDB's SQL over the lake (:func:`open_lake`).

    Raises:
        BadInput: no day is published, the statement would write, or DuckDB rejects it; the message gives the reason.
    """
    from daybook.lake.duckdb_engine import fetch_table

    if writing := _writing(sql):
        raise BadInput(
            f"the lake is read-only, {writing} is not allowed; use SELECT, SUMMARIZE, DESCRIBE or SHOW TABLES"
        )
    wanted = _named_tables(sql)
    with open_lake(settings, wanted) as connection:
        try:
            return fetch_table(connection, sql)
        except BadInput as refused:
            if wanted is None or not str(refused).startswith("DuckDB: Catalog Error"):
                raise
    # with every table registered DuckDB can suggest the one that was meant
    with open_lake(settings) as connection:
        return fetch_table(connection, sql)


def _writing(sql: str) -> str | None:
    """Return the type of the first statement that writes; None if no statement does, or DuckDB cannot parse it."""
    import duckdb

    try:
        kinds = [statement.type.name for statement in duckdb.extract_statements(sql)]
    except duckdb.Error:
        return None
    return next((kind for kind in kinds if kind in WRITING), None)


def _named_tables(sql: str) -> set[str] | None:
    """Return the tables that a statement names; None if it cannot be parsed, so that DuckDB reports the error."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        trees = sqlglot.parse(sql, dialect="duckdb")
    except SqlglotError:
        return None
    names = {table.name.lower() for tree in trees if tree is not None for table in tree.find_all(exp.Table)}
    return names or None
