"""The content of a day's page and of the overview; everything that they need is read from the lake here."""

from __future__ import annotations

import json
import shlex
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from daybook.analysis.compare import TRAILING_DAYS, compare
from daybook.errors import BadInput
from daybook.formatting import json_tree
from daybook.lake.answers import answer_rows
from daybook.lake.catalog import load
from daybook.lake.ledger import Ledger, Revision, ledger_rows
from daybook.lake.receipts import receipts_of
from daybook.lake.snapshots import readable_snapshot
from daybook.lake.tables import REJECTED_EVENTS
from daybook.pipeline.dismissals import dismissals, split_dismissed
from daybook.pipeline.due import waiting_days, waiting_text
from daybook.settings import Settings
from daybook.sql.answers import ACROSS_DAYS, Answer, answers
from daybook.sql.checks import checks

FIRST_ANSWERS: tuple[str, ...] = ("event_popularity", "provider_usage", "provider_event_popularity")
"""The most important answers, shown first; the others follow by name."""


SHOWN_ROWS = 20
"""How many rows of an answer a page shows without expanding."""


KEPT_ROWS = 200
"""How many rows of an answer a page holds in all; its CSV and the day's JSON have every one."""


COUNT_MEANINGS = {
    "sent": "by the event generator for this day",
    "refused": "by the intake, which returned the reason to the sender; they never reached Kafka",
    "accepted": "acknowledged to the sender: stored in Kafka",
    "other_days": "late accepted events, which count on the day they happened; minus what others sent for this day",
    "landed": "raw records of this day in the lake",
    "duplicates": "landed records that repeat an event: same id, same content",
    "rejected": "landed records that are not valid events; stored with the reason",
    "events": "what every answer counts",
    "late": "events that arrived after the day's first revision was built",
}
"""The meaning of each count, for the page; also in docs/glossary.md."""


INDEX_ROWS = "index.json"
"""The overview's content as JSON, in the folder of the reports."""


OVERVIEW_COUNTS: tuple[str, ...] = ("sent", "accepted", "landed", "events", "duplicates", "rejected", "late")
"""The ledger's counts that the overview has room for."""


def looks_back_on(revisions: Mapping[str, int], day: str) -> dict[str, int]:
    """Return the published days that a day is compared with, and the revision of each."""
    first = (date.fromisoformat(day) - timedelta(days=TRAILING_DAYS)).isoformat()
    return {one: revisions[one] for one in sorted(revisions) if first <= one < day}


def neighbours(days: Iterable[str], day: str) -> dict[str, str | None]:
    """Return the nearest published days ``before`` and ``after`` a day."""
    known = sorted(days)
    at = bisect_left(known, day)
    after = known[at + 1 :] if day in known[at : at + 1] else known[at:]
    return {"before": known[at - 1] if at else None, "after": next(iter(after), None)}


