"""``daybook restore``: a backup back into an empty state folder, and its records back into Kafka.

The backup is read whole before anything is written. The lake's catalog is written last: until then there is no lake,
and a restore that was stopped is begun again by the next.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from daybook.backup import (
    AIRFLOW_DUMP,
    API_KEYS,
    CATALOG,
    FOLDERS,
    RECORDS,
    Held,
    Index,
    alone,
    digest_of,
    indexes,
)
from daybook.errors import BadInput, DaybookError
from daybook.kafka_conf import librdkafka_conf
from daybook.lake_files import is_local, move, path_of
from daybook.settings import Settings, settings

_SQLITE = "jdbc:sqlite:"
_UNFINISHED = "restore-unfinished"
"""File of a state folder while a backup is written into it."""
_FLUSH_SECONDS = 30


def chosen(folder: Path, name: str | None) -> tuple[Index, list[str]]:
    """The backup of a folder by name, or the newest whole one; and the names of later ones that were stopped.

    Raises:
        BadInput: there is no such backup, or it was stopped.
    """
    whole, stopped = indexes(folder)
    if name in stopped:
        raise BadInput(f"the backup {name} in {folder} was stopped before its end and is none; nothing was changed")
    found = dict(whole)
    if name is not None and name not in found:
        raise BadInput(f"there is no backup {name} in {folder}; there are: {', '.join(found) or 'none'}")
    if not whole:
        what = f"the backup {stopped[-1]} was stopped before its end and is none" if stopped else "there is no backup"
        raise BadInput(f"{what} in {folder}; nothing was changed")
    newest = name or whole[-1][0]
    return found[newest], [one for one in stopped if one > newest]


def check(folder: Path, index: Index) -> None:
    """Read every file of a backup and hold it against the index.

    Raises:
        DaybookError: files are missing or hold other bytes; names the first three.
    """
    wrong = []
    for one in index.files:
        path = folder / one.stored
        if not path.exists():
            wrong.append(f"{one.stored} is missing")
        elif path.stat().st_size != one.bytes or digest_of(path) != one.sha256:
            wrong.append(f"{one.stored} holds other bytes than were written to it")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DaybookError(
            f"the backup of {index.taken_at[:19]} is damaged: {'; '.join(wrong[:3])}{more}. Nothing was changed. Take "
            "an earlier one (--at), or a copy of this folder"
        )


def state_there(loaded: Settings) -> list[Path]:
    """What a restore would write over."""
    places = [loaded.home / name for name in (*FOLDERS, "airflow", "postgres", "kafka")]
    if loaded.catalog_uri.startswith(_SQLITE):
        places.append(Path(loaded.catalog_uri.removeprefix(_SQLITE)))
    if is_local(loaded.warehouse):
        places.append(path_of(loaded.warehouse))
    return [path for path in places if path.exists() and not (path.is_dir() and not any(path.iterdir()))]


def put_back(loaded: Settings, folder: Path, index: Index) -> None:
    """Write a backup that was checked into the state folder.

    Raises:
        BadInput: there is a state, or this lake is not kept here. Nothing was changed.
        DaybookError: the lake cannot be told that it lies elsewhere, or the database does not start.
    """
    from daybook.stack import postgres

    mark = loaded.home / _UNFINISHED
    there = state_there(loaded)
    if there and not mark.exists():
        raise BadInput(
            f"there is a state: {', '.join(map(str, there))}. Nothing was changed. Move it away, or name another "
            "folder: DAYBOOK_HOME"
        )
    has_files = any(one.kind for one in index.files)
    if index.named(CATALOG) and not loaded.catalog_uri.startswith(_SQLITE):
        raise BadInput(
            f"the backup's catalog is SQLite's, DAYBOOK_LAKE_CATALOG_URI is {loaded.catalog_uri}; nothing was changed. "
            "Restore with the catalog in the state folder"
        )
    if has_files and not is_local(loaded.warehouse):
        raise BadInput(
            f"the backup's lake is of files, DAYBOOK_LAKE_WAREHOUSE is {loaded.warehouse}; nothing was changed. "
            "Restore with the warehouse in the state folder"
        )
    loaded.home.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{folder}\n", encoding="utf-8")
    for path in there:  # of a restore that was stopped: there was nothing before it
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    kinds: dict[Path, str] = {}
    for one in index.files:
        if one.path in {CATALOG, RECORDS, AIRFLOW_DUMP, API_KEYS}:
            continue
        if one.kind:
            target = path_of(loaded.warehouse) / one.path.removeprefix("lake/warehouse/")
            kinds[target] = one.kind
        else:
            target = loaded.home / one.path
        _write(folder / one.stored, target, one)
    if (keys := index.named(API_KEYS)) and loaded.api_keys_file and not Path(loaded.api_keys_file).exists():
        _write(folder / keys.stored, Path(loaded.api_keys_file), keys)
    if dumped := index.named(AIRFLOW_DUMP):
        with postgres.serving(loaded):
            postgres.load_dump(loaded, folder / dumped.stored)
    if catalog := index.named(CATALOG):
        target = Path(loaded.catalog_uri.removeprefix(_SQLITE))
        beside = target.with_name(f".{target.name}.restored")
        _write(folder / catalog.stored, beside, catalog)
        if path_of(index.warehouse) != path_of(loaded.warehouse) and kinds:
            move(beside, kinds, index.warehouse, loaded.warehouse)
        os.replace(beside, target)
    mark.unlink()


def _write(source: Path, target: Path, held: Held) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))  # a secret is nobody else's, from its first moment on
    shutil.copyfile(source, target)
    target.chmod(held.mode)


def records_of(file: Path) -> Iterator[dict[str, Any]]:
    """The records that a backup took from Kafka: partition, offset, key and value in bytes."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            told = json.loads(line)
            values = {
                name: base64.b64decode(told[name]) if told[name] is not None else None for name in ("key", "value")
            }
            yield {**told, **values}


