"""``daybook backup``: copy Daybook's state to another folder while the stack runs.

A backup folder holds::

    lake/                  the lake's files, each under the SHA-256 of its bytes; existing files are not written again
    content/               everything else, in the same way
    backups/TIME/          one for each backup; index.json is written last and lists what belongs to it

No backup can change what an earlier one holds: a file with other bytes has another name. (Older folders have lake files
below ``lake/`` under the lake's own names: they are read, and never written to.) A backup without its index is
incomplete and is ignored. What counts as state:

- The lake. SQLite's own backup copies the catalog first, at one moment; then every file that this copy reaches is
  copied. Writers continue: they add files and never change one.
- What the embedded broker holds beyond the lake: records that were acknowledged and not landed yet.
- The generator's manifests, the reports, the days that were dismissed, the intake's API keys.
- Airflow's database (the history of runs) and its secrets. Every day of the lake survives without it.

``daybook up`` writes logs, sockets, the class archive and configuration again.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter

from daybook.errors import BadInput, DaybookError
from daybook.files import digest_of, private_dir, private_opener, sync_dir, write_private
from daybook.kafka.offsets import committed, topic_state
from daybook.lake.catalog import load
from daybook.lake.files import KINDS, LakeFile, copy_catalog, lake_files_of
from daybook.lake.state import State, check_state
from daybook.lake.tables import RAW_EVENTS
from daybook.lake.uris import is_local, path_of
from daybook.pipeline.losses import loss_since
from daybook.pipeline.position import Position, position
from daybook.settings import Settings, sqlite_uri
from daybook.stack import kafka, postgres

FORMAT = 1
"""Format of the index; raised when an older restore could not read it."""
INDEX = "index.json"
CATALOG, RECORDS, AIRFLOW_DUMP, API_KEYS = "lake/catalog.db", "kafka/records.jsonl.gz", "airflow.dump", "api-keys"
"""Names of what a backup holds besides the files of folders."""
FOLDERS = ("manifests", "reports")
AIRFLOW_SECRETS = ("airflow/secrets.json", "airflow/passwords.json")
SINGLE_FILES = ("dismissed_days.json", *AIRFLOW_SECRETS)
"""Files of the state folder that are included if they exist."""
LAKE_FILES = "lake/warehouse/"
"""Prefix of the paths of the lake's files."""
PARTS = ("backups", "content", "lake")
"""Subfolders of a backup folder."""

_OURS = re.compile(r"[0-9a-f]{64}(\.\w+)?$|unfinished\.part$")
"""Names of the files that a backup creates in its folders."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class BackupFile:
    """A file of a backup."""

    path: str
    """Target path below the state folder; after ``lake/warehouse/``, below the warehouse."""
    stored: str
    """Path of its bytes, below the backup folder."""
    bytes: int
    sha256: str
    mode: int
    """The original file mode; a restored file is accessible to its user only."""
    kind: str = ""
    """The kind of a lake file, as :class:`daybook.lake.files.LakeFile` names it."""

    def problem(self) -> str | None:
        """Return why this cannot be an entry of ``daybook backup``; None if it can.

        Write access to the backup folder must not give control over files outside the state folder.
        """
        known = {CATALOG, RECORDS, AIRFLOW_DUMP, API_KEYS, *SINGLE_FILES}
        is_ours = self.path in known or self.path.startswith(tuple(f"{name}/" for name in FOLDERS))
        if not _is_inside(self.path) or not (self.path.startswith(LAKE_FILES) if self.kind else is_ours):
            return f"{self.path!r} is not a path in a state folder"
        if self.kind and self.kind not in KINDS:
            return f"{self.path!r} has the unknown kind {self.kind!r}"
        if not _is_inside(self.stored) or not self.stored.startswith(("lake/", "content/")):
            return f"{self.stored!r} is not a file in a backup folder"
        if self.mode & ~0o777 or self.bytes < 0:
            return f"{self.path!r} has mode {self.mode:o} and {self.bytes} bytes"
        return None


@dataclass(frozen=True)
class Index:
    """The content of one backup."""

    taken_at: str
    """UTC, ISO 8601: the moment of the catalog's copy."""
    home: str
    warehouse: str
    """URI that the lake's metadata names."""
    topic_id: str | None
    """Id of the embedded broker's topic from which the lake was landed; None if nothing was landed."""
    not_landed: int | None
    """Number of records that Kafka held beyond that; None if Kafka was not read."""
    left_out: list[str]
    """What the backup does not include, in words."""
    versions: dict[str, str]
    files: list[BackupFile]
    state_id: str | None = None
    """Id in the state folder's marker; a restore uses the same id."""
    format: int = FORMAT

    def named(self, path: str) -> BackupFile | None:
        """Return the file that belongs at a path."""
        return next((one for one in self.files if one.path == path), None)


