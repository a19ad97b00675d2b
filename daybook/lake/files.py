"""The lake as files: which ones its catalog reaches, and how to rewrite their paths after a move to another folder.

Iceberg writes every file once and never changes it. Metadata names files by their absolute URIs. The catalog names a
metadata file, which names the manifest lists of its snapshots. These name manifests, and manifests name data files.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybook.errors import DaybookError
from daybook.files import whole_file
from daybook.lake.tables import CATALOG
from daybook.lake.uris import is_local, path_of

if TYPE_CHECKING:
    from pyiceberg.avro.file import AvroFile
    from pyiceberg.io import FileIO
    from pyiceberg.typedef import Record


KINDS = ("metadata", "manifest_list", "manifest", "data")
"""The kinds of a lake's files; delete files and statistics count as data."""


@dataclass(frozen=True)
class LakeFile:
    """A file that the catalog reaches."""

    uri: str
    kind: str
    """One of :data:`KINDS`."""
    bytes: int | None = None
    """The size it was written with; None where it is not recorded."""


def copy_catalog(source: Path, target: Path) -> None:
    """Copy a SQLite catalog as it is at one moment; writers are not blocked.

    Raises:
        sqlite3.Error: it is not a database, or stays locked.
    """
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def metadata_files(catalog: Path) -> dict[str, str]:
    """Return the URI of the metadata file of every table of a SQLite catalog."""
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT table_name, metadata_location FROM iceberg_tables WHERE catalog_name = ? ORDER BY table_name",
            (CATALOG,),
        ).fetchall()
    return dict(rows)


@contextmanager
def _reading(table: str, kind: str, uri: str) -> Iterator[None]:
    """Name the file in the error if it cannot be read.

    Raises:
        DaybookError: its content is not what was written.
        OSError: it does not exist.
    """
    from daybook.lake.lake_table import unreadable

    try:
        yield
    except (OSError, DaybookError):
        raise
    except Exception as error:  # decoders raise all kinds of errors on foreign bytes
        raise unreadable(table, kind, uri, error) from error


def lake_files_of(catalog: Path, located: Callable[[str], Path] = path_of) -> Iterator[LakeFile]:
    """Yield every file that a catalog reaches, each once: visible, in older snapshots, or staged.

    Args:
        catalog: a SQLite catalog that nobody writes, such as one of :func:`copy_catalog`.
        located: maps a URI to the current path of its file; the default takes the path from the URI itself.

    Raises:
        FileNotFoundError: a file is gone: maintenance or an erasure has deleted it since the catalog was copied.
        DaybookError: a file is damaged.
    """
    from pyiceberg.io.pyarrow import PyArrowFile
    from pyiceberg.manifest import read_manifest_list
    from pyiceberg.serializers import Compressor, FromByteStream

    from daybook.lake.file_io import LakeFileIO

    class Located(LakeFileIO):
        def new_input(self, location: str) -> PyArrowFile:
            return super().new_input(str(located(location)))

    io = Located()
    seen: set[str] = set()

    def first_time(uri: str) -> bool:
        known = uri in seen
        seen.add(uri)
        return not known

    for table, location in metadata_files(catalog).items():
        yield LakeFile(location, "metadata")
        with _reading(table, "metadata file", location), io.new_input(location).open() as stream:
            metadata = FromByteStream.table_metadata(stream, compression=Compressor.get_compressor(location))
        for statistics in (*metadata.statistics, *metadata.partition_statistics):
            if first_time(statistics.statistics_path):
                yield LakeFile(statistics.statistics_path, "data", statistics.file_size_in_bytes)
        for snapshot in metadata.snapshots:
            if not first_time(snapshot.manifest_list):
                continue
            yield LakeFile(snapshot.manifest_list, "manifest_list")
            # not `snapshot.manifests`: it caches manifests by their names, and a moved lake has the old names
            with _reading(table, "manifest list", snapshot.manifest_list):
                manifests = list(read_manifest_list(io.new_input(snapshot.manifest_list)))
            for manifest in manifests:
                if not first_time(manifest.manifest_path):
                    continue
                yield LakeFile(manifest.manifest_path, "manifest", manifest.manifest_length)
                with _reading(table, "manifest", manifest.manifest_path):
                    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
                for file in (entry.data_file for entry in entries):
                    if first_time(file.file_path):
                        yield LakeFile(file.file_path, "data", file.file_size_in_bytes)