def send_again(loaded: Settings, file: Path) -> tuple[int, int]:
    """Send the records of a backup to Kafka, but for those that Kafka holds at their place.

    Sent twice they do no harm: they land as duplicates of their event ids. Their time in Kafka is now, which decides
    nothing but how long Kafka keeps them.

    Returns:
        Records that were sent, and those that Kafka still held.

    Raises:
        DaybookError: the broker does not acknowledge them; those that it did stay.
    """
    from confluent_kafka import Producer

    from daybook.kafka_offsets import committed, topic_state

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
    # idempotent and acknowledged by all, as the intake sends; the same partition for a key as the intake's
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
            except BufferError:  # the queue is full: wait for some of it to be acknowledged
                producer.poll(1)
        sent += 1
    left = producer.flush(_FLUSH_SECONDS)
    if left or failed:
        raise DaybookError(
            f"Kafka at {loaded.bootstrap_servers} did not acknowledge {left + len(failed)} of {sent} records"
            f"{': ' + failed[0] if failed else ''}. Repeat it: what was sent twice lands as a duplicate"
        )
    return sent, len(still)


@click.command(short_help="Bring a backup back into an empty state folder.")
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Backup folder.",
)
@click.option("--at", "name", help="Name of a backup in its folder backups/; the newest whole one unless named.")
@click.option(
    "--check", "only_check", is_flag=True, help="Read the backup whole and hold it against its index; write nothing."
)
@click.option(
    "--send-records", is_flag=True, help="After `daybook up`: send the records that were not landed to Kafka."
)
def restore(folder: Path, name: str | None, only_check: bool, send_records: bool) -> None:
    """Write a backup into DAYBOOK_HOME, which must hold no state, and say what comes next.

    Another DAYBOOK_HOME than the backup's is told to the lake: its metadata names files by their full paths.
    """
    loaded = settings()
    folder = folder.expanduser().resolve()
    index, stopped = chosen(folder, name)
    for one in stopped:
        click.echo(f"The later backup {one} was stopped before its end: it is passed over")
    with alone(folder):
        if send_records:
            _send(loaded, folder, index)
            return
        check(folder, index)
        total = sum(one.bytes for one in index.files) / 1e6
        click.echo(f"The backup of {index.taken_at[:19]} UTC is whole: {len(index.files):,} files, {total:,.1f} MB")
        if only_check:
            return
        put_back(loaded, folder, index)
    click.echo(f"Restored to {loaded.home}")
    for line in what_comes_next(loaded, folder, index):
        click.echo(line)


def _send(loaded: Settings, folder: Path, index: Index) -> None:
    held = index.named(RECORDS)
    if held is None:
        raise BadInput("the backup holds no records of Kafka; nothing was sent")
    if digest_of(folder / held.stored) != held.sha256:
        raise DaybookError(f"{folder / held.stored} holds other bytes than were written to it; nothing was sent")
    sent, still = send_again(loaded, folder / held.stored)
    click.echo(f"{sent:,} records sent to Kafka, {still:,} were there still")


def what_comes_next(loaded: Settings, folder: Path, index: Index) -> list[str]:
    """What is to be done after a restore, and what is not as it was, in words."""
    lines = [f"Not in it: {one}" for one in index.left_out]
    if (keys := index.named(API_KEYS)) and not loaded.api_keys_file:
        lines.append(f"The intake's API keys are in {folder / keys.stored}: copy them, and set DAYBOOK_API_KEYS_FILE")
    age = datetime.now(UTC) - datetime.fromisoformat(index.taken_at)
    lines.append(
        f"What was landed or acknowledged since, {age.days} days {age.seconds // 3600} hours ago, is not in it, nor is "
        "any `daybook forget-user` since: repeat those"
    )
    steps = ["daybook up"]
    if not loaded.kafka_bootstrap_servers:
        if index.not_landed:
            steps.append(f"daybook restore --from {folder} --send-records   ({index.not_landed:,} not landed yet)")
        if index.topic_id:
            steps.append('daybook accept-loss --note "restored"   (the embedded broker begins anew)')
    steps += ["the next run, or a run of each day that is missing", "daybook verify --day D"]
    return [*lines, "Next:", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]
