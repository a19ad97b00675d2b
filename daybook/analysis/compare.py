"""``daybook compare``: compares a day with the days before it: its mixes, drops and counts, read from the lake.

This module counts. :mod:`daybook.analysis.drift`, :mod:`daybook.analysis.drops` and
:mod:`daybook.analysis.comparisons` classify the counts and do not access the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from daybook.analysis.comparisons import compare_day
from daybook.contract import event_label
from daybook.formatting import json_tree
from daybook.lake.duckdb_engine import connect, published_rows
from daybook.lake.ledger import Ledger
from daybook.lake.tables import EVENTS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from daybook.analysis.comparisons import Comparison
    from daybook.analysis.drift import Drift
    from daybook.analysis.drops import DropCheck

TRAILING_DAYS = 28
"""Four of each weekday."""
PLAYER_GROUPS = 4096
"""Players are grouped by a hash of their id, so that resampling a day of a million players is as fast as a small day.
The groups are as independent as the players are."""

EVENT_MIX, PROVIDER_MIX = "event mix", "provider mix"
_CATEGORIES = {
    EVENT_MIX: ("event_popularity", ("event_type", "item")),
    PROVIDER_MIX: ("provider_usage", ("provider",)),
}
"""Subject -> the answer that has its counts, and the columns of its category, in that answer and in ``events``."""


@dataclass(frozen=True)
class Comparisons:
    """A day compared with the days before it."""

    day: date
    drifts: tuple[Drift, ...]
    """For the event mix, then for the provider mix."""
    drops: DropCheck
    measures: tuple[Comparison, ...]
    """Events, players, purchases and guild joins compared with yesterday, the week and the same weekday."""

    @property
    def sentences(self) -> list[str]:
        """All findings, in words."""
        total = [self.drops.total.sentence] if self.drops.total else []
        return [
            *total,
            *(drift.sentence for drift in self.drifts),
            self.drops.sentence,
            *(drop.sentence for drop in self.drops.drops),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the comparisons as JSON types."""
        return {
            "day": self.day.isoformat(),
            "premise": [json_tree(drift) for drift in self.drifts],
            "drops": json_tree(self.drops),
            "comparisons": [json_tree(measure) for measure in self.measures],
        }


def compare(ledger: Ledger, day: str) -> Comparisons:
    """Compare a published day with the days before it, as all of them are published now.

    Args:
        ledger: the published days.
        day: ``YYYY-MM-DD``, UTC.

    Raises:
        BadInput: the day is not published.
    """
    from daybook.analysis.drops import find_drops

    newest = ledger.of(day)
    one = newest.event_date
    first = one - timedelta(days=TRAILING_DAYS)
    revisions = [revision for revision in ledger.newest.values() if first <= revision.event_date <= one]
    published = [revision.event_date for revision in revisions]
    with connect() as connection:
        for name in ("daily_activity", "provider_event_popularity", *(table for table, _ in _CATEGORIES.values())):
            rows = published_rows(ledger.settings, name, revisions)
            connection.register(name, rows if rows is not None else _no_rows(name))
        of_day = published_rows(ledger.settings, EVENTS, [newest])
        connection.register(EVENTS, of_day if of_day is not None else _no_rows(EVENTS))
        # both mixes are counted from it: the day's events are read once
        connection.execute(
            f"CREATE TEMP TABLE played AS SELECT HASH(user_id) % {PLAYER_GROUPS} AS place, event_type, item, provider, "
            f"COUNT(*) AS events FROM {EVENTS} GROUP BY ALL"
        ).fetchall()
        activity = _frame(
            connection, "SELECT event_date, events, users, purchases, guild_joins FROM daily_activity ORDER BY ALL"
        )
        cells = _frame(
            connection,
            "SELECT event_date, provider, event_type, item, events FROM provider_event_popularity ORDER BY ALL",
        )
        players = {
            row["event_date"]: min(row["users"], PLAYER_GROUPS)
            for row in activity.to_dict("records")
            if row["event_date"] < one
        }
        drifts = tuple(_drift(connection, subject, one, players) for subject in _CATEGORIES)
    return Comparisons(one, drifts, find_drops(cells, one, published), tuple(compare_day(activity, one, published)))


def _drift(connection: DuckDBPyConnection, subject: str, day: date, players: Mapping[date, int]) -> Drift:
    from daybook.analysis.drift import check_drift

    answer, columns = _CATEGORIES[subject]
    names = ", ".join(columns)
    usual = _frame(
        connection, f"SELECT event_date, {names}, events FROM {answer} WHERE event_date < $day ORDER BY ALL", day=day
    )
    counted = _frame(connection, f"SELECT place, {names}, SUM(events) AS events FROM played GROUP BY ALL ORDER BY ALL")
    today, categories = _matrix(_by_category(counted, columns))
    return check_drift(subject, day, _by_category(usual, columns), today, categories, players_before=players)


def _by_category(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows with a column ``category`` in place of these columns: an event's label, or a provider."""
    cells = rows[[*columns]].itertuples(index=False, name=None)
    category = [event_label(*cell) if columns == ("event_type", "item") else cell[0] for cell in cells]
    return rows.drop(columns=[*columns]).assign(category=category)


def _matrix(counted: pd.DataFrame) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return groups of players x categories, and the categories' names."""
    table = counted.pivot(index="place", columns="category", values="events").fillna(0).astype("int64")
    return table.to_numpy(), tuple(table.columns)


def _frame(connection: DuckDBPyConnection, sql: str, **values: Any) -> pd.DataFrame:
    import pandas as pd

    found = connection.execute(sql, values)
    columns = [column[0] for column in found.description or ()]
    return pd.DataFrame(found.fetchall(), columns=columns)


def _no_rows(name: str) -> Any:
    """Return a table without rows, for one that no day has filled yet."""
    import pyarrow as pa

    text = ("provider", "event_type", "item", "user_id")
    counts = ("events", "users", "purchases", "guild_joins")
    columns = [
        ("event_date", pa.date32()),
        *((one, pa.string()) for one in text),
        *((one, pa.int64()) for one in counts),
    ]
    return pa.schema(columns).empty_table()