def day_content(ledger: Ledger, day: str) -> dict[str, Any]:
    """Return the content of a day's page, as read from the lake.

    Returns:
        ``page`` (the ledger row), ``answers`` (tables), ``lines``, ``changes``, ``warnings``, ``offsets``, ``receipts``
        (of all revisions), ``rejected`` ((reason, count) pairs, the most first), ``events_of_days`` (day -> events),
        ``looks_back_on`` (day -> revision of the days compared with), ``neighbours`` (the nearest published days
        ``before`` and ``after``), ``premise`` (two of ``daybook.analysis.drift.Drift``), ``alarms``
        (``daybook.analysis.drops.Drop``, or a sentence why there is no result), ``alarms_say`` (the alarm's result in a
        sentence), ``total`` (``daybook.analysis.drops.Total``, or None) and ``comparisons``
        (``daybook.analysis.comparisons.Comparison``).

    Raises:
        BadInput: the day is not published.
    """
    newest = ledger.of(day)
    starts, ends = json.loads(newest.range_start), json.loads(newest.range_end)
    known, all_checks = answers(), checks()
    names = [name for name in FIRST_ANSWERS if name in known] + [name for name in known if name not in FIRST_ANSWERS]
    changes = json.loads(newest.changes)
    comparisons = compare(ledger, day)
    revisions = {one.day: one.revision for one in ledger.newest.values()}
    return {
        "page": {**json_tree(newest), "other_days": newest.other_days},
        # answers added since the day was published are left out; a day without events has empty answers
        "answers": [
            _of_day(ledger, known[name], newest) for name in names if name in newest.snapshots or newest.events == 0
        ],
        "lines": json.loads(newest.lines),
        "changes": {
            name: {**change, "rows": [] if name in known and known[name].names_players else change["rows"]}
            for name, change in changes.items()
        },
        "warnings": [
            {**found, "meaning": check.meaning if (check := all_checks.get(found["check"])) else ""}
            for found in json.loads(newest.checks)
        ],
        "offsets": [{"partition": int(at), "start": starts[at], "end": ends[at]} for at in sorted(ends, key=int)],
        "receipts": [
            {name: one[name] for name in ("revision", "published_at", "receipt")} for one in receipts_of(ledger, day)
        ],
        "rejected": _rejected(ledger.settings, newest),
        "events_of_days": {one.day: one.events for one in ledger.newest.values()},
        "looks_back_on": looks_back_on(revisions, day),
        "neighbours": neighbours(revisions, day),
        "premise": list(comparisons.drifts),
        "alarms": list(comparisons.drops.drops) if comparisons.drops.judged else comparisons.drops.sentence,
        "alarms_say": comparisons.drops.sentence,
        "total": comparisons.drops.total,
        "comparisons": list(comparisons.measures),
    }


def overview_content(ledger: Ledger) -> dict[str, Any]:
    """Return the overview's content: counts from the ledger, coverage and verdicts from the days' own files.

    The previous overview has what it took from those files. So one file is read for all days whose files have not
    changed since.

    Returns:
        ``pages``, the newest day first; ``written``, the days that have a file; ``across``: tables of the answers
        across days up to the newest day, without answers that are newer than the published days; and ``waiting``: the
        days with unpublished records, in words, and the time of that.
    """
    folder = ledger.settings.reports_dir
    previous = {one["day"]: one for one in (written_record(folder / INDEX_ROWS) or {}).get("days", [])}
    newest = max(ledger.newest, default=None)
    return {
        "pages": [
            {**page, **summary_of(folder / f"{page['day']}.json", previous.get(page["day"], {}))}
            for page in reversed(ledger_rows(ledger))
        ],
        "written": {file.stem for file in folder.glob("????-??-??.html")},
        "waiting": _waiting(ledger),
        "across": [table for one in answers(ACROSS_DAYS).values() if (table := _across(ledger, one, newest))],
    }


def _waiting(ledger: Ledger) -> str:
    waiting, _ = split_dismissed(waiting_days(ledger), dismissals(ledger.settings))
    return f"{waiting_text(waiting)}, at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC" if waiting else ""


def _of_day(ledger: Ledger, answer: Answer, newest: Revision) -> dict[str, Any]:
    """Return an answer of a day as a table."""
    day = newest.day
    if answer.names_players:
        return _table(answer, day, [], day, hidden=_count_rows(ledger.settings, answer.name, newest))
    return _table(answer, day, answer_rows(ledger, answer.name, day), day)


def _across(ledger: Ledger, answer: Answer, newest: date | None) -> dict[str, Any] | None:
    """Return an answer across days, up to the newest one; None if every published day is older than its input."""
    if newest is None:
        return None
    try:
        day = newest.isoformat()
        return _table(answer, day, answer_rows(ledger, answer.name, day), ACROSS_DAYS)
    except BadInput:
        return None


def _table(answer: Answer, day: str, rows: list[dict[str, Any]], folder: str, *, hidden: int = 0) -> dict[str, Any]:
    """Return what a page shows of an answer: its rows, their meaning, their origin and the file that has them."""
    columns = list(rows[0]) if rows else list(answer.columns)
    numbers = [
        name for name in columns if all(isinstance(row[name], int | float) for row in rows if row[name] is not None)
    ]
    return {
        "name": answer.name,
        "area": answer.area,
        "day": day,
        "question": answer.question,
        "grain": answer.grain,
        "columns": columns,
        "meanings": answer.columns,
        "numbers": numbers,
        "rows": rows,
        "hidden": hidden,
        "statement": answer.statement.strip(),
        "commands": _commands(answer, day, rows),
        "file": None if answer.names_players else f"{folder}/{answer.name}.csv",
    }


