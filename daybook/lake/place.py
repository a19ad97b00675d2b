"""Checks where the lake's tables are: below the configured warehouse, and known to the configured catalog.

A catalog that opens does not have to belong to this state. One that names tables elsewhere belongs to another state.
An empty one over a warehouse with tables is another catalog, or has lost its tables. Continuing would write to another
state's tables, or start a second history over the first and then delete the first as orphan files.
"""

from __future__ import annotations

import os
import sqlite3

from daybook.errors import NonRetryableError, NotNow
from daybook.lake.config import pyiceberg_properties
from daybook.lake.files import metadata_files
from daybook.lake.tables import NAMESPACE, RAW_EVENTS, TABLES
from daybook.lake.uris import is_local, path_of
from daybook.settings import Settings

_FIRST_METADATA = "00000-"
"""A table's first metadata file is written before the catalog knows the table, so a killed writer leaves one behind.
Any later one comes from a table that a catalog knew."""


def refuse_elsewhere(settings: Settings, table: str, location: str) -> None:
    """Refuse a table outside the warehouse. A REST catalog chooses the locations itself.

    Raises:
        NonRetryableError: the table is outside; the message names what to set or run.
    """
    if settings.has_rest_catalog or f"{_place(location)}/".startswith(f"{_place(settings.warehouse)}/"):
        return
    root = location.removesuffix(f"/{NAMESPACE}/{table}")
    quoted = (settings.home / "lake" / "warehouse").as_uri()
    if _place(root) == _place(quoted):
        raise NonRetryableError(
            f"the lake of {settings.home} is next to it, in {path_of(root)}: an earlier Daybook created it there. "
            "Nothing was changed. Move it into the state folder with `daybook adopt`, or use it where it is: "
            f'DAYBOOK_LAKE_WAREHOUSE="{root}"'
        )
    raise NonRetryableError(
        f"the table {table} is in {location}, outside the configured warehouse, {settings.warehouse}: the "
        "state folder was copied or moved, or the settings name another warehouse. Nothing was changed. Set "
        f"DAYBOOK_HOME or DAYBOOK_LAKE_WAREHOUSE to its original value ({root}); if the folder was copied or moved "
        "together with its lake, make it a state of its own: `daybook adopt`"
    )


def refuse_forgotten(settings: Settings, table: str) -> None:
    """Refuse to treat a table as new that the catalog does not know but the warehouse holds.

    An answer's table may be dropped; its files then remain until the next maintenance. The lake's own tables are never
    dropped.

    Raises:
        NonRetryableError: the warehouse holds a table of that name.
        NotNow: the warehouse cannot be listed.
    """
    if table not in TABLES or settings.has_rest_catalog:
        return
    folder = f"{settings.warehouse}/{NAMESPACE}/{table}/metadata"
    names = [name for name in _names(settings, folder) if name.endswith(".metadata.json")]
    if all(name.startswith(_FIRST_METADATA) for name in names):
        return
    file = settings.catalog_file
    if file is None:
        lacks = f"the catalog {settings.catalog_uri} has no table {table}"
    elif not file.exists():
        lacks = f"the catalog {file} is missing"
    else:
        lacks = f"the catalog {file} " + (f"has no table {table}" if file.stat().st_size else "is empty (0 bytes)")
    raise NonRetryableError(
        f"{lacks}, but the warehouse {settings.warehouse} holds its files: the catalog was lost, or is a different "
        "one. Nothing was changed. Set DAYBOOK_LAKE_CATALOG_URI to the catalog of this warehouse; if it is lost, "
        "restore a backup into an empty folder (`daybook restore`)"
    )


def refuse_other_catalog(settings: Settings) -> None:
    """Refuse a SQLite catalog that lost its tables, or was restored without the tables that have changed since.

    Does not use PyIceberg, so that ``up`` does not wait for it. A commit writes the table's next metadata file, then
    updates the catalog. A commit that was interrupted leaves a file at most one version ahead of the catalog. A catalog
    or files elsewhere are restored by their own tools, at different moments and on purpose.

    Raises:
        NonRetryableError: it is such a catalog. Continuing would land again what these files hold, and remove them as
            orphans.
    """
    file = settings.catalog_file
    if file is None or not is_local(settings.warehouse):
        return
    try:
        known = metadata_files(file) if file.exists() else {}
    except sqlite3.Error as error:
        if "locked" in str(error):  # a job is using it
            return
        known = {}
    if RAW_EVENTS not in known:
        refuse_forgotten(settings, RAW_EVENTS)
    for table in TABLES.keys() & known.keys():
        metadata = path_of(known[table])
        newest = max((_version(name) for name in _names(settings, str(metadata.parent))), default=0)
        if newest > _version(metadata.name) + 1:
            raise NonRetryableError(
                f"the catalog {file} is older than its tables: it names version {_version(metadata.name)} of {table}, "
                f"and the warehouse has version {newest}. It was restored without its tables. Nothing was changed. "
                "Restore the newest catalog, or a complete backup into an empty folder (`daybook restore`)"
            )


def _version(name: str) -> int:
    """Return the version of a table's metadata file; 0 for any other file.

    >>> _version("00012-8f1b.metadata.json"), _version("snap-1.avro")
    (12, 0)
    """
    number, _, rest = name.partition("-")
    return int(number) if number.isdigit() and rest.endswith(".metadata.json") else 0


def _place(uri: str) -> str:
    """Return the same text for the same place: Spark and its readers spell the URIs of one storage differently."""
    if is_local(uri):
        return os.path.realpath(path_of(uri))
    scheme, _, rest = uri.rstrip("/").partition("://")
    if scheme == "hdfs":  # the name node has several names
        return f"hdfs:/{rest.partition('/')[2]}"
    return f"{'s3' if scheme in {'s3a', 's3n'} else scheme}://{rest}"


def _names(settings: Settings, folder: str) -> list[str]:
    """Return the names of the files in a folder of the warehouse; nothing if there is no such folder."""
    if is_local(folder):
        try:
            return os.listdir(path_of(folder))
        except FileNotFoundError:
            return []
    import pyarrow.fs as pafs
    from pyiceberg.io.pyarrow import PyArrowFileIO

    io = PyArrowFileIO(pyiceberg_properties(settings))
    scheme, netloc, path = io.parse_location(folder)
    try:
        found = io.fs_by_scheme(scheme, netloc).get_file_info(pafs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise NotNow(
            f"the warehouse {settings.warehouse} cannot be listed ({str(error).splitlines()[0]}); nothing was changed. "
            "Check that DAYBOOK_LAKE_WAREHOUSE, its endpoint and its keys are correct, then retry"
        ) from None
    return [one.base_name for one in found]
