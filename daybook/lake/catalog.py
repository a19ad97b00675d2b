"""Reads the lake without a JVM, through PyIceberg.

A reader sees a day as its newest ledger row has it: the row names the snapshot of every table that belongs to the
page, so a page changes for readers in one commit. Nothing here writes, and nothing needs the stack to be up. pandas and
PyIceberg are loaded by the first call: they take two seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybook.airflow_client import TRIGGER
from daybook.days import day_bounds, parse_day
from daybook.errors import BadInput, DaybookError, NeedsDecision, NotNow, did_you_mean
from daybook.formatting import json_rows, json_value
from daybook.lake.config import SQLITE, pyiceberg_properties
from daybook.lake.place import refuse_elsewhere, refuse_forgotten
from daybook.lake.snapshots import page_state
from daybook.lake.state import check_state
from daybook.lake.tables import CATALOG, DAY_LEDGER, NAMESPACE, RAW_EVENTS, TABLES
from daybook.settings import Settings
from daybook.sql.answers import all_answers, answers

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


def catalog(settings: Settings) -> Catalog:
    """The lake's catalog. Making it writes nothing: Spark makes the catalog's own tables with the first landing."""
    properties = pyiceberg_properties(settings) | {"py-io-impl": "daybook.lake.file_io.LakeFileIO"}
    if settings.has_rest_catalog:
        from pyiceberg.catalog.rest import RestCatalog

        return RestCatalog(CATALOG, **properties)
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog(CATALOG, **properties, init_catalog_tables="false")


def load(settings: Settings, table: str) -> Table | None:
    """The table with its newest metadata; None while it, or the whole catalog, has not been made yet.

    Every reader and every writer of the lake comes through here, so this is where a lake that is not this state's own
    is refused.

    Raises:
        NeedsDecision: the state folder or the table belongs elsewhere, or the catalog has lost the table. Nothing was
            read or changed.
        BadInput: the catalog does not answer.
        DaybookError: the table's metadata file cannot be read. So say the scans of the table of their files.
    """
    check_state(settings)
    uri = settings.catalog_uri
    # SQLite would make an empty file by looking
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        refuse_forgotten(settings, table)
        return None
    from pyiceberg.exceptions import NoSuchTableError, RESTError
    from requests.exceptions import RequestException
    from sqlalchemy.exc import DatabaseError

    from daybook.lake.lake_table import LakeTable

    try:
        found = catalog(settings).load_table((NAMESPACE, table))
    except NoSuchTableError:
        refuse_forgotten(settings, table)
        return None
    except DatabaseError as error:
        if _has_no_tables(error.orig):
            refuse_forgotten(settings, table)
            return None
        raise _catalog_trouble(settings, error.orig) from None
    except (RESTError, RequestException) as error:
        raise _away(error) from None
    except DaybookError:
        raise
    except Exception as error:  # whatever the parser of the metadata file meets
        if settings.has_rest_catalog:
            raise
        raise _unreadable_metadata(settings, table, error) from error
    refuse_elsewhere(settings, table, found.location())
    return LakeTable.of(found)


def broken_file(settings: Settings) -> DaybookError | None:
    """What is wrong with the first file of the lake's current state that cannot be read; None if all can be.

    For errors of Spark, which name no file, or no next step. Reads the footer of each data file.
    """
    from daybook.lake.lake_table import LakeTable

    try:
        for name in (*sorted(TABLES), *answers()):
            table = load(settings, name)
            if isinstance(table, LakeTable) and (error := table.named_file_error()):
                return error
    except DaybookError as error:
        return error
    return None


def _unreadable_metadata(settings: Settings, table: str, error: Exception) -> DaybookError:
    """Why a table that the catalog knows could not be loaded: of a lake that was moved, or of a broken file."""
    from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
    from pyiceberg.io import load_file_io
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    from daybook.lake.lake_table import unreadable_metadata

    lake = catalog(settings)
    assert isinstance(lake, SqlCatalog)  # a REST catalog reads the file itself
    with Session(lake.engine) as session:
        known = select(IcebergTables.metadata_location).where(
            IcebergTables.catalog_name == CATALOG,
            IcebergTables.table_namespace == NAMESPACE,
            IcebergTables.table_name == table,
        )
        location = session.scalar(known) or ""
    refuse_elsewhere(settings, table, location.rpartition("/metadata/")[0])
    return unreadable_metadata(table, location, load_file_io(lake.properties, location), error)


def _has_no_tables(error: BaseException | None) -> bool:
    """Whether a database answered that it has no table of Iceberg's catalog: it is new, or another one."""
    return str(error) == "no such table: iceberg_tables" or getattr(error, "pgcode", None) == "42P01"


