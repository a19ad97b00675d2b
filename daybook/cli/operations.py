"""The verbs that operate: backup, restore, adopt, export, exporter, create-topic."""

from __future__ import annotations

import threading
from pathlib import Path

import click
from prometheus_client import CollectorRegistry, start_http_server

from daybook.cli.options import days_option
from daybook.errors import BadInput, DaybookError
from daybook.files import digest_of
from daybook.kafka.topic import ensure_topic
from daybook.operations.adopt import adopt_state
from daybook.operations.backup import RECORDS, Index, alone, prune, take
from daybook.operations.export import export_day
from daybook.operations.exporter import LedgerCollector
from daybook.operations.restore import check, chosen, put_back, send_again, what_comes_next
from daybook.settings import Settings, load_settings


@click.command(short_help="Copy lake, manifests, reports and run history to another folder.")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="Folder, best on another disk.")
@click.option(
    "--keep", type=click.IntRange(min=1), help="Keep so many backups of this state folder; remove what only older had."
)
def backup(folder: Path, keep: int | None) -> None:
    """Back up the state, also while the stack runs and days are being built; a second backup takes only what is new.

    It holds the secrets of Airflow and what players did: keep it as safe as the state itself.
    """
    index, copier = take(load_settings(), folder.expanduser().resolve())
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
        gone, files, others = prune(folder.expanduser().resolve(), keep, index.home)
        click.echo(f"{gone} older or stopped backups and {files:,} files that only they had were removed")
        for one in others:
            click.echo(f"Backups of {one} are in this folder too, and stay: --keep counts those of {index.home}")


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
    loaded = load_settings()
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
        what = f"{len(index.files):,} files, {total:,.1f} MB, of {index.home}"
        click.echo(f"The backup of {index.taken_at[:19]} UTC is whole: {what}")
        if only_check:
            return
        put_back(loaded, folder, index)
    click.echo(f"Restored to {loaded.home}")
    for line in what_comes_next(loaded, folder, index):
        click.echo(line)


@click.command(short_help="Make a copied or moved state folder a state of its own.")
def adopt() -> None:
    """Make the folder of DAYBOOK_HOME, which was copied or moved, a state of its own where it lies now.

    The lake's metadata names files by their full paths, which are rewritten; data files are not touched. The original,
    if there is one, is neither read nor changed. Copy a state while its stack is down.
    """
    for line in adopt_state(load_settings()):
        click.echo(line)


@click.command(short_help="Write a day's events and answers as plain Parquet files.")
@days_option()
@click.option(
    "--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write into."
)
def export(days: tuple[str, ...], folder: Path) -> None:
    """Write published days as date-partitioned Parquet that any reader takes, without a catalog.

    Each table gets a folder: TABLE/event_date=YYYY-MM-DD/part.parquet. Written again, a file is replaced. Only you may
    read the files, whatever the umask: they name players. To share them: chmod -R a+rX FOLDER.
    """
    loaded: Settings = load_settings()
    for day in days:
        for file, count in export_day(loaded, day, folder):
            click.echo(f"{file}  {count:,} rows")


@click.command(short_help="Tell Prometheus of the days, and of Kafka beside what has landed.")
def exporter() -> None:
    """Serve /metrics for Prometheus until it is stopped; reads the lake and the broker, and changes nothing."""
    loaded = load_settings()
    collector = LedgerCollector(loaded)
    registry = CollectorRegistry()
    registry.register(collector)
    server, _ = start_http_server(loaded.exporter_port, loaded.exporter_host, registry)
    collector.start()
    click.echo(f"metrics at http://{loaded.exporter_host}:{server.server_port}/metrics")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        collector.stop()
        server.shutdown()


@click.command("create-topic")
@click.option(
    "--timeout", "timeout_seconds", default=30.0, show_default=True, help="Seconds to wait for brokers that start."
)
@click.option(
    "--set",
    "set_config",
    is_flag=True,
    help="Set what the settings say where a topic that is there is weaker.",
)
@click.option("--recreate", is_flag=True, help="Make it, empty, in place of one that the brokers have lost.")
def create_topic(timeout_seconds: float, set_config: bool, recreate: bool) -> None:
    """Make the topic from the settings, or add partitions to it; repeat it as often as you like.

    Without --set nothing else of a topic that is there is changed, and no partition is ever removed.
    """
    for line in ensure_topic(load_settings(), timeout_seconds, set_config=set_config, recreate=recreate):
        click.echo(line)


def _send(loaded: Settings, folder: Path, index: Index) -> None:
    held = index.named(RECORDS)
    if held is None:
        raise BadInput("the backup holds no records of Kafka; nothing was sent")
    if digest_of(folder / held.stored) != held.sha256:
        raise DaybookError(f"{folder / held.stored} holds other bytes than were written to it; nothing was sent")
    sent, still = send_again(loaded, folder / held.stored)
    click.echo(f"{sent:,} records sent to Kafka, {still:,} were there still")
