"""The verbs that correct: rejected, replay, rebuild, dismiss, accept-loss, forget-user."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import click

from daybook.airflow_client import TRIGGER
from daybook.cli.options import day_option, json_option, range_options
from daybook.cli.output import print_json, print_table
from daybook.cli.terminal import rich_console
from daybook.days import parse_day
from daybook.errors import BadInput, DaybookError
from daybook.kafka.offsets import offsets_text, topic_state
from daybook.lake.state import who
from daybook.lake.tables import RAW_EVENTS
from daybook.operations.replay import open_records, repaired_by_hand, send_again
from daybook.pipeline.dismissals import dismissals, split_dismissed, write_dismissals
from daybook.pipeline.erasures import user_digest
from daybook.pipeline.losses import gaps_inside, loss_since, record_acceptance
from daybook.pipeline.position import position
from daybook.pipeline.rejected import CONFLICT, SHOWN_ROWS, chosen_day, rejected_records
from daybook.settings import Settings, load_settings


@click.command(short_help="The records of a day that are no event.")
@day_option()
@click.option("--no-day", is_flag=True, help="The records that name no day.")
@click.option("--reason", help="Only those with this reason code.")
@json_option("A JSON list with bytes and the event each can be made into.")
def rejected(day: str | None, no_day: bool, reason: str | None, as_json: bool) -> None:
    """List the records that were rejected, by reason. `daybook replay` sends those that can be repaired again."""
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
        f"Rejected, {day or 'records that name no day'}",
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


@click.command(short_help="Send rejected records that can be repaired again.")
@day_option()
@click.option("--no-day", is_flag=True, help="The records that name no day.")
@click.option("--reason", help="Only those with this reason code.")
@click.option(
    "--repaired",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Events repaired by hand: the output of `daybook rejected --json` with its `event` fields changed.",
)
@click.option("--no-run", is_flag=True, help="Only send; the next run restates the day.")
def replay(day: str | None, no_day: bool, reason: str | None, repaired: Path | None, no_run: bool) -> None:
    """Send rejected records through the intake again, each once, and restate the days they happened on.

    A record without an id gets one of its own; one without a possible time gets the time at which Kafka took it. A
    record with another event's id is sent with `--reason conflict` alone, and under a new id: see first that it is an
    event by itself. The record itself stays in rejected_events. Safe to repeat: nothing accepted is sent again.
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
        f"{len(refused) + sum(left.values())} need a repair by hand"
    )
    for one in refused:
        said = "; ".join(f"{error['field']} {error['message']}" for error in one["errors"])
        landing, partition, offset = one["coordinates"]
        click.echo(f"  landing {landing}, partition {partition}, offset {offset}: {said}")
    for name, count in left.most_common():
        if name == CONFLICT and reason != CONFLICT:
            click.echo(f"  {name}: {count} left alone; `--reason {CONFLICT}` sends them as further events")
        else:
            click.echo(f"  {name}: {count} cannot be read as an event")
    if days and not no_run:
        _restate(loaded, days)


@click.command(short_help="Rebuild past days from the raw records.")
@range_options
@click.option("--dry-run", is_flag=True, help="Say per day what would change; publish nothing.")
def rebuild(first: str, last: str, dry_run: bool) -> None:
    """Rebuild events and answers of published days from raw_events, without Kafka.

    Use it after a change of the provider map, an answer or a rule. A day whose result is unchanged keeps its revision.
    """
    from daybook.jobs.submit import run_job
    from daybook.lake.ledger import read_ledger
    from daybook.report.write import write_report

    start, end = parse_day(first), parse_day(last)
    if start > end:
        raise BadInput(f"{first} is after {last}; nothing was changed")
    loaded = load_settings()
    if not any(start <= day <= end for day in read_ledger(loaded).newest):
        raise BadInput(
            f"no day from {first} to {last} has a page; a day without one is built by a run of it: {TRIGGER}"
        )
    run_id = f"rebuild__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    arguments = ["--run-id", run_id, "--from", first, "--to", last, *(["--dry-run"] if dry_run else [])]
    days = run_job(loaded, "rebuild_days", arguments)["days"]
    changed = [one for one in days if one["changed"]]
    for one in days:
        click.echo(one["receipt"])
    if changed and not dry_run:
        write_report(loaded, changed[0]["day"], [one["day"] for one in changed])
    outcome = "would change; nothing was published" if dry_run else "published anew"
    click.echo(f"{len(changed)} of {len(days)} days {outcome}")


@click.command("dismiss", short_help="Hide days that will not get a page from `daybook status`.")
@day_option("; instead of --from and --to")
@click.option("--from", "first", help="The first day of a range, YYYY-MM-DD, UTC.")
@click.option("--to", "last", help="The last day of a range.")
@click.option("--note", help="Why these days need no page; without it the days are only shown.")
@click.option("--undo", is_flag=True, help="List the days again.")
def dismiss(day: str | None, first: str | None, last: str | None, note: str | None, undo: bool) -> None:
    """Stop listing days in `daybook status` whose records no page shows.

    The records stay, are counted and can still be published: trigger the day. A day is listed again when another
    record of it lands, or with --undo. Without --note nothing is changed.
    """
    if (day and (first or last)) or (not day and not (first and last)):
        raise BadInput("name a day with --day, or a range with --from and --to; nothing was changed")
    begin, end = (str(parse_day(one)) for one in (day or first or "", day or last or ""))
    if begin > end:
        raise BadInput(f"{begin} is after {end}: no day lies between them; nothing was changed")
    settings = load_settings()
    if undo:
        _undo(settings, begin, end)
    else:
        _dismiss(settings, begin, end, note)