def _catalog_trouble(settings: Settings, reason: BaseException | None) -> DaybookError:
    """Why a catalog's database cannot be read. A SQLite file has no server that could be down."""
    if not settings.catalog_uri.startswith(SQLITE):
        return _away(reason)
    file, said = settings.catalog_uri.removeprefix(SQLITE), str(reason)
    if "locked" in said or "busy" in said:
        return NotNow(
            f"another program holds the lake's catalog {file} ({said}); what readers see is unchanged. Repeat when it "
            f"has finished; `fuser {file}` shows which one it is"
        )
    if "malformed" in said or "not a database" in said or "disk image" in said:
        return NeedsDecision(
            f"the lake's catalog {file} is damaged ({said}). Nothing was changed. Restore a backup into an empty "
            "folder: `daybook restore`"
        )
    return NotNow(
        f"the lake's catalog {file} cannot be read ({said}); nothing was changed. See to that file, its disk and its "
        "rights, then repeat"
    )


def _away(reason: BaseException | None) -> NotNow:
    return NotNow(
        f"the lake's catalog does not answer ({str(reason).strip().splitlines()[0]}); what readers see"
        " is unchanged. See that DAYBOOK_LAKE_CATALOG_URI is right and its server is up, then repeat"
    )


def ledger(settings: Settings) -> pd.DataFrame:
    """Every published revision of every day, by day and revision; no rows before the first page.

    Columns are those of :data:`daybook.lake.tables.TABLES`: ``event_date`` as :class:`datetime.date`, ``published_at``
    in UTC, ``snapshots`` as dictionaries, counts as integers, None where they are null.
    """
    import pandas as pd

    table = load(settings, DAY_LEDGER)
    if table is None:
        return pd.DataFrame(columns=["event_date", "revision"])
    state = table.metadata_location
    if state not in _LEDGER:
        rows = _frame(table.scan().to_arrow())
        _LEDGER.clear()
        # two rows of one revision, as older versions could write: the first that was written is the revision
        order = ["event_date", "revision", "published_at", "run_id"]
        _LEDGER[state] = rows.sort_values(order, ascending=[True, True, False, False], ignore_index=True)
    return _LEDGER[state].copy()


_LEDGER: dict[str, pd.DataFrame] = {}
"""The ledger as read last, by the metadata file that it was read at: Iceberg never writes such a file twice. A day's
report asks 22 times (3.9 s for a ledger of 34 revisions, 1.9 s with this)."""


def ledger_state(settings: Settings) -> str | None:
    """Names what is published now: another text after each published revision; None before the first."""
    table = load(settings, DAY_LEDGER)
    return None if table is None else table.metadata_location


def latest_pages(settings: Settings) -> pd.DataFrame:
    """The newest revision of each day, by day; columns as :func:`ledger`."""
    rows = ledger(settings)  # sorted: the last of a day is the row that readers go by
    return rows.drop_duplicates("event_date", keep="last", ignore_index=True)


def latest_revisions(settings: Settings) -> list[dict[str, Any]]:
    """The newest ledger row of each day, by day; columns as :func:`ledger`."""
    rows: list[dict[str, Any]] = latest_pages(settings).to_dict("records")
    return rows


