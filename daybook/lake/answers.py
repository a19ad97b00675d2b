"""A day's rows of an answer, as published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from daybook.errors import BadInput, did_you_mean
from daybook.formatting import json_rows
from daybook.lake.across_days import across_rows
from daybook.lake.catalog import load
from daybook.lake.ledger import Ledger, read_ledger
from daybook.lake.snapshots import readable_snapshot
from daybook.settings import Settings
from daybook.sql.answers import ACROSS_DAYS, all_answers, answers

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read_answer(settings: Settings, name: str, day: str) -> pd.DataFrame:
    """Return a day's rows of an answer as published, in pandas: integers stay integers where some are null (None).

    Args:
        settings: where the lake is.
        name: an answer, which is a file under ``spark/sql``.
        day: ``YYYY-MM-DD``, UTC.

    Returns:
        The table's columns without ``event_date``, in the order that the answer's file defines, nulls first. Buckets
        of hosts without a provider are sorted after the providers.

    Raises:
        BadInput: no such answer, or the day is not published; the message lists the valid ones.
    """
    return _answer_table(read_ledger(settings), name, day).to_pandas(integer_object_nulls=True)


def _answer_table(ledger: Ledger, name: str, day: str) -> pa.Table:
    """Return a day's rows of an answer at the snapshot that the day's newest revision pins (:func:`read_answer`).

    If that snapshot has expired, the oldest remaining later snapshot is read. It shows the same revision
    (:func:`daybook.lake.snapshots.readable_snapshot`).
    """
    import pyarrow as pa

    known = answers()
    if name not in known:
        raise BadInput(
            f"there is no answer {name!r}; the answers are: {', '.join(all_answers())}."
            f"{did_you_mean(name, all_answers())}"
        )
    newest = ledger.of(day)
    table = load(ledger.settings, name)
    pinned = newest.snapshots.get(name)
    if table is None or pinned is None:
        # no row of the answer existed when the day was published, on any day; or the day is known to be empty
        if name in newest.snapshots or newest.events == 0:
            return pa.table({column: pa.nulls(0) for column in known[name].columns})
        raise BadInput(
            f"{day} was published before the answer {name} was added; build it again with "
            f"""`airflow dags trigger game_events_daily -c '{{"day": "{day}", "force": true}}'`"""
        )
    snapshot_id = readable_snapshot(table, pinned)
    found = table.scan(row_filter=f"event_date = '{day}'", snapshot_id=snapshot_id).to_arrow()
    rows = found.drop_columns(["event_date"])
    # typed: PyArrow takes an empty list for a list of nulls
    return rows.take(pa.array(_in_order(rows, known[name].order), pa.int64()))


def _in_order(rows: pa.Table, order: Sequence[tuple[str, bool]]) -> list[int]:
    """Return the places of the rows in the answer's order: nulls first, and buckets after the providers.

    Readers look for providers, but "(" sorts before letters.
    """
    places = list(range(rows.num_rows))
    # a stable sort by the last column first: the same as one sort by all columns
    for column, descending in reversed(order):
        cells = rows[column].to_pylist()

        def key(place: int, cells: list[Any] = cells, column: str = column) -> tuple[bool, Any]:
            cell = cells[place]
            return (column == "provider" and cell.startswith("("), cell)

        some = sorted((place for place in places if cells[place] is not None), key=key, reverse=descending)
        places = [place for place in places if cells[place] is None] + some
    return places


def answer_rows(ledger: Ledger, name: str, day: str) -> list[dict[str, Any]]:
    """Return a day's rows of an answer as published, in its order; an answer across days covers the days up to it.

    Args:
        ledger: the published days.
        name: an answer of a day, or one across days.
        day: ``YYYY-MM-DD``, UTC.

    Returns:
        Rows with cells of JSON types.

    Raises:
        BadInput: no such answer, or the day is not published; the message lists the valid ones.
    """
    across = answers(ACROSS_DAYS).get(name)
    rows = across_rows(ledger, across, day) if across else _answer_table(ledger, name, day).to_pylist()
    return json_rows(rows)