@click.command("accept-loss", short_help="Go on behind records that Kafka has lost.")
@click.option("--note", help="Why the records cannot be brought back; without it the loss is only shown.")
def accept_loss(note: str | None) -> None:
    """Show what Kafka has lost of the records that were never landed; with --note, accept it.

    The decision is recorded in the lake with your name and is shown by `daybook status` from then on; the next run goes
    on behind the loss.
    """
    from daybook.lake.catalog import load

    settings = load_settings()
    raw = load(settings, RAW_EVENTS)
    start = position(settings, raw)
    topic = topic_state(settings)
    # what is missing inside the log shows in the reading of it alone, which takes its time: not before it has to be
    loss = loss_since(settings, start, topic) or gaps_inside(settings, start, topic)
    if loss is None:
        raise BadInput("nothing is lost: Kafka has every record that was not landed yet; nothing was changed")
    told = loss.short_text
    if note is None:
        click.echo(f'Lost: {told}.\nNothing was changed. To go on: daybook accept-loss --note "why"')
        return
    record_acceptance(settings, start, topic, loss, note)
    click.echo(f"Accepted: {told}. The next run goes on from {offsets_text(loss.resume_from)}.")


@click.command("forget-user", short_help="Remove one player's rows for good.")
@click.argument("user_id")
@click.option("--note", default="", help="Kept with the record of it: who asked, and when.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget_user(user_id: str, note: str, yes: bool) -> None:
    """Remove every row of player USER_ID from every table, rebuild the days, and expire all older snapshots.

    It cannot be undone, and ends with an error if a row of the player is left. Records that Kafka still holds and that
    were not landed yet land with the next run, and leave Kafka with its retention: repeat it then. Steps that were
    staged meanwhile are staged again.
    """
    from daybook.jobs.submit import run_job
    from daybook.report.write import write_report

    try:
        user_digest(user_id)
    except UnicodeEncodeError:
        raise BadInput("USER_ID is not text in UTF-8; nothing was removed") from None
    loaded = load_settings()
    if not yes:
        click.confirm(f"Remove every row of {user_id!r}, for good?", abort=True)
    run_id = f"forget__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    player = {"user_id": user_id, "note": note}
    told = run_job(loaded, "forget_user", ["--run-id", run_id], {"--player": player})
    if told["user_digest"] is None:
        click.echo("No table has a row of this player. Nothing was changed, and nothing is recorded in erasures.")
        return
    if told["days"]:
        write_report(loaded, told["days"][0], told["days"])
    click.echo(
        f"{told['records']} records removed; {len(told['days'])} days built anew: {', '.join(told['days']) or 'none'}. "
        f"Recorded in erasures as {told['user_digest'][:12]}..."
    )


def _restate(loaded: Settings, days: set[date]) -> None:
    from daybook import airflow_client
    from daybook.airflow_client import DAG
    from daybook.cli.runs import follow

    first = min(days).isoformat()
    # a run restates its own day and every later one that has a page and new records
    conf = {"day": first, "events": 0}
    run_id = f"replay__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    client = airflow_client.api(loaded)
    try:
        client.call("POST", f"/dags/{DAG}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})
        client.call("PATCH", f"/dags/{DAG}?update_mask=is_paused", {"is_paused": False})
    except DaybookError as error:
        raise DaybookError(
            f"accepted, and not restated yet: {error}. The next run restates the day, or now: "
            f"airflow dags trigger {DAG} -c '{json.dumps(conf)}'"
        ) from None
    steps = follow(client, run_id, rich_console(soft_wrap=True))
    if any(step["state"] not in {"success", "skipped"} for step in steps):
        raise DaybookError(
            f"accepted, and not restated: run {run_id} failed; readers see what they saw. "
            f"{loaded.airflow_url}/dags/{DAG}/runs/{run_id} shows the run"
        )


def _undo(settings: Settings, begin: str, end: str) -> None:
    decided = dismissals(settings)
    back = [one for one in decided if begin <= one <= end]
    if not back:
        raise BadInput(f"no day from {begin} to {end} is dismissed; nothing was changed")
    write_dismissals(settings, {one: row for one, row in decided.items() if one not in back})
    click.echo(f"{_days(len(back))} will be listed again.")


def _dismiss(settings: Settings, begin: str, end: str, note: str | None) -> None:
    from daybook.lake.ledger import read_ledger
    from daybook.pipeline.due import waiting_days

    decided = dismissals(settings)
    listed, _ = split_dismissed(waiting_days(read_ledger(settings)), decided)
    chosen = [row for row in listed if begin <= row["day"] <= end]
    if not chosen:
        raise BadInput(
            f"no day from {begin} to {end} waits for a page; `daybook status --all` lists those that do. "
            "Nothing was changed"
        )
    records = sum(row["records"] - row["on_page"] for row in chosen)
    said = f"{_days(len(chosen))} with {records:,} {'record' if records == 1 else 'records'} that no page shows"
    if note is None:
        click.echo(f'{said}.\nNothing was changed. To dismiss them: add --note "why"')
        return
    now, user = datetime.now(UTC).isoformat(timespec="seconds"), who()
    new = {
        row["day"]: {"records": row["records"], "dismissed_at": now, "dismissed_by": user, "note": note}
        for row in chosen
    }
    write_dismissals(settings, decided | new)
    click.echo(f"Dismissed: {said}. The records are kept. `daybook status --all` still lists the days.")


def _days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"
