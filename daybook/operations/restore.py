"""``daybook restore``: restore a backup into an empty state folder, and its records into Kafka.

The backup is read completely before anything is written. The lake's catalog is written last: until then there is no
lake, and the next restore starts an interrupted one again. Each file is noted before it is written. So the next restore
removes what the interrupted one wrote, and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from daybook.errors import BadInput, DaybookError
from daybook.files import digest_of, private_dir, private_opener, state_dir, whole_file, write_private
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.offsets import committed, topic_state
from daybook.lake.files import lake_files_of, move
from daybook.lake.state import FORMAT, State, refuse_path, unfinished_file, who
from daybook.lake.uris import is_local, path_of
from daybook.operations.backup import (
    AIRFLOW_DUMP,
    API_KEYS,
    CATALOG,
    FOLDERS,
    INDEX,
    LAKE_FILES,
    SINGLE_FILES,
    BackupFile,
    Index,
    read_index,
)
from daybook.settings import Settings
from daybook.stack import postgres, supervisor

_WORK = ".restoring-"
"""Name prefix of the folder in which a restore prepares files."""
_IN_HOME = (*(f"{name}/" for name in FOLDERS), *SINGLE_FILES)
"""Path prefixes of files that are restored unchanged."""
_FLUSH_SECONDS = 30


def chosen(folder: Path, name: str | None) -> tuple[Index, list[str]]:
    """Return a folder's backup by name, or the newest complete one; and the names of later, interrupted ones.

    Raises:
        BadInput: there is no such backup, or it was interrupted.
        DaybookError: its index cannot be read.
    """
    names = sorted(path.name for path in (folder / "backups").glob("*") if path.is_dir())
    stopped = [one for one in names if not (folder / "backups" / one / INDEX).exists()]
    found = [one for one in names if one not in stopped]
    if name in stopped:
        raise BadInput(f"the backup {name} in {folder} was interrupted and is incomplete; nothing was changed")
    if name is not None and name not in found:
        raise BadInput(f"there is no backup {name} in {folder}; complete backups: {', '.join(found) or 'none'}")
    if not found:
        what = f"the backup {stopped[-1]} was interrupted and is incomplete" if stopped else "there is no backup"
        raise BadInput(f"{what} in {folder}; nothing was changed")
    newest = name or found[-1]
    return read_index(folder / "backups" / newest), [one for one in stopped if one > newest]


def check(folder: Path, index: Index) -> None:
    """Compare every file of a backup with the index; then follow its catalog to every file of its lake.

    Raises:
        DaybookError: files are missing or have other bytes; the message names the first three.
    """
    wrong = []
    for one in index.files:
        path = folder / one.stored
        if not path.exists():
            wrong.append(f"{one.stored} is missing")
        elif path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"{one.stored} is not a file in this folder")
        elif path.stat().st_size != one.bytes or digest_of(path) != one.sha256:
            wrong.append(f"{one.stored} does not contain what was written to it")
    wrong = wrong or _unreached(folder, index)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DaybookError(
            f"the backup of {index.taken_at[:19]} is damaged: {'; '.join(wrong[:3])}{more}. Nothing was changed. "
            "Choose an earlier one (--at), or use another copy of this folder"
        )


def _unreached(folder: Path, index: Index) -> list[str]:
    """List what the backup's own catalog reaches but the backup lacks, or has with another length."""
    catalog = index.named(CATALOG)
    if catalog is None or not is_local(index.warehouse):
        return []
    held = {one.path: one for one in index.files}
    root = path_of(index.warehouse)
    wrong: list[str] = []

    def of(uri: str) -> BackupFile | None:
        path = path_of(uri)
        return held.get(f"{LAKE_FILES}{path.relative_to(root)}") if root in path.parents else None

    def located(uri: str) -> Path:
        if (one := of(uri)) is None:
            raise DaybookError(f"its catalog refers to {uri}, which is not in the backup")
        return folder / one.stored

    try:
        for reached in lake_files_of(folder / catalog.stored, located):
            one = of(reached.uri)
            if one is None:
                wrong.append(f"its catalog refers to {reached.uri}, which is not in the backup")
            elif reached.bytes not in (None, one.bytes) or reached.kind != one.kind:
                wrong.append(f"{one.path} is not the file that its catalog refers to")
    except (DaybookError, sqlite3.Error) as error:
        wrong.append(str(error))
    return wrong


