"""``daybook trace``: from a number to the events behind it, and their coordinates in Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daybook.errors import BadInput, DaybookError
from daybook.lake.duckdb_engine import connect, fetch, parsed, published_rows
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import EVENTS
from daybook.settings import Settings
from daybook.sql.answers import Answer, answers

COORDINATES = ("landing", "kafka_partition", "kafka_offset")
SHOWN_COLUMNS = (*COORDINATES, "event_id", "event_type", "item", "guild", "user_id", "host", "provider", "occurred_at")
SHOWN_ROWS = 20


@dataclass(frozen=True)
class Trace:
    """Rows of an answer, and the events behind them."""

    rows: list[dict[str, Any]]
    """The requested rows of the answer."""
    events: list[dict[str, Any]]
    """The events, each once, by coordinates: :data:`SHOWN_COLUMNS`."""
    counted: int | None
    """The rows' own count: events, or players for a single row; None where they count neither."""
    found: int
    """Number of events, or players, that were found."""
    of: str
    """``events`` or ``players``."""


def trace_rows(settings: Settings, name: str, day: str, where: str | None) -> Trace:
    """Find the events behind rows of a day's answer, as published.

    Args:
        settings: where the lake is.
        name: an answer of a day.
        day: ``YYYY-MM-DD``, UTC.
        where: which rows, as a condition in Spark's SQL over the answer's columns; None for all rows.

    Raises:
        BadInput: no such answer, no such day, no such row, or an invalid condition.
    """
    known = answers()
    if name not in known:
        raise BadInput(f"{name!r} has no traceable rows; answers with traceable rows: {', '.join(known)}")
    answer = known[name]
    newest = read_ledger(settings).of(day)
    chosen = _condition(where, answer) if where else "TRUE"
    behind = _behind(answer)
    with connect() as connection:
        for table, view in ((name, "answer"), (EVENTS, EVENTS)):
            rows = published_rows(settings, table, [newest])
            if rows is None:
                raise BadInput(
                    f"the published revision of {day} has no {table}; `daybook rebuild --from {day} --to {day}` "
                    "builds it"
                )
            connection.register(view, rows)
        order = ", ".join(f'"{column}"' for column, _ in answer.order)
        answer_rows = fetch(connection, f"SELECT * EXCLUDE (event_date) FROM answer WHERE {chosen} ORDER BY {order}")
        if not answer_rows:
            raise BadInput(
                f"no row of {name} on {day} matches {where!r}; `daybook answer {name} --day {day}` shows all rows"
            )
        columns = ", ".join(f"events.{column}" for column in SHOWN_COLUMNS)
        found = fetch(
            connection,
            f"SELECT DISTINCT {columns} FROM events, answer WHERE ({chosen}) AND ({behind}) "
            f"ORDER BY {', '.join(COORDINATES)}",
        )
    if answer.balance:
        return Trace(answer_rows, found, sum(row[answer.balance.column] for row in answer_rows), len(found), "events")
    players = len({row["user_id"] for row in found})
    counted = answer_rows[0]["users"] if len(answer_rows) == 1 and "users" in answer_rows[0] else None
    return Trace(answer_rows, found, counted, players, "players")


def _condition(where: str, answer: Answer) -> str:
    """Translate a condition over the answer's columns into DuckDB's SQL."""
    from sqlglot import exp

    try:
        tree = parsed(f"SELECT 1 FROM answer WHERE {where}").args["where"].this
    except DaybookError as error:
        raise BadInput(f"{where!r} is not a valid condition: {error}") from None
    for column in tree.find_all(exp.Column):
        if column.name not in answer.columns:
            raise BadInput(f"{answer.name} has no column {column.name!r}; it has {', '.join(answer.columns)}")
        column.set("table", exp.to_identifier("answer"))
    return str(tree.sql(dialect="duckdb"))


def _behind(answer: Answer) -> str:
    """Return which events belong to a row of the answer, as DuckDB SQL over ``events`` and ``answer``."""
    condition = answer.events or " AND ".join(f"events.{name} <=> answer.{name}" for name in answer.key) or "TRUE"
    return str(parsed(f"SELECT 1 FROM events, answer WHERE {condition}").args["where"].this.sql(dialect="duckdb"))