def _is_inside(path: str) -> bool:
    """Return whether a path is below its starting folder, and is written in normal form.

    >>> [_is_inside(path) for path in ("reports/index.html", "../x", "/x", "reports/../../x", "reports//x", "")]
    [True, False, False, False, False, False]
    """
    parts = PurePosixPath(path)
    return str(parts) == path != "." and "\0" not in path and not parts.is_absolute() and ".." not in parts.parts


def read_index(place: Path) -> Index:
    """Return the index of one backup.

    Raises:
        FileNotFoundError: the backup was interrupted.
        DaybookError: the index is from a newer Daybook, cannot be read, or was not written by a backup.
    """
    file = place / INDEX
    try:
        text = file.read_text(encoding="utf-8")
        payload = json.loads(text)
        if payload["format"] != FORMAT:
            raise DaybookError(
                f"{file} has format {payload['format']}, but this Daybook reads format {FORMAT}; restore it with the "
                f"version that created it: {payload.get('versions')}"
            )
        index = TypeAdapter(Index).validate_json(text, strict=True)
        problems = [problem for one in index.files if (problem := one.problem())]
        if index.state_id is not None:
            uuid.UUID(index.state_id)
        datetime.fromisoformat(index.taken_at)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DaybookError(
            f"{file} cannot be read ({' '.join(str(error).split())}). Nothing was changed. Choose another "
            "backup in that folder (--at)"
        ) from None
    repeated = len(index.files) - len({one.path for one in index.files})
    if problems or repeated:
        raise DaybookError(
            f"{file} differs from what `daybook backup` writes: "
            f"{problems[0] if problems else f'{repeated} paths are repeated'}. Nothing was changed. The file was "
            "altered: choose another backup in that folder (--at), or use another copy of the folder"
        )
    return index


def indexes(folder: Path) -> tuple[list[tuple[str, Index]], list[str]]:
    """Return a folder's complete backups, oldest first, by name; and the names of the interrupted ones.

    Raises:
        DaybookError: an index is from a newer Daybook, or cannot be read.
    """
    whole, stopped = [], []
    for place in sorted(path for path in (folder / "backups").glob("*") if path.is_dir()):
        try:
            whole.append((place.name, read_index(place)))
        except FileNotFoundError:
            stopped.append(place.name)
    return whole, stopped


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Refuse to work on a backup folder that another backup or restore is using."""
    try:
        lock = open(folder / ".lock", "w", encoding="utf-8", opener=private_opener)  # noqa: SIM115  # closed below
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES}:
            raise
        yield  # nobody can change a read-only copy either; a backup to it fails at its first file
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"another backup or restore is using {folder}; nothing was changed") from None
        yield


class _Copier:
    """Copies files into a backup folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[BackupFile] = []
        self.new_files = self.new_bytes = 0

    def take(self, source: Path, path: str, kind: str = "") -> None:
        """Copy a file under the digest of its current content; it is read completely even if it was copied before."""
        now = source.stat()
        digest = digest_of(source)
        if not self._has(self._stored(digest, path, kind), now.st_size):
            part = self.folder / "content" / "unfinished.part"
            digest = self._copy(source, part)  # another one, if the file was replaced meanwhile
            part.replace(self.folder / self._stored(digest, path, kind))
        stored = self._stored(digest, path, kind)
        size = (self.folder / stored).stat().st_size
        self.files.append(BackupFile(path, stored, size, digest, now.st_mode & 0o777, kind))

    def _has(self, stored: str, size: int) -> bool:
        target = self.folder / stored
        return target.is_file() and target.stat().st_size == size

    @staticmethod
    def _stored(digest: str, path: str, kind: str) -> str:
        return f"lake/{digest}{PurePosixPath(path).suffix}" if kind else f"content/{digest}"

    def _copy(self, source: Path, part: Path) -> str:
        """Copy a file, sync it to disk, and read it back."""
        part.unlink(missing_ok=True)
        digest = hashlib.sha256()
        with source.open("rb") as reading, open(part, "xb", opener=private_opener) as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                digest.update(chunk)
                writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
        if digest_of(part) != digest.hexdigest():
            raise DaybookError(
                f"{part} does not contain what was written to it; check that disk, then back up to another one"
            )
        self.new_files += 1
        self.new_bytes += part.stat().st_size
        return digest.hexdigest()