def _places(loaded: Settings) -> list[Path]:
    """Return the places that make up a state."""
    places = [loaded.home / name for name in (*FOLDERS, "dismissed_days.json", "airflow", "postgres", "kafka")]
    if loaded.catalog_file is not None:
        places.append(loaded.catalog_file)
    if is_local(loaded.warehouse):
        places.append(path_of(loaded.warehouse))
    return places


def _files(place: Path, *, is_link_followed: bool = True) -> Iterator[Path]:
    """Yield the files below a folder, or the file itself; the folder may be a link, links in it count as files."""
    if place.is_dir() and (is_link_followed or not place.is_symlink()):
        for path in place.iterdir():
            yield from _files(path, is_link_followed=False)
    elif os.path.lexists(place):
        yield place


class _Written:
    """The files that a restore has written, each noted in the state folder beforehand: a later one may remove them."""

    def __init__(self, home: Path) -> None:
        self._file = home / "restore-written"
        self._digests: dict[str, str] = {}

    def read(self) -> None:
        """Take over the notes of an interrupted restore."""
        with contextlib.suppress(FileNotFoundError):
            for line in self._file.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # the last line can be truncated
                    self._digests.update([json.loads(line)])

    def note(self, target: Path, content: Path) -> None:
        """Note that a path will hold a file's current content."""
        with open(self._file, "a", encoding="utf-8", opener=private_opener) as file:
            file.write(json.dumps([str(target), digest_of(content)]) + "\n")

    def __contains__(self, path: Path) -> bool:
        """Return whether the restore wrote the file, even partly, and nobody has changed it since."""
        if path.is_symlink():
            return False
        half_of = path.with_name(path.name[1:].rpartition(".")[0]) if path.name.startswith(".") else path
        noted = self._digests.get(str(path))
        return digest_of(path) == noted if noted else str(half_of) in self._digests

    def forget(self) -> None:
        """Remove the notes."""
        self._file.unlink(missing_ok=True)


def _refuse_state(loaded: Settings, mark: Path) -> None:
    """Refuse to overwrite existing files; remove those that an interrupted restore wrote.

    Raises:
        BadInput: there is a state, or a part of one that no restore wrote. Nothing was changed.
    """
    written = _Written(loaded.home)
    if mark.exists():
        written.read()
    database = postgres.data_dir(loaded)
    control = database / "global" / "pg_control"  # changes with every start of the database
    is_database_ours = control.is_file() and control in written
    others: list[Path] = []
    ours: list[Path] = []
    for place in _places(loaded):
        if place == database and is_database_ours:
            continue
        for file in _files(place):
            (ours if file in written else others).append(file)
    if others:
        shown = ", ".join(map(str, others[:3])) + (f" and {len(others) - 3} more files" if len(others) > 3 else "")
        raise BadInput(
            f"a state exists already: {shown}. Nothing was changed. Move it elsewhere, or set DAYBOOK_HOME to another "
            "folder"
        )
    for file in ours:
        file.unlink()
    if is_database_ours:
        shutil.rmtree(database)
    for work in loaded.home.glob(f"{_WORK}*"):
        supervisor.end_processes(loaded.model_copy(update={"home": work}))  # its database server outlives a kill
        shutil.rmtree(work)
    written.forget()


