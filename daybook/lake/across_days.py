"""The answers across days (``spark/sql/across_days``): DuckDB computes them from the published days, on request."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daybook.errors import BadInput
from daybook.lake.duckdb_engine import connect, fetch, in_duckdb, published_rows, tables_of
from daybook.lake.ledger import Ledger
from daybook.sql.answers import Answer

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def across_rows(ledger: Ledger, answer: Answer, day: str) -> list[dict[str, Any]]:
    """Return the rows of an answer across days, in the answer's order, from the days as published now.

    Args:
        ledger: the published days.
        answer: one of the folder ``across_days``.
        day: the last day that is included, ``YYYY-MM-DD``, UTC.

    Raises:
        BadInput: the day is not published, or no published day has a table that the answer needs.
    """
    last = ledger.of(day).event_date
    revisions = [one for one in ledger.newest.values() if one.event_date <= last]
    with connect() as connection:
        for table in sorted(tables_of(answer.statement)):
            rows = published_rows(ledger.settings, table, revisions)
            if rows is None:
                raise BadInput(
                    f"{answer.name} needs the table {table}, which no published day has; rebuild the days with "
                    f"`daybook rebuild --from {revisions[0].day} --to {day}`"
                )
            connection.register(table, rows)
        values = {"first_day": last - timedelta(days=answer.days - 1), "last_day": last}
        return sorted_rows(connection, answer, in_duckdb(answer.statement), values)


def sorted_rows(
    connection: DuckDBPyConnection, answer: Answer, sql: str, values: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of an answer's statement in the answer's order, nulls first."""
    order = ", ".join(f'"{column}" {"DESC" if falls else "ASC"} NULLS FIRST' for column, falls in answer.order)
    return fetch(connection, f"SELECT * FROM ({sql}) AS answer ORDER BY {order}", values)