def page_of(settings: Settings, day: str) -> pd.Series:
    """The ledger row of a day's newest revision.

    Args:
        settings: where the lake is.
        day: ``YYYY-MM-DD``, UTC.

    Raises:
        BadInput: not a day, or the day has no page; names the days that have one.
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
    """What gets a day that has no page one, for the reader; a command only where it can do so."""
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


def read_answer(settings: Settings, name: str, day: str) -> pd.DataFrame:
    """A day's rows of an answer, as published: at the snapshot that the day's newest revision pins.

    If that snapshot has been expired, the oldest state that is left since is read: it shows the same page
    (:func:`daybook.lake.snapshots.page_state`).

    Args:
        settings: where the lake is.
        name: an answer, which is a file under ``spark/sql``.
        day: ``YYYY-MM-DD``, UTC.

    Returns:
        The table's columns without ``event_date``, in the order that the answer's file states, nulls first; buckets
        of hosts without a provider stand behind the providers.

    Raises:
        BadInput: no such answer, or the day is not published; names what there is.
    """
    import pandas as pd

    known = answers()
    if name not in known:
        raise BadInput(
            f"there is no answer {name!r}; there are: {', '.join(all_answers())}.{did_you_mean(name, all_answers())}"
        )
    page = page_of(settings, day)
    table = load(settings, name)
    pinned = page["snapshots"].get(name)
    if table is None or pinned is None:
        # the answer had no row when the page was published, nor had any day before; or the day is known to be empty
        if name in page["snapshots"] or page["events"] == 0:
            return pd.DataFrame(columns=list(known[name].columns))
        raise BadInput(
            f"the page of {day} is older than the answer {name}; build it again with "
            f"""`airflow dags trigger game_events_daily -c '{{"day": "{day}", "force": true}}'`"""
        )
    snapshot_id = page_state(table, pinned)
    found = table.scan(row_filter=f"event_date = '{day}'", snapshot_id=snapshot_id).to_arrow()
    rows = _frame(found.drop_columns(["event_date"]))
    order = known[name].order
    return rows.sort_values(
        [column for column, _ in order],
        ascending=[not descending for _, descending in order],
        na_position="first",
        ignore_index=True,
        kind="stable",
        key=_buckets_last,
    )


def _buckets_last(column: pd.Series) -> pd.Series:
    """A key to sort a column by: a reader looks for providers, and brackets come before letters."""
    if column.name != "provider":
        return column
    return column.mask(column.str.startswith("(", na=False), "\U0010ffff" + column)


def _frame(rows: pa.Table) -> pd.DataFrame:
    """The rows in pandas: integers stay integers where some are null (None), maps become dictionaries."""
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
accepted - other_days = landed, landed - duplicates - rejected = events; late is a part of the events."""


def answer_rows(settings: Settings, name: str, day: str) -> list[dict[str, Any]]:
    """A day's rows of an answer, as published, in the answer's order; of an answer across days those up to the day.

    Raises:
        BadInput: no such answer, or the day is not published; names what there is.
    """
    from daybook.lake.across_days import across_rows
    from daybook.lake.catalog import read_answer
    from daybook.sql.answers import ACROSS_DAYS, answers

    if across := answers(ACROSS_DAYS).get(name):
        return [{key: json_value(cell) for key, cell in row.items()} for row in across_rows(settings, across, day)]
    return json_rows(read_answer(settings, name, day))


def ledger_rows(settings: Settings) -> list[dict[str, Any]]:
    """Each day's newest revision, by day: ``day``, ``revision``, ``published_at``, the counts, ``balanced``.

    ``sent``, ``refused``, ``accepted`` and ``other_days`` are None for a day of live traffic alone.
    """
    from daybook.lake.catalog import latest_pages

    columns = ["day", "revision", "published_at", *LEDGER_COUNTS, "balanced"]
    pages = latest_pages(settings).rename(columns={"event_date": "day"})
    rows = json_rows(pages.reindex(columns=columns))
    return [{**row, "other_days": other_days(row)} for row in rows]


def other_days(row: Mapping[str, Any]) -> int | None:
    """How many of a generated day's accepted records count on other days: the late ones, on the days they happened.

    It is what lies between accepted and landed, so records of other senders, or of other days' runs, that count on this
    day are taken off; below 0 they are more.

    >>> other_days({"accepted": 550, "landed": 530}), other_days({"accepted": None, "landed": 12})
    (20, None)
    """
    return None if row["accepted"] is None else row["accepted"] - row["landed"]


def coverage_of_days(settings: Settings) -> dict[str, float]:
    """Day -> share of its events whose provider is known, as the answer ``provider_usage`` has it; 0 to 1.

    One scan of two columns, as the table is now: a millisecond for each day there is (0.4 s for a year, 3 s for ten),
    where a read of each day at the snapshot its page pins would load the ledger as often. While a restatement is
    published by half it is ahead of the page; the run that completes it writes the overview again. Days without events
    have none.
    """
    from daybook.lake.catalog import load

    table = load(settings, "provider_usage")
    if table is None:
        return {}
    rows = table.scan(selected_fields=("event_date", "coverage")).to_arrow()
    days, shares = rows["event_date"].to_pylist(), rows["coverage"].to_pylist()
    # every row of a day holds the same
    return {day.isoformat(): share for day, share in zip(days, shares, strict=True)}
