"""Finds and loads the lake's tables without a JVM, through PyIceberg.

Nothing here writes, and the stack does not have to be up. The first call imports PyIceberg, which takes two seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daybook.errors import DaybookError, NonRetryableError, NotNow
from daybook.lake.config import pyiceberg_properties
from daybook.lake.place import refuse_elsewhere, refuse_forgotten
from daybook.lake.state import check_state
from daybook.lake.tables import CATALOG, NAMESPACE, TABLES
from daybook.settings import Settings
from daybook.sql.answers import answers

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


def catalog(settings: Settings) -> Catalog:
    """Return the lake's catalog without writing anything: Spark creates the catalog's tables with the first landing."""
    properties = pyiceberg_properties(settings) | {"py-io-impl": "daybook.lake.file_io.LakeFileIO"}
    if settings.has_rest_catalog:
        from pyiceberg.catalog.rest import RestCatalog

        return RestCatalog(CATALOG, **properties)
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog(CATALOG, **properties, init_catalog_tables="false")


def load(settings: Settings, table: str) -> Table | None:
    """Return the table with its newest metadata; None if the table or the whole catalog has not been created yet.

    Every reader and every writer of the lake calls this function. So it is the place that refuses a lake that does
    not belong to this state.

    Raises:
        NonRetryableError: the state folder or the table belongs elsewhere, or the catalog has lost the table.
            Nothing was read or changed.
        BadInput: the catalog does not answer.
        DaybookError: the table's metadata file cannot be read. The table's scans raise the same for their files.
    """
    check_state(settings)
    # SQLite would create an empty file on connecting
    if settings.catalog_file is not None and not settings.catalog_file.exists():
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
        raise _unavailable(error) from None
    except DaybookError:
        raise
    except Exception as error:  # whatever the parser of the metadata file raises
        if settings.has_rest_catalog:
            raise
        raise _unreadable_metadata(settings, table, error) from error
    refuse_elsewhere(settings, table, found.location())
    return LakeTable.of(found)


def broken_file(settings: Settings) -> DaybookError | None:
    """Return the problem of the first unreadable file of the lake's current state; None if all files can be read.

    For Spark's errors, which lack the file or the next step. Reads the footer of each data file.
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
    """Explain why a table in the catalog could not be loaded: the lake was moved, or a file is broken."""
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
    """Return whether the database reported that Iceberg's catalog tables are missing: it is new, or the wrong one."""
    return str(error) == "no such table: iceberg_tables" or getattr(error, "pgcode", None) == "42P01"


def _catalog_trouble(settings: Settings, reason: BaseException | None) -> DaybookError:
    """Explain why a catalog's database cannot be read. A SQLite file has no server that could be down."""
    file, message = settings.catalog_file, str(reason)
    if file is None:
        return _unavailable(reason)
    if "locked" in message or "busy" in message:
        return NotNow(
            f"another program has locked the lake's catalog {file} ({message}); the published days are unchanged. "
            f"Retry when it has finished; `fuser {file}` shows which program it is"
        )
    if "malformed" in message or "not a database" in message or "disk image" in message:
        return NonRetryableError(
            f"the lake's catalog {file} is damaged ({message}). Nothing was changed. Restore a backup into an empty "
            "folder: `daybook restore`"
        )
    return NotNow(
        f"the lake's catalog {file} cannot be read ({message}); nothing was changed. Check the file, its disk and its "
        "permissions, then retry"
    )


def _unavailable(reason: BaseException | None) -> NotNow:
    return NotNow(
        f"the lake's catalog does not answer ({str(reason).strip().splitlines()[0]}); the published days"
        " are unchanged. Check that DAYBOOK_LAKE_CATALOG_URI is correct and its server is up, then retry"
    )