def put_back(loaded: Settings, folder: Path, index: Index) -> None:
    """Write a checked backup into the state folder.

    Raises:
        BadInput: there is a state, the stack is up, the folder's path cannot be used, or this lake is stored elsewhere.
            Nothing was changed.
        DaybookError: the lake's paths cannot be rewritten, or the database does not start.
    """
    refuse_path(loaded)
    if supervisor.states(loaded) is not None:
        raise BadInput(
            f"the stack of {loaded.home} is running. Nothing was changed. Run `daybook down`, then repeat the restore"
        )
    if index.named(CATALOG) and loaded.catalog_file is None:
        raise BadInput(
            f"the backup has a SQLite catalog, but DAYBOOK_LAKE_CATALOG_URI is {loaded.catalog_uri}; nothing was "
            "changed. Restore with the catalog in the state folder"
        )
    if any(one.kind for one in index.files) and not is_local(loaded.warehouse):
        raise BadInput(
            f"the backup's lake consists of local files, but DAYBOOK_LAKE_WAREHOUSE is {loaded.warehouse}; nothing was "
            "changed. Restore with the warehouse in the state folder"
        )
    targets = {one.path: _target(loaded, one) for one in index.files if one.kind or one.path.startswith(_IN_HOME)}
    mark = unfinished_file(loaded.home)
    _refuse_state(loaded, mark)
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=state_dir(loaded)))
    try:
        sources = _sources(loaded, folder, index, work)
        write_private(mark, f"{folder}\n")
        _write_all(loaded, index, sources, targets, work)
    except OSError as error:
        raise DaybookError(
            f"the restore stopped: {error}. There is no lake yet; repeat it: daybook restore --from {folder}"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    state_of(loaded, index).write(loaded.home)
    mark.unlink()
    _Written(loaded.home).forget()


def state_of(loaded: Settings, index: Index) -> State:
    """Return the marker of a restored state: the same id, with its current folder."""
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    return State(
        id=index.state_id or str(uuid.uuid4()),
        format=FORMAT,
        home=str(loaded.home.resolve()),
        made_at=made_at,
        made_by=who(),
        made_with=version("daybook"),
    )


def _target(loaded: Settings, one: BackupFile) -> Path:
    """Return where a file belongs.

    Raises:
        BadInput: a link leads out of the folder that the file belongs in.
    """
    root = path_of(loaded.warehouse) if one.kind else loaded.home
    target = root / (one.path.removeprefix(LAKE_FILES) if one.kind else one.path)
    if target.is_symlink() or not target.parent.resolve().is_relative_to(root.resolve()):
        raise BadInput(f"{target.parent} resolves to {target.resolve()}, outside {root}. Nothing was changed")
    return target


def _sources(loaded: Settings, folder: Path, index: Index, work: Path) -> dict[str, Path]:
    """Map each path to the file with its content: in the backup, or a copy rewritten for the lake's new place."""
    sources = {one.path: folder / one.stored for one in index.files}
    catalog = index.named(CATALOG)
    if catalog and path_of(index.warehouse) != path_of(loaded.warehouse):
        copies = {one.path: work / one.path for one in index.files if one.kind not in {"", "data"} or one is catalog}
        for path, copy in copies.items():
            private_dir(copy.parent)
            shutil.copyfile(sources[path], copy)
        kinds = {copies[one.path]: one.kind for one in index.files if one.path in copies and one.kind}
        move(copies[CATALOG], work / LAKE_FILES, kinds, index.warehouse, loaded.warehouse)
        sources |= copies
    return sources


def _write_all(loaded: Settings, index: Index, sources: dict[str, Path], targets: dict[str, Path], work: Path) -> None:
    written = _Written(loaded.home)
    for path, target in targets.items():
        _put(sources[path], target, written)
    if index.named(API_KEYS) and loaded.api_keys_file and not Path(loaded.api_keys_file).exists():
        _put(sources[API_KEYS], Path(loaded.api_keys_file), written)
    if index.named(AIRFLOW_DUMP):
        _put_database(loaded, sources[AIRFLOW_DUMP], work, written)
    if index.named(CATALOG) and loaded.catalog_file is not None:  # another catalog was refused before
        _put(sources[CATALOG], loaded.catalog_file, written)


def _put(source: Path, target: Path, written: _Written) -> None:
    if not target.parent.is_dir():
        private_dir(target.parent)
    written.note(target, source)
    with whole_file(target) as partial:
        shutil.copyfile(source, partial)


def _put_database(loaded: Settings, dumped: Path, work: Path, written: _Written) -> None:
    """Create Airflow's database in another folder, and move it into place when it is complete."""
    temporary = loaded.model_copy(update={"home": work})
    try:
        with postgres.serving(temporary):
            postgres.load_dump(temporary, dumped)
    finally:
        supervisor.remove_sockets(temporary)
    made, target = postgres.data_dir(temporary), postgres.data_dir(loaded)
    written.note(target / "global" / "pg_control", made / "global" / "pg_control")
    if target.is_dir():  # an empty one
        target.rmdir()
    made.rename(target)


def records_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the records that a backup took from Kafka: partition, offset, key and value in bytes."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            values = {
                name: base64.b64decode(record[name]) if record[name] is not None else None for name in ("key", "value")
            }
            yield {**record, **values}