def take(loaded: Settings, folder: Path) -> tuple[Index, _Copier]:
    """Back up the state to a folder; a later call copies only what is new.

    Raises:
        BadInput: there is no state, the folder is inside it or in use, or there is no file of API keys. Nothing was
            changed.
        NonRetryableError: the state folder was copied, moved or not completely restored. Nothing was changed.
        DaybookError: a file disappeared or cannot be written. The backup is incomplete; earlier ones are unaffected.
    """
    if not loaded.home.is_dir() or not any(loaded.home.iterdir()):
        raise BadInput(f"there is no state in {loaded.home}; DAYBOOK_HOME sets the state folder")
    if folder == loaded.home or loaded.home in folder.parents:
        raise BadInput(f"{folder} is inside the state folder {loaded.home} and would be lost with it; choose another")
    others = [name for name in PARTS if (folder / name).is_dir() and any((folder / name).iterdir())]
    is_ours = (folder / ".lock").exists() or any(folder.glob(f"backups/*/{INDEX}"))  # a copy can lack the first
    if others and not is_ours:
        raise BadInput(
            f"{folder} has a folder {others[0]} with files that no backup wrote; nothing was changed. Choose another"
        )
    state = check_state(loaded)
    keys = Path(loaded.api_keys_file)
    if loaded.api_keys_file and not keys.is_file():
        where = "" if keys.is_absolute() else f", a relative path, resolved in {Path.cwd()}"
        raise BadInput(
            f"DAYBOOK_API_KEYS_FILE is {keys}{where}: there is no such file. Nothing was backed up; correct the setting"
        )
    try:
        _make_private(folder)
        with alone(folder):
            now = datetime.now(UTC)
            place = private_dir(folder / "backups" / now.strftime("%Y-%m-%dT%H%M%S.%fZ"))
            copier = _Copier(folder)
            index = _take_all(loaded, copier, now, state)
            for name in PARTS:
                sync_dir(folder / name)
            write_private(place / INDEX, json.dumps(asdict(index), indent=1))
    except (OSError, sqlite3.Error) as error:
        raise DaybookError(
            f"the backup stopped: {error}. It is incomplete, and earlier backups are unaffected; repeat it"
        ) from None
    return index, copier


def _make_private(folder: Path) -> None:
    """Create the backup folder for its user only; if it holds other things too, restrict only its subfolders."""
    if not folder.is_dir() or {path.name for path in folder.iterdir()} <= {*PARTS, ".lock"}:
        private_dir(folder)
    for name in PARTS:
        private_dir(folder / name)