def _count_rows(settings: Settings, name: str, newest: Revision) -> int:
    table = load(settings, name)
    pinned = newest.snapshots.get(name)
    if table is None or pinned is None:
        return 0
    known = readable_snapshot(table, pinned)
    return table.scan(row_filter=f"event_date = '{newest.day}'", snapshot_id=known).count()


def _rejected(settings: Settings, newest: Revision) -> list[tuple[str, int]]:
    """Count the rejected records by reason, the most first, without reading the records themselves."""
    pinned = newest.snapshots.get(REJECTED_EVENTS)
    table = load(settings, REJECTED_EVENTS) if newest.rejected else None
    if table is None or pinned is None:
        return []
    rows = table.scan(
        row_filter=f"event_date = '{newest.day}'",
        selected_fields=("reason",),
        snapshot_id=readable_snapshot(table, pinned),
    ).to_arrow()
    counts = [(one["values"], one["counts"]) for one in rows["reason"].value_counts().to_pylist()]
    return sorted(counts, key=lambda one: (-one[1], one[0]))


def _commands(answer: Answer, day: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the commands that show the answer, and the events behind one of its rows."""
    commands = [f"daybook answer {answer.name} --day {day}"]
    if answer.area == ACROSS_DAYS:  # its rows have no events of their own to trace
        return commands
    for row in rows:
        key = {name: row[name] for name in answer.key}
        # not a row with a player's text that a terminal would display differently
        if not key or not all(str(value).isprintable() for value in key.values()):
            continue
        terms = [f"{name} IS NULL" if value is None else f"{name} = {_sql(value)}" for name, value in key.items()]
        return [*commands, f"daybook trace {answer.name} --day {day} --where {shlex.quote(' AND '.join(terms))}"]
    return commands if answer.key else [*commands, f"daybook trace {answer.name} --day {day}"]


def _sql(value: Any) -> str:
    """Return a value as a literal of Spark's SQL, which escapes a quote by a backslash; doubling it makes two texts."""
    quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return str(value) if isinstance(value, int | float) else f"'{quoted}'"


def summary_of(file: Path, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the overview shows of a day's own file.

    Args:
        file: the day's file; it may be missing.
        previous: the day's row in the previous overview, or an empty one. It is used if the file is still the same.

    Returns:
        ``coverage``: the share (0 to 1) of the day's events with a known provider; ``premise``: the drift in a word,
        and its distances; ``alarms``: their number; each of them is None if the file does not have it. ``made_from``
        identifies the file that was read: each replacement has another inode or time.
    """
    try:
        status = file.stat()
    except FileNotFoundError:
        return {"coverage": None, "premise": None, "alarms": None, "made_from": None}
    made_from = f"{status.st_ino}-{status.st_mtime_ns}"
    if previous.get("made_from") == made_from:
        return {name: previous[name] for name in ("coverage", "premise", "alarms", "made_from")}
    record = written_record(file) or {}
    premise, alarms = record.get("premise") or [], record.get("alarms")
    usage = record.get("answers", {}).get("provider_usage", {}).get("rows") or [{}]
    worst = ("deviates", "unclear", "too few days", "holds")
    return {
        "coverage": usage[0].get("coverage"),  # every row of a day has the same value
        "premise": {
            "verdict": min((one["verdict"] for one in premise), key=worst.index),
            "distances": ", ".join("–" if one["distance"] is None else f"{one['distance']:.3f}" for one in premise),
        }
        if premise
        else None,
        "alarms": len(alarms) if isinstance(alarms, list) else None,
        "made_from": made_from,
    }


def written_record(file: Path) -> dict[str, Any] | None:
    """Return a day's own file as it was written, None without one; empty if it cannot be read."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