def send_again(loaded: Settings, file: Path) -> tuple[int, int]:
    """Send the records of a backup to Kafka, except those that Kafka still holds at the same offset.

    Sending one twice does no harm: it lands as a duplicate of its event id. The records get the broker's current time
    as their time in Kafka. Kafka's retention starts then, and an event's time may exceed it by at most the tolerance.

    Returns:
        The number of records that were sent, and of those that Kafka still held.

    Raises:
        DaybookError: the broker does not acknowledge them; those that it acknowledged remain.
    """
    from confluent_kafka import Producer

    records = list(records_of(file))
    topic = topic_state(loaded)
    still: set[tuple[int, int]] = set()
    by_partition: dict[int, dict[int, bytes | None]] = {}
    for one in records:
        by_partition.setdefault(one["partition"], {})[one["offset"]] = one["value"]
    for at, values in by_partition.items():
        first, end = max(min(values), topic.first.get(at, 0)), min(max(values) + 1, topic.end.get(at, 0))
        for message in committed(loaded, at, first, end) if first < end else ():
            offset = message.offset()
            if offset in values and values[offset] == message.value():
                still.add((at, offset))
    failed: list[str] = []
    # idempotent and acknowledged by all replicas, with the same partition for a key: as the intake sends
    producer = Producer(
        {
            **librdkafka_conf(loaded),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )
    sent = 0
    for one in records:
        if (one["partition"], one["offset"]) in still:
            continue
        while True:
            try:
                producer.produce(
                    loaded.kafka_topic,
                    one["value"],
                    one["key"],
                    on_delivery=lambda error, _message: failed.append(error.str()) if error else None,
                )
                break
            except BufferError:  # the queue is full: wait for some acknowledgements
                producer.poll(1)
        sent += 1
    left = producer.flush(_FLUSH_SECONDS)
    if left or failed:
        raise DaybookError(
            f"Kafka at {loaded.bootstrap_servers} did not acknowledge {left + len(failed)} of {sent} records"
            f"{': ' + failed[0] if failed else ''}. Repeat the command: a record sent twice lands as a duplicate"
        )
    return sent, len(still)


def what_comes_next(loaded: Settings, folder: Path, index: Index) -> list[str]:
    """List what remains to be done after a restore, and what is different from before, in words."""
    lines = [f"Not in the backup: {one}" for one in index.left_out]
    if (keys := index.named(API_KEYS)) and not loaded.api_keys_file:
        lines.append(f"The intake's API keys are in {folder / keys.stored}: copy them, and set DAYBOOK_API_KEYS_FILE")
    age = datetime.now(UTC) - datetime.fromisoformat(index.taken_at)
    lines.append(
        f"The backup is {age.days} days {age.seconds // 3600} hours old. It has no records that were landed or "
        "acknowledged since, and no `daybook forget-user` since: repeat each of those"
    )
    steps = ["daybook up"]
    if not loaded.kafka_bootstrap_servers:
        if index.not_landed:
            steps.append(f"daybook restore --from {folder} --send-records   ({index.not_landed:,} not landed yet)")
        if index.topic_id:
            steps.append('daybook accept-loss --note "restored"   (the embedded broker starts empty)')
    steps += ["the next run, or a run for each missing day", "daybook verify --day D"]
    return [*lines, "Next:", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]
