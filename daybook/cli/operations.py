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
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), help="Target folder, preferably on another disk."
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="Number of backups of this state folder to keep; older ones and files that only they use are removed.",
)
def backup(folder: Path, keep: int | None) -> None:
    """Back up the state, even while the stack runs and days are built; later backups copy only new files.

    A backup contains Airflow's secrets and the data of users: protect it like the state itself.
    """
    index, copier = take(load_settings(), folder.expanduser().resolve())
    total = sum(one.bytes for one in index.files)
    click.echo(
        f"Backed up {len(index.files):,} files, {total / 1e6:,.1f} MB, as of {index.taken_at[:19]} UTC; "
        f"{copier.new_files:,} files, {copier.new_bytes / 1e6:,.1f} MB, were new. Each file was read back and checked."
    )
    if index.not_landed is not None:
        click.echo(f"The backup includes {index.not_landed:,} records that are not landed yet")
    for one in index.left_out:
        click.echo(f"Not in the backup: {one}")
    if keep is not None:
        gone, files, others = prune(folder.expanduser().resolve(), keep, index.home)
        click.echo(f"{gone} older or incomplete backups and {files:,} files that only they used were removed")
        for one in others:
            click.echo(f"This folder also has backups of {one}; they remain, since --keep only applies to {index.home}")


@click.command(short_help="Restore a backup into an empty state folder.")
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Backup folder.",
)
@click.option("--at", "name", help="Name of a backup in its folder backups/; by default the newest complete one.")
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Only read the backup and compare it with its index; write nothing.",
)
@click.option(
    "--send-records", is_flag=True, help="After `daybook up`: send the backup's records that were not landed to Kafka."
)
def restore(folder: Path, name: str | None, only_check: bool, send_records: bool) -> None:
    """Restore a backup into DAYBOOK_HOME, which must not contain a state, and print the next steps.

    The lake's metadata contains full file paths: if DAYBOOK_HOME differs from the backup's, they are rewritten.
    """
    loaded = load_settings()
    folder = folder.expanduser().resolve()
    index, stopped = chosen(folder, name)
    for one in stopped:
        click.echo(f"The later backup {one} is incomplete and was skipped")
    with alone(folder):
        if send_records:
            _send(loaded, folder, index)
            return
        check(folder, index)
        total = sum(one.bytes for one in index.files) / 1e6
        what = f"{len(index.files):,} files, {total:,.1f} MB, of {index.home}"
        click.echo(f"The backup of {index.taken_at[:19]} UTC is complete: {what}")
        if only_check:
            return
        put_back(loaded, folder, index)
    click.echo(f"Restored to {loaded.home}")
    for line in what_comes_next(loaded, folder, index):
        click.echo(line)


@click.command(short_help="Make a copied or moved state folder an independent state.")
def adopt() -> None:
    """Make DAYBOOK_HOME, a folder that was copied or moved, an independent state at its new place.

    The lake's metadata contains full file paths, which are rewritten; data files are not changed. The original, if it
    still exists, is neither read nor changed. Copy a state only while its stack is down.
    """
    for line in adopt_state(load_settings()):
        click.echo(line)


@click.command(short_help="Write a day's events and answers as plain Parquet files.")
@days_option()
@click.option(
    "--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write into."
)
def export(days: tuple[str, ...], folder: Path) -> None:
    """Write published days as date-partitioned Parquet, which any tool can read without a catalog.

    Each table gets a folder: TABLE/event_date=YYYY-MM-DD/part.parquet. Existing files are replaced. Only you can read
    the files, whatever the umask: they contain user names. To share them: chmod -R a+rX FOLDER.
    """
    loaded: Settings = load_settings()
    for day in days:
        for file, count in export_day(loaded, day, folder):
            click.echo(f"{file}  {count:,} rows")


@click.command(short_help="Serve Prometheus metrics for published days and Kafka lag.")
def exporter() -> None:
    """Serve /metrics for Prometheus until stopped; reads the lake and the broker, and changes nothing."""
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
    "--timeout",
    "timeout_seconds",
    default=30.0,
    show_default=True,
    help="Seconds to wait for starting brokers.",
)
@click.option(
    "--set",
    "set_config",
    is_flag=True,
    help="Apply the settings to an existing topic whose configuration is weaker.",
)
@click.option("--recreate", is_flag=True, help="Create an empty topic in place of one that the brokers have lost.")
def create_topic(timeout_seconds: float, set_config: bool, recreate: bool) -> None:
    """Create the topic as configured, or add missing partitions to it; it is safe to repeat.

    Without --set nothing else of an existing topic is changed. Partitions are never removed.
    """
    for line in ensure_topic(load_settings(), timeout_seconds, set_config=set_config, recreate=recreate):
        click.echo(line)


def _send(loaded: Settings, folder: Path, index: Index) -> None:
    held = index.named(RECORDS)
    if held is None:
        raise BadInput("the backup has no Kafka records; nothing was sent")
    if digest_of(folder / held.stored) != held.sha256:
        raise DaybookError(f"{folder / held.stored} does not have the bytes that were backed up; nothing was sent")
    sent, still = send_again(loaded, folder / held.stored)
    click.echo(f"{sent:,} records sent to Kafka, {still:,} were still there")