def _take_all(loaded: Settings, copier: _Copier, now: datetime, state: State | None) -> Index:
    left_out: list[str] = []
    with tempfile.TemporaryDirectory(prefix="daybook-backup-") as scratch:
        temporary = Path(scratch)
        then = _take_lake(loaded, copier, temporary, left_out)
        # before Kafka is read: an id in a manifest was acknowledged earlier, so reading Kafka finds it
        for name in FOLDERS:
            for path in sorted((loaded.home / name).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    copier.take(path, str(path.relative_to(loaded.home)))
        for name in SINGLE_FILES:
            if (loaded.home / name).exists():
                copier.take(loaded.home / name, name)
        if loaded.api_keys_file:
            copier.take(Path(loaded.api_keys_file), API_KEYS)
        _take_airflow(loaded, copier, temporary, left_out)
        if loaded.kafka_bootstrap_servers:
            left_out.append(
                f"records that are not landed yet: they are in Kafka at {loaded.bootstrap_servers}, whose replication "
                "and retention protect them; after a restore the next run lands them from there"
            )
            start, not_landed = None, None
        else:
            start = position(then, load(then, RAW_EVENTS))
            not_landed = _take_records(loaded, start, copier, temporary, left_out)
    return Index(
        taken_at=now.isoformat(),
        home=str(loaded.home),
        warehouse=loaded.warehouse,
        topic_id=start.topic_id if start else None,
        not_landed=not_landed,
        left_out=left_out,
        versions=_versions(),
        state_id=state.id if state else None,
        files=copier.files,
    )


def _take_lake(loaded: Settings, copier: _Copier, temporary: Path, left_out: list[str]) -> Settings:
    """Copy the lake; returns settings that point to the copied catalog."""
    live = loaded.catalog_file
    if live is None:
        backup_first = (
            f"is {loaded.catalog_uri}. Back that catalog up first"
            if loaded.has_rest_catalog
            else "is in PostgreSQL. Dump that database first (pg_dump)"
        )
        left_out.append(
            f"the lake: its catalog {backup_first}, then copy the warehouse {loaded.warehouse}. Files are written "
            "once, so a copy made later has every file that the catalog refers to"
        )
        return loaded
    if not is_local(loaded.warehouse):
        left_out.append(
            f"the lake's files: they are in {loaded.warehouse}. Turn on the bucket's versioning or replication: the "
            "catalog is in this backup, and the files that it refers to must remain there"
        )
    load(loaded, RAW_EVENTS)  # raises if this is not the state's own lake, or its catalog is damaged
    if not live.exists():
        left_out.append("the lake: nothing was landed yet")
        return loaded
    copy = temporary / "catalog.db"
    copy_catalog(live, copy)
    then = loaded.model_copy(update={"lake_catalog_uri": sqlite_uri(copy)})
    if is_local(loaded.warehouse):
        root = path_of(loaded.warehouse)
        try:
            for file in lake_files_of(copy):
                _take_lake_file(file, root, copier)
        except FileNotFoundError as error:
            raise DaybookError(
                f"{error.filename or error} disappeared before it was copied: lake_maintenance or `daybook "
                "forget-user` is deleting files. This backup is incomplete, and earlier ones are unaffected; repeat it "
                "when the deletion has finished. If neither is running, the file is lost: restore an earlier backup "
                "into an empty folder (`daybook restore`)"
            ) from None
    copier.take(copy, CATALOG)
    return then


def _take_lake_file(file: LakeFile, root: Path, copier: _Copier) -> None:
    source = path_of(file.uri)
    if root not in source.parents:
        raise DaybookError(f"{source} belongs to the lake but is not in {root}; this backup is incomplete")
    found = source.stat().st_size
    if file.bytes not in (None, found):
        raise DaybookError(
            f"{source} is damaged: it has {found:,} bytes, but {file.bytes:,} were written. This backup is "
            "incomplete, and earlier ones are unaffected: `daybook restore --from DIR` restores one into an empty "
            "state folder"
        )
    copier.take(source, f"{LAKE_FILES}{source.relative_to(root)}", file.kind)


def _take_airflow(loaded: Settings, copier: _Copier, temporary: Path, left_out: list[str]) -> None:
    if not postgres.data_dir(loaded).exists():
        left_out.append(
            "Airflow's database: it is not in the state folder. Run `pg_dump airflow` on its server to save the "
            "history of runs; no day in the lake depends on it"
        )
        return
    dumped = temporary / AIRFLOW_DUMP
    with postgres.serving(loaded):
        postgres.dump(loaded, dumped)
    dumped.chmod(0o600)
    copier.take(dumped, AIRFLOW_DUMP)


def _take_records(
    loaded: Settings, start: Position, copier: _Copier, temporary: Path, left_out: list[str]
) -> int | None:
    """Copy what the embedded broker holds after a position; returns the number of records, None if it was not read."""
    if kafka.port_is_free(loaded.kafka_port):
        left_out.append(
            "records that are not landed yet: Kafka is not running. Start it (`daybook up`), then back up again"
        )
        return None
    try:
        topic = topic_state(loaded)
        lost = loss_since(loaded, start, topic)
        begin = lost.resume_from if lost else start.offsets
        file, count = temporary / "records.jsonl.gz", 0
        with gzip.open(file, "wt", encoding="utf-8", compresslevel=6) as writing:
            for at, end in sorted(topic.end.items()):
                first = max(begin.get(at, 0), topic.first[at])
                for message in committed(loaded, at, first, end) if first < end else ():
                    writing.write(json.dumps(_record(message)) + "\n")
                    count += 1
        if topic.hidden:
            left_out.append(
                f"up to {sum(topic.hidden.values())} records that are not landed yet: an open transaction hides them. "
                "Back up again when it has ended"
            )
    except DaybookError as error:
        left_out.append(
            f"records that are not landed yet: {str(error).partition(';')[0]}. Back up again when the broker is up"
        )
        return None
    copier.take(file, RECORDS)
    return count


def _record(message: Any) -> dict[str, Any]:
    def text(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode()

    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": text(message.key()),
        "value": text(message.value()),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("daybook", "apache-airflow-core", "pyspark", "pyiceberg")}


def prune(folder: Path, keep: int, home: str) -> tuple[int, int, list[str]]:
    """Remove old and interrupted backups of a state folder, and files that no remaining backup uses.

    Args:
        folder: the backup folder.
        keep: how many backups are retained.
        home: the state folder; backups of other state folders in the same backup folder are retained.

    Returns:
        Numbers of removed backups and files; the other state folders that have backups here.

    Raises:
        DaybookError: an index cannot be read, so the content of its backup is unknown. Nothing was removed.
    """
    with alone(folder):
        whole, stopped = indexes(folder)
        gone = [*stopped, *[name for name, index in whole if index.home == home][:-keep]]
        for name in gone:
            shutil.rmtree(folder / "backups" / name)
        stay = [index for name, index in whole if name not in gone]
        held = {folder / one.stored for index in stay for one in index.files}
        # files of removed backups, and leftovers of interrupted ones; a file that no backup wrote is not touched
        files = {folder / one.stored for name, index in whole if name in gone for one in index.files}
        files |= {path for part in ("lake", "content") for path in (folder / part).iterdir() if _OURS.match(path.name)}
        unused = [path for path in files - held if path.is_file()]
        for path in unused:
            path.unlink()
    return len(gone), len(unused), sorted({index.home for index in stay} - {home})
