"""The rows of ``day_ledger``: every published revision of every day.

Readers see a day as its newest row defines it. The row names the snapshot of every table of the revision, so a
published day changes for readers in one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from daybook.airflow_client import TRIGGER
from daybook.days import day_bounds, parse_day
from daybook.errors import BadInput
from daybook.formatting import json_rows
from daybook.lake.catalog import load
from daybook.lake.tables import DAY_LEDGER, RAW_EVENTS
from daybook.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def ledger(settings: Settings) -> pd.DataFrame:
    """Return every published revision of every day, by day and revision; no rows before the first one.

    Columns are those of :data:`daybook.lake.tables.TABLES`: ``event_date`` as :class:`datetime.date`, ``published_at``
    in UTC, ``snapshots`` as dictionaries, counts as integers, None where they are null.
    """
    import pandas as pd

    table = load(settings, DAY_LEDGER)
    if table is None:
        return pd.DataFrame(columns=["event_date", "revision"])
    state = table.metadata_location
    if state not in _LEDGER:
        rows = frame_of(table.scan().to_arrow())
        _LEDGER.clear()
        # older versions could write two rows for one revision: the first one written is the revision
        order = ["event_date", "revision", "published_at", "run_id"]
        _LEDGER[state] = rows.sort_values(order, ascending=[True, True, False, False], ignore_index=True)
    return _LEDGER[state].copy()


_LEDGER: dict[str, pd.DataFrame] = {}
"""The last ledger that was read, by its metadata file, which Iceberg never writes twice. A day's report needs the
ledger 22 times (3.9 s for a ledger of 34 revisions, 1.9 s with this cache)."""


def ledger_state(settings: Settings) -> str | None:
    """Return a text that identifies what is published now and changes with each revision; None before the first."""
    table = load(settings, DAY_LEDGER)
    return None if table is None else table.metadata_location


def latest_pages(settings: Settings) -> pd.DataFrame:
    """Return the newest revision of each day, by day; columns as in :func:`ledger`."""
    rows = ledger(settings)  # sorted: the last row of a day is the one that readers use
    return rows.drop_duplicates("event_date", keep="last", ignore_index=True)


def latest_revisions(settings: Settings) -> list[dict[str, Any]]:
    """Return the newest ledger row of each day, by day; columns as in :func:`ledger`."""
    rows: list[dict[str, Any]] = latest_pages(settings).to_dict("records")
    return rows


def page_of(settings: Settings, day: str) -> pd.Series:
    """Return the ledger row of a day's newest revision.

    Args:
        settings: where the lake is.
        day: ``YYYY-MM-DD``, UTC.

    Raises:
        BadInput: not a day, or the day is not published; the message names the published days.
    """
    wanted = parse_day(day)
    pages = latest_pages(settings)
    of_day = pages[pages["event_date"] == wanted]
    if of_day.empty:
        days = [one.isoformat() for one in pages["event_date"]]
        shown = ", ".join(days[-5:]) if days else "none yet"
        known = f"published days: {'..., ' if len(days) > 5 else ''}{shown}"
        raise BadInput(f"{day} is not published; {known}. {_how_to_build(settings, wanted)}")
    return of_day.iloc[0]


def _how_to_build(settings: Settings, day: date) -> str:
    """Explain how to get an unpublished day published; includes a command only where that would work."""
    from daybook.lake.snapshots import record_began

    if day >= datetime.now(UTC).date():
        return f"It is not over (UTC): a run can build it from {day + timedelta(days=1)} on"
    raw = load(settings, RAW_EVENTS)
    began = record_began(raw)
    if raw is not None and began >= day_bounds(day)[1] and not settings.events_of_a_run:
        return (
            f"The first event was received on {began:%Y-%m-%d}, after its end: a run builds it only if late events of "
            f"it were received. `daybook plan --from {day} --to {day}` says whether"
        )
    return f"""Build it with `{TRIGGER} -c '{{"day": "{day}"}}'`"""


def frame_of(rows: pa.Table) -> pd.DataFrame:
    """Return the rows in pandas: integers stay integers where some are null (None), maps become dictionaries."""
    return rows.to_pandas(integer_object_nulls=True, maps_as_pydicts="strict")


LEDGER_COUNTS: tuple[str, ...] = (
    "sent",
    "refused",
    "accepted",
    "other_days",
    "landed",
    "duplicates",
    "rejected",
    "events",
    "late",
)
"""The counts of a day, in the order in which a record travels. They add up: sent - refused = accepted,
accepted - other_days = landed, landed - duplicates - rejected = events. The count ``late`` is a part of the events."""


def ledger_rows(settings: Settings) -> list[dict[str, Any]]:
    """Return each day's newest revision, by day: ``day``, ``revision``, ``published_at``, the counts, ``balanced``.

    ``sent``, ``refused``, ``accepted`` and ``other_days`` are None for a day with only live traffic.
    """
    columns = ["day", "revision", "published_at", *LEDGER_COUNTS, "balanced"]
    pages = latest_pages(settings).rename(columns={"event_date": "day"})
    rows = json_rows(pages.reindex(columns=columns))
    return [{**row, "other_days": other_days(row)} for row in rows]


def other_days(row: Mapping[str, Any]) -> int | None:
    """Return how many accepted records of a generated day count on other days: late events count when they happened.

    It is accepted less landed. So records of other senders, or of other days' runs, that count on this day are
    subtracted; a value below 0 means that there are more of these.

    >>> other_days({"accepted": 550, "landed": 530}), other_days({"accepted": None, "landed": 12})
    (20, None)
    """
    return None if row["accepted"] is None else row["accepted"] - row["landed"]
