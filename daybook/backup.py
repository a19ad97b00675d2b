"""``daybook backup``: what Daybook knows, copied to another folder while the stack runs.

A backup folder holds::

    lake/                  the lake's files, as under the warehouse; written once, so a later backup takes only new ones
    content/               everything else, by its SHA-256
    backups/TIME/          one for each backup; index.json is written last and says what belongs to it

A backup without its index was stopped and is none. What is state and what is not:

- The lake. The catalog is copied first, by SQLite's own means, at one moment; then every file that this copy reaches.
  Writers go on: they add files and change none.
- What the embedded broker holds beyond the lake: records that were acknowledged and not landed yet.
- The generator's manifests, the reports, the intake's API keys.
- Airflow's database (the history of runs) and its secrets. Without it every day of the lake is there all the same.

Logs, sockets, the class archive and configuration are written anew by ``daybook up``.
"""

from __future__ import annotations

import base64
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from daybook.errors import BadInput, DaybookError
from daybook.lake_files import copy_catalog, is_local, path_of, reached_files
from daybook.position import Position
from daybook.settings import Settings, settings

FORMAT = 1
"""Of the index; raised when a restore of before could not read it."""
INDEX = "index.json"
CATALOG, RECORDS, AIRFLOW_DUMP, API_KEYS = "lake/catalog.db", "kafka/records.jsonl.gz", "airflow.dump", "api-keys"
"""Names of what a backup holds besides the files of folders."""
FOLDERS = ("manifests", "reports")
AIRFLOW_SECRETS = ("airflow/secrets.json", "airflow/passwords.json")

_SQLITE = "jdbc:sqlite:"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Held:
    """A file of a backup."""

    path: str
    """Where it belongs, below the state folder; what follows ``lake/warehouse/`` below the warehouse."""
    stored: str
    """Where its bytes are, below the backup folder."""
    bytes: int
    sha256: str
    mode: int
    kind: str = ""
    """Of a file of the lake: its kind, as :class:`daybook.lake_files.Reached` names it."""


@dataclass(frozen=True)
class Index:
    """What one backup is."""

    taken_at: str
    """UTC, ISO 8601: the moment of the catalog's copy."""
    home: str
    warehouse: str
    """URI that the lake's metadata names."""
    topic_id: str | None
    """Of the embedded broker's topic that the lake was landed from; none if nothing was."""
    not_landed: int | None
    """Records that Kafka held beyond that; none if it was not read."""
    left_out: list[str]
    """What is not in it, in words."""
    versions: dict[str, str]
    files: list[Held] = field(default_factory=list)
    format: int = FORMAT

    def named(self, path: str) -> Held | None:
        """The file that belongs at a path."""
        return next((one for one in self.files if one.path == path), None)