def move(catalog: Path, root: Path, kinds: dict[Path, str], old: str, new: str) -> None:
    """Point a lake to another folder: catalog and metadata are rewritten in place, data files are unchanged.

    Iceberg's ``rewrite_table_path`` does the same from the lake's old location, which may be gone. This function works
    on copies of the files. Snapshot ids do not change.

    Args:
        catalog: the SQLite catalog.
        root: folder of the copies, laid out like the warehouse.
        kinds: copy -> its kind, as in :class:`LakeFile`; data files may be left out.
        old: URI of the warehouse that the metadata names.
        new: URI of the warehouse that the files are to be in.

    Raises:
        DaybookError: a table has position delete files, which hold paths as data.
    """
    from daybook.lake.file_io import LakeFileIO

    io = LakeFileIO()
    moved = _Moved(str(path_of(old)), new.rstrip("/"))
    # from the inside out: a manifest list contains the lengths of its manifests
    for kind in ("manifest", "manifest_list"):
        for path in (path for path, one in kinds.items() if one == kind):
            _rewrite_avro(io, path, moved, kind, root)
    for path in (path for path, one in kinds.items() if one == "metadata"):
        # replace the file, do not write into it: that would change the original of a hard-linked copy
        with whole_file(path) as partial:
            partial.write_text(json.dumps(moved.of(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with closing(sqlite3.connect(catalog)) as connection, connection:
        rows = connection.execute("SELECT rowid, metadata_location, previous_metadata_location FROM iceberg_tables")
        for rowid, *locations in rows.fetchall():
            connection.execute(
                "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? WHERE rowid = ?",
                (*moved.of(locations), rowid),
            )
        rows = connection.execute("SELECT rowid, property_value FROM iceberg_namespace_properties")
        for rowid, value in rows.fetchall():
            connection.execute(
                "UPDATE iceberg_namespace_properties SET property_value = ? WHERE rowid = ?", (moved.of(value), rowid)
            )


@dataclass(frozen=True)
class _Moved:
    """A mapping of paths from one folder to another."""

    old: str
    """A path, without scheme and trailing slash."""
    new: str
    """A URI, without trailing slash."""

    def of(self, value: Any) -> Any:
        """Return the value, of JSON types, with every URI below the old folder moved."""
        if isinstance(value, dict):
            return {name: self.of(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.of(one) for one in value]
        if not isinstance(value, str) or not is_local(value):
            return value
        path = str(path_of(value))
        return self.new + path[len(self.old) :] if path == self.old or path.startswith(self.old + "/") else value


def _rewrite_avro(io: FileIO, path: Path, moved: _Moved, kind: str, root: Path) -> None:
    """Rewrite a manifest, or a list of them, with its own schema and header; completely or not at all."""
    from pyiceberg.avro.file import AvroFile, AvroOutputFile
    from pyiceberg.types import StructType

    reading: AvroFile[Record] = AvroFile(io.new_input(str(path)))
    with reading as source:
        rows = list(source)
        schema, meta = source.schema, dict(source.header.meta)
    at = {field.name: place for place, field in enumerate(schema.fields)}
    data_file = schema.find_type("data_file") if kind == "manifest" else None
    for row in rows:
        if isinstance(data_file, StructType):
            file = row[at["data_file"]]
            inner = {field.name: place for place, field in enumerate(data_file.fields)}
            if "content" in inner and file[inner["content"]] == 1:
                raise DaybookError(
                    f"{path} lists position delete files, which contain paths as data: this lake can only be restored "
                    f"to its original folder, {moved.old}. Set DAYBOOK_HOME to the original value, and repeat"
                )
            file[inner["file_path"]] = moved.of(file[inner["file_path"]])
        else:
            row[at["manifest_path"]] = moved.of(row[at["manifest_path"]])
            copy = root / path_of(row[at["manifest_path"]]).relative_to(path_of(moved.new))
            row[at["manifest_length"]] = copy.stat().st_size
    name = str(json.loads(meta["avro.schema"])["name"])
    meta.pop("avro.schema")
    with whole_file(path) as partial:
        writing: AvroOutputFile[Record] = AvroOutputFile(io.new_output(str(partial)), schema, name, metadata=meta)
        with writing as target:
            target.write_block(rows)
