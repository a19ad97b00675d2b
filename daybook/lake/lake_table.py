"""Tables of the lake that name a file that cannot be read, with the next command.

PyIceberg, Avro and Arrow raise whatever their parsers raise, mostly without the file's name. After such an error the
files of the failed read are checked one by one, from the outside in, until one cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import DataScan, FileScanTask, Table
from pyiceberg.table.inspect import InspectTable
from pyiceberg.typedef import EMPTY_DICT, Properties

from daybook.errors import DaybookError, NonRetryableError
from daybook.lake.uris import is_local, path_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.table.snapshots import Snapshot

_ALL = AlwaysTrue()


class LakeTable(Table):
    """A table whose read errors name the unreadable file."""

    @classmethod
    def of(cls, table: Table) -> LakeTable:
        """Return the same table as a :class:`LakeTable`."""
        return cls(table.name(), table.metadata, table.metadata_location, table.io, table.catalog, table.config)

    def scan(
        self,
        row_filter: str | BooleanExpression = _ALL,
        selected_fields: tuple[str, ...] = ("*",),
        case_sensitive: bool = True,
        snapshot_id: int | None = None,
        options: Properties = EMPTY_DICT,
        limit: int | None = None,
    ) -> DataScan:
        """Scan as PyIceberg does."""
        return _LakeScan(
            table_metadata=self.metadata,
            io=self.io,
            row_filter=row_filter,
            selected_fields=selected_fields,
            case_sensitive=case_sensitive,
            snapshot_id=snapshot_id,
            options=options,
            limit=limit,
            catalog=self.catalog,
            table_identifier=self.name(),
        )

    @property
    def inspect(self) -> InspectTable:
        """Inspect as PyIceberg does."""
        return _LakeInspect(self)

    def named_file_error(self) -> DaybookError | None:
        """Return the problem of the first unreadable file of the table's current state; None if all can be read.

        For data files it checks the length and the footer.
        """
        return _first_unreadable(self.name()[-1], self.io, self.current_snapshot(), data="footers")


class _LakeScan(DataScan):
    def plan_files(self) -> Iterable[FileScanTask]:
        with self._named():
            return list(super().plan_files())

    def to_arrow(self, *args: Any, **kwargs: Any) -> pa.Table:
        with self._named():
            return super().to_arrow(*args, **kwargs)

    def count(self) -> int:
        with self._named():
            return super().count()

    @contextmanager
    def _named(self) -> Iterator[None]:
        table = self.table_identifier[-1] if self.table_identifier else "?"
        try:
            yield
        except DaybookError:
            raise
        except Exception as error:
            named = _first_unreadable(table, self.io, self.snapshot(), self)
            if named is None:
                raise
            raise named from error


class _LakeInspect(InspectTable):
    def partitions(self, snapshot_id: int | None = None, *args: Any, **kwargs: Any) -> pa.Table:
        try:
            return super().partitions(snapshot_id, *args, **kwargs)
        except Exception as error:
            snapshot = self.tbl.snapshot_by_id(snapshot_id) if snapshot_id else self.tbl.current_snapshot()
            named = _first_unreadable(self.tbl.name()[-1], self.tbl.io, snapshot, data="none")
            if named is None:
                raise
            raise named from error


def unreadable(table: str, kind: str, uri: str, error: BaseException) -> DaybookError:
    """Return a one-line error about an unreadable file of the lake, with the next step.

    Args:
        table: of the lake.
        kind: what the file is, such as ``data file``.
        uri: the file.
        error: the error of reading it.
    """
    file = f"{path_of(uri) if is_local(uri) else uri}, a {kind} of the lake's table {table},"
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, FileNotFoundError):
        return DaybookError(
            f"{file} is missing. Nothing was changed. If `lake_maintenance` or `daybook forget-user` is running, "
            "retry when it has finished; otherwise restore a backup into an empty folder (`daybook restore`)"
        )
    if isinstance(error, OSError):
        return DaybookError(
            f"{file} cannot be read ({message}). Nothing was changed. Check the storage and its permissions, then retry"
        )
    return NonRetryableError(
        f"{file} is damaged ({message}). Nothing was changed. Restore a backup into an empty folder (`daybook "
        "restore`); `daybook restore --check` shows whether a backup is complete"
    )


class Damaged(Exception):
    """A file can be read, but its content is not what it should be."""


def _first_unreadable(
    table: str,
    io: FileIO,
    snapshot: Snapshot | None,
    scan: DataScan | None = None,
    *,
    data: Literal["whole", "footers", "none"] = "whole",
) -> DaybookError | None:
    """Return the problem of a snapshot's first unreadable file, among all files or those that a scan needs."""
    from pyiceberg.manifest import read_manifest_list

    if snapshot is None:
        return None
    try:
        manifests = list(read_manifest_list(io.new_input(snapshot.manifest_list)))
    except Exception as error:
        return unreadable(table, "manifest list", snapshot.manifest_list, _as_damage(io, snapshot.manifest_list, error))
    files = {}
    for manifest in manifests:
        try:
            for entry in manifest.fetch_manifest_entry(io, discard_deleted=True):
                files[entry.data_file.file_path] = entry.data_file.file_size_in_bytes
        except Exception as error:
            return unreadable(table, "manifest", manifest.manifest_path, _as_damage(io, manifest.manifest_path, error))
    if data == "none":
        return None
    if scan is not None:
        wanted = {task.file.file_path for task in DataScan.plan_files(scan)}
        files = {path: size for path, size in files.items() if path in wanted}
    for path, size in files.items():
        try:
            _read_parquet(io, path, size, whole=data == "whole")
        except Exception as error:
            return unreadable(table, "data file", path, error)
    return None


def _as_damage(io: FileIO, uri: str, error: Exception) -> Exception:
    """Return the error of reading a file's bytes if that fails; otherwise the parser's message, as damage."""
    try:
        with io.new_input(uri).open() as file:
            file.read()
    except OSError as of_bytes:
        return of_bytes
    except ValueError:  # it was read, and rejected
        pass
    return Damaged(f"{type(error).__name__}: {error}")


def _read_parquet(io: FileIO, path: str, size: int, *, whole: bool) -> None:
    """Read a data file, or only its footer; raises the problem if there is one."""
    import pyarrow.parquet as pq

    source = io.new_input(path)
    found = len(source)
    if found != size:
        raise Damaged(f"it has {found:,} bytes instead of {size:,}")
    with source.open() as file:
        try:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups if whole else 0):
                parquet.read_row_group(group)
        except Exception as error:
            raise Damaged(str(error)) from None


def unreadable_metadata(table: str, uri: str, io: FileIO, error: Exception) -> DaybookError:
    """Return a one-line error about a metadata file that could not be read."""
    return unreadable(table, "metadata file", uri, _as_damage(io, uri, error))