def indexes(folder: Path) -> tuple[list[tuple[str, Index]], list[str]]:
    """The whole backups of a folder, oldest first, by name; and the names of those that were stopped.

    Raises:
        DaybookError: an index is of a newer Daybook, or cannot be read.
    """
    whole, stopped = [], []
    for place in sorted(path for path in (folder / "backups").glob("*") if path.is_dir()):
        try:
            told = json.loads((place / INDEX).read_text(encoding="utf-8"))
            if told["format"] != FORMAT:
                raise DaybookError(
                    f"{place / INDEX} has format {told['format']}, this Daybook reads {FORMAT}; restore it with the "
                    f"version that took it: {told.get('versions')}"
                )
            whole.append((place.name, Index(**{**told, "files": [Held(**one) for one in told["files"]]})))
        except FileNotFoundError:
            stopped.append(place.name)
        except (ValueError, KeyError, TypeError) as error:
            raise DaybookError(f"{place / INDEX} cannot be read ({error}); take another of {folder}: --at") from None
    return whole, stopped


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Refuse to work on a backup folder that another backup or restore is working on."""
    with (folder / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"another backup or restore is at work on {folder}; nothing was changed") from None
        yield


class _Copier:
    """Puts files into a backup folder."""

    def __init__(self, folder: Path, known: Iterable[Held]) -> None:
        self.folder = folder
        self.files: list[Held] = []
        self.new_files = self.new_bytes = 0
        self._known = {one.stored: one for one in known}

    def once_written(self, source: Path, path: str, stored: str, kind: str) -> None:
        """Take a file that is never changed: not again if an earlier backup has it, by name and size."""
        size = source.stat().st_size
        known = self._known.get(stored)
        target = self.folder / stored
        if known is not None and known.bytes == size and target.exists() and target.stat().st_size == size:
            self.files.append(Held(path, stored, size, known.sha256, known.mode, kind))
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        digest = self._copy(source, part)
        part.replace(target)
        self.files.append(Held(path, stored, target.stat().st_size, digest, source.stat().st_mode & 0o777, kind))

    def by_content(self, source: Path, path: str) -> None:
        """Take a file that may change: under the digest of what it holds now."""
        mode = source.stat().st_mode & 0o777
        (self.folder / "content").mkdir(exist_ok=True)
        part = self.folder / "content" / f"{os.getpid()}.part"
        digest = self._copy(source, part)
        target = self.folder / "content" / digest
        part.replace(target)
        self.files.append(Held(path, f"content/{digest}", target.stat().st_size, digest, mode))

    def _copy(self, source: Path, part: Path) -> str:
        """Copy, have the disk keep it, and read it back."""
        digest = hashlib.sha256()
        with source.open("rb") as reading, part.open("wb") as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                digest.update(chunk)
                writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
        if digest_of(part) != digest.hexdigest():
            raise DaybookError(
                f"{part} does not hold what was written to it; see to that disk, then back up to another"
            )
        self.new_files += 1
        self.new_bytes += part.stat().st_size
        return digest.hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def take(loaded: Settings, folder: Path) -> tuple[Index, _Copier]:
    """Back up the state to a folder; a later call takes what is new.

    Raises:
        BadInput: there is no state, or the folder lies in it.
        DaybookError: a file went away or cannot be written. The backup is none; those before stand.
    """
    if not loaded.home.is_dir() or not any(loaded.home.iterdir()):
        raise BadInput(f"there is no state in {loaded.home}; DAYBOOK_HOME names the state folder")
    if folder == loaded.home or loaded.home in folder.parents:
        raise BadInput(f"{folder} lies in the state folder {loaded.home} and would be lost with it; name another")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(folder):
        whole, _ = indexes(folder)
        now = datetime.now(UTC)
        place = folder / "backups" / now.strftime("%Y-%m-%dT%H%M%S.%fZ")
        place.mkdir(parents=True)
        copier = _Copier(folder, (one for _, index in whole for one in index.files))
        try:
            index = _take_all(loaded, copier, now)
        except FileNotFoundError as error:
            raise DaybookError(
                f"{error.filename or error} went away while it was to be copied: lake_maintenance or `daybook "
                "forget-user` is deleting files. This backup is none, those before stand; repeat it when that is done"
            ) from None
        except (OSError, sqlite3.Error) as error:
            raise DaybookError(f"the backup stopped: {error}. It is none, those before stand; repeat it") from None
        _write_last(place / INDEX, json.dumps(asdict(index), indent=1))
    return index, copier


def _write_last(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _take_all(loaded: Settings, copier: _Copier, now: datetime) -> Index:
    from daybook.lake import load
    from daybook.lake_names import RAW_EVENTS
    from daybook.position import position

    left_out: list[str] = []
    with tempfile.TemporaryDirectory(prefix="daybook-backup-") as scratch:
        temporary = Path(scratch)
        then = _take_lake(loaded, copier, temporary, left_out)
        # before Kafka is read: an id that a manifest knows was acknowledged before, and is found there
        for name in FOLDERS:
            for path in sorted((loaded.home / name).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    copier.by_content(path, str(path.relative_to(loaded.home)))
        if loaded.api_keys_file:
            copier.by_content(Path(loaded.api_keys_file), API_KEYS)
        _take_airflow(loaded, copier, temporary, left_out)
        if loaded.kafka_bootstrap_servers:
            left_out.append(
                f"records that are not landed yet: they are in Kafka at {loaded.bootstrap_servers}, whose replication "
                "and retention keep them; after a restore the next run lands them from there"
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
        files=copier.files,
    )


def _take_lake(loaded: Settings, copier: _Copier, temporary: Path, left_out: list[str]) -> Settings:
    """Copy the lake; the settings that find its catalog as it was copied."""
    if not loaded.catalog_uri.startswith(_SQLITE):
        kept = (
            f"is {loaded.catalog_uri}. Back that catalog up first"
            if loaded.has_rest_catalog
            else "is in PostgreSQL. Dump that database first (pg_dump)"
        )
        left_out.append(
            f"the lake: its catalog {kept}, then copy the warehouse "
            f"{loaded.warehouse}: files are written once, so every file that the catalog names is in a later copy"
        )
        return loaded
    if not is_local(loaded.warehouse):
        left_out.append(
            f"the lake's files: they are in {loaded.warehouse}. Turn on the bucket's versioning or replication; the "
            "catalog is in this backup, and what it names must be kept there"
        )
    live = Path(loaded.catalog_uri.removeprefix(_SQLITE))
    if not live.exists():
        left_out.append("the lake: nothing was landed yet")
        return loaded
    copy = temporary / "catalog.db"
    copy_catalog(live, copy)
    then = loaded.model_copy(update={"lake_catalog_uri": f"{_SQLITE}{copy}"})
    if is_local(loaded.warehouse):
        root = path_of(loaded.warehouse)
        for file in reached_files(copy):
            source = path_of(file.uri)
            if root not in source.parents:
                raise DaybookError(f"{source} belongs to the lake and is not in {root}; the backup is none")
            inside = source.relative_to(root)
            copier.once_written(source, f"lake/warehouse/{inside}", f"lake/{inside}", file.kind)
    copier.by_content(copy, CATALOG)
    return then


def _take_airflow(loaded: Settings, copier: _Copier, temporary: Path, left_out: list[str]) -> None:
    from daybook.stack import postgres

    for name in AIRFLOW_SECRETS:
        if (loaded.home / name).exists():
            copier.by_content(loaded.home / name, name)
    if not postgres.data_dir(loaded).exists():
        left_out.append(
            "Airflow's database: it is not in the state folder. `pg_dump airflow` there keeps the history of runs; no "
            "day of the lake needs it"
        )
        return
    dumped = temporary / AIRFLOW_DUMP
    with postgres.serving(loaded):
        postgres.dump(loaded, dumped)
    dumped.chmod(0o600)
    copier.by_content(dumped, AIRFLOW_DUMP)


def _take_records(
    loaded: Settings, start: Position, copier: _Copier, temporary: Path, left_out: list[str]
) -> int | None:
    """Copy what the embedded broker holds behind a position; how many records, or none if it was not read."""
    from daybook.kafka_offsets import committed, topic_state
    from daybook.losses import loss_since
    from daybook.stack import kafka

    if kafka.port_is_free(loaded.kafka_port):
        left_out.append("records that are not landed yet: Kafka is not up. Back up again when it is (`daybook up`)")
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
    except DaybookError as error:
        left_out.append(
            f"records that are not landed yet: {str(error).partition(';')[0]}. Back up again when the broker is up"
        )
        return None
    copier.by_content(file, RECORDS)
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


def prune(folder: Path, keep: int) -> tuple[int, int]:
    """Remove all but the newest whole backups, what was stopped, and every file that none of the kept ones holds.

    Returns:
        Backups and files that were removed.
    """
    with alone(folder):
        whole, stopped = indexes(folder)
        gone = [*stopped, *(name for name, _ in whole[:-keep])]
        for name in gone:
            shutil.rmtree(folder / "backups" / name)
        kept = {folder / one.stored for _, index in whole[-keep:] for one in index.files}
        files = [path for part in ("lake", "content") for path in (folder / part).rglob("*") if path.is_file()]
        unused = [path for path in files if path not in kept]
        for path in unused:
            path.unlink()
    return len(gone), len(unused)


@click.command(short_help="Copy lake, manifests, reports and run history to another folder.")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="Folder, best on another disk.")
@click.option(
    "--keep", type=click.IntRange(min=1), help="Keep so many backups of the folder; remove what only older had."
)
def backup(folder: Path, keep: int | None) -> None:
    """Back up the state, also while the stack runs and days are being built; a second backup takes only what is new.

    It holds the secrets of Airflow and what players did: keep it as safe as the state itself.
    """
    index, copier = take(settings(), folder.expanduser().resolve())
    total = sum(one.bytes for one in index.files)
    click.echo(
        f"Backed up {len(index.files):,} files, {total / 1e6:,.1f} MB, as of {index.taken_at[:19]} UTC; "
        f"{copier.new_files:,} files, {copier.new_bytes / 1e6:,.1f} MB, were new. Each was read back."
    )
    if index.not_landed is not None:
        click.echo(f"{index.not_landed:,} records that are not landed yet are in it")
    for one in index.left_out:
        click.echo(f"Not in it: {one}")
    if keep is not None:
        gone, files = prune(folder.expanduser().resolve(), keep)
        click.echo(f"{gone} older or stopped backups and {files:,} files that only they had were removed")
