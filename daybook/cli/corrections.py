"""The verbs that correct: rejected, replay, rebuild, dismiss, accept-loss, forget-user."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import click

from daybook import airflow_client
from daybook.airflow_client import DAG, TRIGGER
from daybook.cli.options import day_option, json_option, range_options
from daybook.cli.output import print_json, print_table
from daybook.cli.runs import follow
from daybook.cli.terminal import rich_console
from daybook.days import parse_day
from daybook.errors import BadInput, DaybookError
from daybook.jobs.submit import run_job
from daybook.kafka.offsets import offsets_text, topic_state
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.state import who
from daybook.lake.tables import RAW_EVENTS
from daybook.operations.replay import open_records, repaired_by_hand, send_again
from daybook.pipeline.dismissals import dismissals, split_dismissed, write_dismissals
from daybook.pipeline.due import waiting_days
from daybook.pipeline.erasures import user_digest
from daybook.pipeline.losses import gaps_inside, loss_since, record_acceptance
from daybook.pipeline.position import position
from daybook.pipeline.rejected import CONFLICT, SHOWN_ROWS, chosen_day, rejected_records
from daybook.report.write import write_report
from daybook.settings import Settings, load_settings


@click.command(short_help="List a day's rejected records.")
@day_option()
@click.option("--no-day", is_flag=True, help="Rejected records without a day.")
@click.option("--reason", help="Only records with this reason code.")
@json_option("A JSON list, with each record's bytes and the event that it can be repaired to.")
def rejected(day: str | None, no_day: bool, reason: str | None, as_json: bool) -> None:
    """List rejected records by reason. `daybook replay` repairs those that can be repaired, and sends them again."""
    found = rejected_records(load_settings(), chosen_day(day, no_day), reason)
    if as_json:
        print_json([one.as_json() for one in found])
        return
    if not found:
        click.echo("No record was rejected.")
        return
    meaning = {one.reason: one.detail for one in found}
    counts = Counter(one.reason for one in found)
    print_table(
        f"Rejected records, {day or 'without a day'}",
        [{"reason": name, "records": count, "meaning": meaning[name]} for name, count in counts.most_common()],
    )
    print_table(
        "Records" if len(found) <= SHOWN_ROWS else f"The first {SHOWN_ROWS} of {len(found)}; all with --json",
        [
            {
                "landing": one.landing,
                "partition": one.kafka_partition,
                "offset": one.kafka_offset,
                "reason": one.reason,
                "bytes": len(one.value or b""),
                "starts with": ascii((one.value or b"")[:40])[2:-1],
            }
            for one in found[:SHOWN_ROWS]
        ],
        exact=True,
    )


@click.command(short_help="Repair rejected records and send them again.")
@day_option()
@click.option("--no-day", is_flag=True, help="Rejected records without a day.")
@click.option("--reason", help="Only records with this reason code.")
@click.option(
    "--repaired",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Events repaired by hand: the output of `daybook rejected --json` with its `event` fields changed.",
)
@click.option("--no-run", is_flag=True, help="Only send the records; the next run restates the day.")
def replay(day: str | None, no_day: bool, reason: str | None, repaired: Path | None, no_run: bool) -> None:
    """Send repaired rejected records to the intake, each once, and restate the days on which they happened.

    A record without an id gets an id of its own. A record without a valid time gets the time at which Kafka received
    it. A record with the id of another event is sent only with `--reason conflict`, and with a new id: check first that
    it is a separate event. The original record stays in rejected_events. Repeating is safe: accepted records are not
    sent again.
    """
    loaded = load_settings()
    found = rejected_records(loaded, chosen_day(day, no_day), reason)
    waiting = open_records(loaded, found)
    if repaired is not None:
        by_hand = repaired_by_hand(repaired, found)
        events = {one.coordinates: by_hand[one.coordinates] for one in waiting if one.coordinates in by_hand}
    else:
        events = {one.coordinates: event for one in waiting if (event := one.repaired()) is not None}
    if reason != CONFLICT:
        conflicts = {one.coordinates for one in waiting if one.reason == CONFLICT}
        events = {at: event for at, event in events.items() if at not in conflicts}
    days, refused = send_again(loaded, events) if events else (set(), [])
    left = Counter(one.reason for one in waiting if one.coordinates not in events)
    click.echo(
        f"{len(found)} rejected, {len(found) - len(waiting)} replayed before, "
        f"{len(events) - len(refused)} accepted now, "
        f"{len(refused) + sum(left.values())} need to be repaired by hand"
    )
    for one in refused:
        problems = "; ".join(f"{error['field']} {error['message']}" for error in one["errors"])
        landing, partition, offset = one["coordinates"]
        click.echo(f"  landing {landing}, partition {partition}, offset {offset}: {problems}")
    for name, count in left.most_common():
        if name == CONFLICT and reason != CONFLICT:
            click.echo(f"  {name}: {count} not sent; `--reason {CONFLICT}` sends them as separate events")
        else:
            click.echo(f"  {name}: {count} cannot be read as an event")
    if days and not no_run:
        _restate(loaded, days)


@click.command(short_help="Rebuild past days from the raw records.")
@range_options
@click.option("--dry-run", is_flag=True, help="Show what would change on each day; publish nothing.")
def rebuild(first: str, last: str, dry_run: bool) -> None:
    """Rebuild events and answers of published days from raw_events, without Kafka.

    Use it after a change of the provider map, an answer or a rule. Days without a change do not get a new revision.
    """
    start, end = parse_day(first), parse_day(last)
    if start > end:
        raise BadInput(f"{first} is after {last}; nothing was changed")
    loaded = load_settings()
    if not any(start <= day <= end for day in read_ledger(loaded).newest):
        raise BadInput(
            f"no day from {first} to {last} is published; to build an unpublished day, trigger a run of it: {TRIGGER}"
        )
    run_id = f"rebuild__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    arguments = ["--run-id", run_id, "--from", first, "--to", last, *(["--dry-run"] if dry_run else [])]
    days = run_job(loaded, "rebuild_days", arguments)["days"]
    changed = [one for one in days if one["changed"]]
    for one in days:
        click.echo(one["receipt"])
    if changed and not dry_run:
        write_report(loaded, changed[0]["day"], [one["day"] for one in changed])
    outcome = "would change; nothing was published" if dry_run else "published again"
    click.echo(f"{len(changed)} of {len(days)} days {outcome}")


@click.command("dismiss", short_help="Hide days that need not be published from `daybook status`.")
@day_option("; instead of --from and --to")
@click.option("--from", "first", help="The first day of a range, YYYY-MM-DD, UTC.")
@click.option("--to", "last", help="The last day of a range.")
@click.option("--note", help="Why these days need not be published; without it, the days are only shown.")
@click.option("--undo", is_flag=True, help="List the days again.")
def dismiss(day: str | None, first: str | None, last: str | None, note: str | None, undo: bool) -> None:
    """Stop listing days in `daybook status` whose records are not published.

    The records remain stored and counted. They can still be published: trigger the day. A day is listed again when
    another record of it lands, or with --undo. Without --note nothing is changed.
    """
    if (day and (first or last)) or (not day and not (first and last)):
        raise BadInput("name a day with --day, or a range with --from and --to; nothing was changed")
    begin, end = (str(parse_day(one)) for one in (day or first or "", day or last or ""))
    if begin > end:
        raise BadInput(f"{begin} is after {end}, so the range has no day; nothing was changed")
    settings = load_settings()
    if undo:
        _undo(settings, begin, end)
    else:
        _dismiss(settings, begin, end, note)


@click.command("accept-loss", short_help="Continue after records that Kafka has lost.")
@click.option("--note", help="Why the records cannot be recovered; without it, the loss is only shown.")
def accept_loss(note: str | None) -> None:
    """Show the records that Kafka lost before they were landed; with --note, accept the loss.

    The decision is stored in the lake with your name, and `daybook status` shows it from then on. The next run
    continues after the lost records.
    """
    settings = load_settings()
    raw = load(settings, RAW_EVENTS)
    start = position(settings, raw)
    topic = topic_state(settings)
    # gaps inside the log are found only by reading it, which takes long: only if nothing is lost before it
    loss = loss_since(settings, start, topic) or gaps_inside(settings, start, topic)
    if loss is None:
        raise BadInput("nothing is lost: Kafka still has every record that is not landed yet; nothing was changed")
    lost = loss.short_text
    if note is None:
        click.echo(f'Lost: {lost}.\nNothing was changed. To accept the loss: daybook accept-loss --note "why"')
        return
    record_acceptance(settings, start, topic, loss, note)
    click.echo(f"Accepted: {lost}. The next run continues from {offsets_text(loss.resume_from)}.")


@click.command("forget-user", short_help="Permanently remove one user's rows.")
@click.argument("user_id")
@click.option("--note", default="", help="Stored with the erasure, such as who asked for it, and when.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def forget_user(user_id: str, note: str, yes: bool) -> None:
    """Remove every row of user USER_ID from every table, rebuild the days, and expire all older snapshots.

    It cannot be undone, and ends with an error if a row of the user is left. Records in Kafka that are not landed yet
    are landed by the next run, and Kafka deletes them when their retention ends: repeat the command then. Steps that
    were staged meanwhile are staged again.
    """
    try:
        user_digest(user_id)
    except UnicodeEncodeError:
        raise BadInput("USER_ID is not text in UTF-8; nothing was removed") from None
    loaded = load_settings()
    if not yes:
        click.confirm(f"Permanently remove every row of {user_id!r}?", abort=True)
    run_id = f"forget__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    user = {"user_id": user_id, "note": note}
    summary = run_job(loaded, "forget_user", ["--run-id", run_id], {"--player": user})
    if summary["user_digest"] is None:
        click.echo("No table has a row of this user. Nothing was changed, and nothing was added to erasures.")
        return
    days = summary["days"]
    if days:
        write_report(loaded, days[0], days)
    rebuilt = f"{len(days)} days rebuilt: {', '.join(days)}" if days else "no day had to be rebuilt"
    click.echo(
        f"{summary['records']} records removed; {rebuilt}. Recorded in erasures as {summary['user_digest'][:12]}..."
    )


def _restate(loaded: Settings, days: set[date]) -> None:
    first = min(days).isoformat()
    # a run restates its own day, and every later published day that has new records
    conf = {"day": first, "events": 0}
    run_id = f"replay__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    client = airflow_client.api(loaded)
    try:
        client.call("POST", f"/dags/{DAG}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})
        client.call("PATCH", f"/dags/{DAG}?update_mask=is_paused", {"is_paused": False})
    except DaybookError as error:
        raise DaybookError(
            f"the records were accepted, but their days are not restated yet: {error}. The next run restates "
            f"them; to do it now: airflow dags trigger {DAG} -c '{json.dumps(conf)}'"
        ) from None
    steps = follow(client, run_id, rich_console(soft_wrap=True))
    if any(step["state"] not in {"success", "skipped"} for step in steps):
        raise DaybookError(
            f"the records were accepted, but their days are not restated: run {run_id} failed; readers see the same as "
            f"before. {loaded.airflow_url}/dags/{DAG}/runs/{run_id} shows the run"
        )


def _undo(settings: Settings, begin: str, end: str) -> None:
    decided = dismissals(settings)
    back = [one for one in decided if begin <= one <= end]
    if not back:
        raise BadInput(f"no day from {begin} to {end} is dismissed; nothing was changed")
    write_dismissals(settings, {one: row for one, row in decided.items() if one not in back})
    click.echo(f"{_days(len(back))} will be listed again.")


def _dismiss(settings: Settings, begin: str, end: str, note: str | None) -> None:
    decided = dismissals(settings)
    listed, _ = split_dismissed(waiting_days(read_ledger(settings)), decided)
    chosen = [row for row in listed if begin <= row["day"] <= end]
    if not chosen:
        raise BadInput(
            f"no day from {begin} to {end} waits to be published; `daybook status --all` lists the waiting days. "
            "Nothing was changed"
        )
    records = sum(row["records"] - row["on_page"] for row in chosen)
    summary = f"{_days(len(chosen))} with {records:,} unpublished {'record' if records == 1 else 'records'}"
    if note is None:
        click.echo(f'{summary}.\nNothing was changed. To dismiss them: add --note "why"')
        return
    now, user = datetime.now(UTC).isoformat(timespec="seconds"), who()
    new = {
        row["day"]: {"records": row["records"], "dismissed_at": now, "dismissed_by": user, "note": note}
        for row in chosen
    }
    write_dismissals(settings, decided | new)
    click.echo(f"Dismissed: {summary}. The records remain stored. `daybook status --all` still lists the days.")


def _days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"
