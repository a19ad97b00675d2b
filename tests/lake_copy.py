"""Copies a lake and restores it from the copy, so that a test need not repeat the steps that filled it.

Iceberg's metadata holds absolute paths, so the lake is restored to its own place.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from daybook.settings import SQLITE, Settings


class LakeCopy:
    """The files and the catalog of a lake, as they were when this object was made."""

    def __init__(self, lake: Settings, folder: Path) -> None:
        self._warehouse = Path(lake.warehouse.removeprefix("file://"))
        self._catalog = lake.catalog_uri.removeprefix(SQLITE)
        self._files, self._saved_catalog = folder / "warehouse", str(folder / "catalog.db")
        folder.mkdir()
        shutil.copytree(self._warehouse, self._files)
        _copy_database(self._catalog, self._saved_catalog)

    def restore(self) -> None:
        """Replace the lake by the copy. Spark and PyIceberg keep their connections to the catalog."""
        shutil.rmtree(self._warehouse, ignore_errors=True)
        shutil.copytree(self._files, self._warehouse)
        _copy_database(self._saved_catalog, self._catalog)


def _copy_database(source: str, target: str) -> None:
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)
