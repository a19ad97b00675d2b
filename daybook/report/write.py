"""The report: one HTML file for each published day, and an index of them. Each file stands alone and asks no server.

:func:`day_content` reads the lake, all of it that a page needs; what is drawn, said and written from it reads nothing.
Beside ``D.html`` lie ``D.json``, which holds what the page says, and ``D/ANSWER.csv``. Of answers whose rows name
players none of them holds a row.
"""

from __future__ import annotations

import json
import shlex
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybook.analysis.compare import TRAILING_DAYS, compare
from daybook.errors import BadInput
from daybook.files import write_private
from daybook.formatting import csv_text, escaped, json_tree, json_value
from daybook.lake.answers import answer_rows, coverage_of_days
from daybook.lake.catalog import load
from daybook.lake.ledger import LEDGER_COUNTS, ledger_rows, ledger_state, other_days, page_of
from daybook.lake.receipts import receipts_of, row_text
from daybook.lake.snapshots import page_state
from daybook.lake.tables import REJECTED_EVENTS
from daybook.pipeline.dismissals import dismissals, split_dismissed
from daybook.pipeline.due import waiting_days, waiting_text
from daybook.report import charts
from daybook.settings import Settings
from daybook.sql.answers import ACROSS_DAYS, Answer, answers
from daybook.sql.checks import checks

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FIRST_ANSWERS: tuple[str, ...] = ("event_popularity", "provider_usage", "provider_event_popularity")
"""What the page is opened for; the other answers follow by name."""
SHOWN_ROWS = 20
"""How many rows of an answer stand open on a page."""
KEPT_ROWS = 200
"""How many rows of an answer a page holds at all; its CSV and the day's JSON have every one."""

COUNT_MEANINGS = {
    "sent": "by the event generator for this day",
    "refused": "by the intake, with the reason to the sender; they never reached Kafka",
    "accepted": "acknowledged to the sender: in Kafka",
    "other_days": "late ones of the accepted, which count on the day they happened; less what others sent of this day",
    "landed": "raw records of this day in the lake",
    "duplicates": "of the landed: repeats of an event, with the same id and content",
    "rejected": "of the landed: no event, kept with a reason",
    "events": "what every answer counts",
    "late": "of the events: came after the day's first page was built",
}
"""What each count is, for the page; docs/glossary.md has them too."""
OVERVIEW_COUNTS: tuple[str, ...] = ("sent", "accepted", "landed", "events", "duplicates", "rejected", "late")
"""The ledger's counts that the overview has room for."""

INDEX, INDEX_ROWS = "index.html", "index.json"


def write_report(settings: Settings, day: str, dates: Iterable[str] = ()) -> list[Path]:
    """Write the pages of a day and of the other days that its run restated, and the index of all published days.

    A page compares its day with the days before it, and links to the days next to it. So the pages of other days that
    these days changed are written too (:func:`_outdated`).

    Beside each page its rows are written as JSON and CSV, before the page itself: who follows a page's link finds the
    file. Each file replaces its former self in one step: a reader never sees half of one.

    Args:
        settings: where the lake is, and the folder of the reports.
        day: the run's day, ``YYYY-MM-DD``.
        dates: other days to write anew.

    Returns:
        The pages of these days, the index last.

    Raises:
        BadInput: a day is not published.
    """
    return _write_pages(settings, {day, *dates})


def write_report_of_run(settings: Settings, day: str, dates: Iterable[str]) -> list[Path]:
    """Write what a run changed: as :func:`write_report`, but its own day may have no page, and is left out then.

    A run can restate other days though no event of its own day was received.
    """
    published = {row["day"] for row in ledger_rows(settings)}
    return _write_pages(settings, {*dates, *({day} & published)})


def _write_pages(settings: Settings, days: Collection[str]) -> list[Path]:
    """The pages of the days, those of other days that these changed, and the index."""
    written = [_up_to_date(settings, partial(_write_day, settings, one)) for one in sorted(days)]
    for one in _outdated(settings, days):
        _up_to_date(settings, partial(_write_day, settings, one))
    written.append(_up_to_date(settings, partial(_write_overview, settings)))
    return written


def _up_to_date(settings: Settings, write: Callable[[], Path]) -> Path:
    """Write a file, and write it again if a day was published meanwhile.

    Two runs of a backfill may write the same page at once. The one that writes last may have read the lake first.
    """
    while True:
        state = ledger_state(settings)
        file = write()
        if ledger_state(settings) == state:
            return file


def _write_day(settings: Settings, day: str) -> Path:
    folder = settings.reports_dir
    content = day_content(settings, day)
    _write_files(folder / day, content["answers"])
    write_private(folder / f"{day}.json", json.dumps(day_record(content), ensure_ascii=False, indent=1) + "\n")
    return write_private(folder / f"{day}.html", day_page(content))


def _write_overview(settings: Settings) -> Path:
    folder = settings.reports_dir
    overview = overview_content(settings)
    _write_files(folder / ACROSS_DAYS, overview["across"])
    write_private(folder / INDEX_ROWS, json.dumps(overview_record(overview), ensure_ascii=False, indent=1) + "\n")
    return write_private(folder / INDEX, index_page(overview))


def _outdated(settings: Settings, changed: Collection[str]) -> list[str]:
    """Days whose pages say something else since these days changed: those that look back on one, and their neighbours.

    At most :data:`daybook.analysis.compare.TRAILING_DAYS` days after each changed day, and one before it. A page is
    left alone if its file was made from what is published now. A day without a file is left to its own run.
    """
    revisions = {row["day"]: row["revision"] for row in ledger_rows(settings)}
    near = {
        (date.fromisoformat(one) + timedelta(days=days)).isoformat()
        for one in changed
        for days in range(1, TRAILING_DAYS + 1)
    } | {before for one in changed if (before := neighbours(revisions, one)["before"])}
    return [
        one
        for one in sorted((near & revisions.keys()) - {*changed})
        if (record := _record(settings.reports_dir / f"{one}.json")) is not None
        and (record.get("looks_back_on"), record.get("neighbours"))
        != (looks_back_on(revisions, one), neighbours(revisions, one))
    ]


def looks_back_on(revisions: Mapping[str, int], day: str) -> dict[str, int]:
    """The published days that a day is compared with, and the revision of each."""
    first = (date.fromisoformat(day) - timedelta(days=TRAILING_DAYS)).isoformat()
    return {one: revisions[one] for one in sorted(revisions) if first <= one < day}


def neighbours(days: Iterable[str], day: str) -> dict[str, str | None]:
    """The nearest published days ``before`` and ``after`` a day."""
    known = sorted(days)
    at = bisect_left(known, day)
    after = known[at + 1 :] if day in known[at : at + 1] else known[at:]
    return {"before": known[at - 1] if at else None, "after": next(iter(after), None)}


def _record(file: Path) -> dict[str, Any] | None:
    """A day's own file as it was written, None without one; empty if it cannot be read."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def day_content(settings: Settings, day: str) -> dict[str, Any]:
    """All that a day's page is made of, as read from the lake.

    Returns:
        ``page`` (the ledger row), ``answers`` (tables), ``lines``, ``changes``, ``warnings``, ``offsets``, ``receipts``
        (of all revisions), ``rejected`` ((reason, count) pairs, the most first), ``events_of_days`` (day -> events),
        ``looks_back_on`` (day -> revision of the days compared with), ``neighbours`` (the nearest published days
        ``before`` and ``after``), ``premise`` (two of ``daybook.analysis.drift.Premise``), ``alarms``
        (``daybook.analysis.drops.Drop``, or a sentence why none can be told), ``alarms_say`` (what the alarm says in a
        sentence), ``total`` (``daybook.analysis.drops.Total``, or None) and ``comparisons``
        (``daybook.analysis.comparisons.Comparison``).

    Raises:
        BadInput: the day is not published.
    """
    page = {str(name): json_value(cell) for name, cell in page_of(settings, day).items()}
    page["other_days"] = other_days(page)
    starts, ends = json.loads(page["range_start"]), json.loads(page["range_end"])
    known, all_checks = answers(), checks()
    names = [name for name in FIRST_ANSWERS if name in known] + [name for name in known if name not in FIRST_ANSWERS]
    changes = json.loads(page["changes"])
    beside = compare(settings, day)
    events_of_days = {row["day"]: row["events"] for row in ledger_rows(settings)}
    revisions = {row["day"]: row["revision"] for row in ledger_rows(settings)}
    return {
        "page": page,
        # an answer added since the page was built is not part of it; of a day without events none has rows
        "answers": [
            _of_day(settings, known[name], page) for name in names if name in page["snapshots"] or page["events"] == 0
        ],
        "lines": json.loads(page["lines"]),
        "changes": {
            name: {**change, "rows": [] if name in known and known[name].names_players else change["rows"]}
            for name, change in changes.items()
        },
        "warnings": [
            {**found, "meaning": check.meaning if (check := all_checks.get(found["check"])) else ""}
            for found in json.loads(page["checks"])
        ],
        "offsets": [{"partition": int(at), "start": starts[at], "end": ends[at]} for at in sorted(ends, key=int)],
        "receipts": [
            {name: one[name] for name in ("revision", "published_at", "receipt")} for one in receipts_of(settings, day)
        ],
        "rejected": _rejected(settings, page),
        "events_of_days": events_of_days,
        "looks_back_on": looks_back_on(revisions, day),
        "neighbours": neighbours(revisions, day),
        "premise": list(beside.premises),
        "alarms": list(beside.drops.drops) if beside.drops.judged else beside.drops.sentence,
        "alarms_say": beside.drops.sentence,
        "total": beside.drops.total,
        "comparisons": list(beside.measures),
    }


def overview_content(settings: Settings) -> dict[str, Any]:
    """All that the overview is made of: the ledger and the coverage from the lake, verdicts from the days' own files.

    Returns:
        ``pages``, the newest day first, ``written``, the days that have a file, ``across``: tables of the answers
        across days up to the newest day, none of an answer that the pages are older than, and ``waiting``: the days
        with records that no page shows, in words, and the moment of that.
    """
    folder = settings.reports_dir
    coverage = coverage_of_days(settings)
    newest = max((page["day"] for page in ledger_rows(settings)), default=None)
    return {
        "pages": [
            {**page, "coverage": coverage.get(page["day"]), **_verdicts(folder / f"{page['day']}.json")}
            for page in reversed(ledger_rows(settings))
        ],
        "written": {file.stem for file in folder.glob("????-??-??.html")},
        "waiting": _waiting(settings),
        "across": [table for one in answers(ACROSS_DAYS).values() if (table := _across(settings, one, newest))],
    }


def _waiting(settings: Settings) -> str:
    waiting, _ = split_dismissed(waiting_days(settings), dismissals(settings))
    return f"{waiting_text(waiting)}, at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC" if waiting else ""


def day_page(content: Mapping[str, Any]) -> str:
    """The page of a day as HTML."""
    rows = {table["name"]: table["rows"] for table in content["answers"]}
    page = content["page"]
    usage = rows.get("provider_usage", [])
    return (
        _environment()
        .get_template("day.html.j2")
        .render(
            **content,
            counts=LEDGER_COUNTS,
            meanings=COUNT_MEANINGS,
            shown={table["name"] for table in content["answers"]},
            users_say=users_say(page["events"], rows),
            providers_say=providers_say(usage),
            pictures=_pictures(content, rows),
            coverage=next((row["coverage"] for row in usage), None),
            unknown=[row for row in usage if _is_bucket(row["provider"])],
        )
    )


def index_page(content: Mapping[str, Any]) -> str:
    """The overview as HTML."""
    pages = content["pages"]
    events = {page["day"]: page["events"] for page in pages}
    picture = charts.trend("events per day", events, max(events)) if events else ""
    return _environment().get_template("index.html.j2").render(**content, counts=OVERVIEW_COUNTS, picture=picture)


def day_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a day's page says, for programs. Keys are added to it, none is renamed or taken away."""
    page = content["page"]
    return {
        "day": page["event_date"],
        "revision": page["revision"],
        "published_at": page["published_at"],
        "balanced": page["balanced"],
        "counts": {name: page[name] for name in LEDGER_COUNTS},
        "ledger": content["lines"],
        "offsets": content["offsets"],
        "warnings": content["warnings"],
        "rejected": [{"reason": reason, "records": count} for reason, count in content["rejected"]],
        "receipts": content["receipts"],
        "changes": content["changes"],
        "premise": json_tree(content["premise"]),
        "alarms": json_tree(content["alarms"]),
        "total": json_tree(content["total"]),
        "comparisons": json_tree(content["comparisons"]),
        "looks_back_on": content["looks_back_on"],
        "neighbours": content["neighbours"],
        "answers": {table["name"]: _answer_record(table) for table in content["answers"]},
        "made": {name: page[name] for name in ("run_id", "provider_map_version", "answers_version", "raw_snapshot_id")},
    }


def overview_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the overview says, for programs: ``days``, the newest first, and the answers ``across`` days."""
    return {
        "days": content["pages"],
        "across": {table["name"]: {"last_day": table["day"], **_answer_record(table)} for table in content["across"]},
    }


def _answer_record(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "question": table["question"],
        "grain": table["grain"],
        "columns": table["meanings"],
        "rows": table["rows"],
        "rows_not_shown": table["hidden"],
    }


def users_say(events: int, rows: Mapping[str, list[dict[str, Any]]]) -> str:
    """What users do, in a few plain sentences made of the day's answers."""
    if not events:
        return "Nothing: the day is known to have no event."
    said = []
    if activity := rows.get("daily_activity"):
        [day] = activity
        kinds = [f"{_share(day['purchases'] / events)} purchases", f"{_share(day['guild_joins'] / events)} guild joins"]
        said.append(
            f"{_count(day['users'], 'player')} made {_count(events, 'event')}, {day['events_per_user']:.1f} each: "
            f"{kinds[0]} and {kinds[1]}."
        )
    else:
        said.append(f"{_count(events, 'event')}.")
    if popular := rows.get("event_popularity"):
        names = [charts.event_label(row["event_type"], row["item"]) for row in popular[:3]]
        named = [f"{name} ({_share(row['share'])})" for name, row in zip(names, popular, strict=False)]
        said.append(f"Most popular: {_listed(named)}.")
    if hours := rows.get("hourly_activity"):
        busiest = max(hours, key=lambda row: int(row["events"]))
        said.append(f"The busiest hour begins at {busiest['hour']:02d}:00 UTC ({_share(busiest['events'] / events)}).")
    return " ".join(said)


def providers_say(usage: Sequence[Mapping[str, Any]]) -> str:
    """Which providers users come from, in a few plain sentences."""
    if not usage:
        return "From none: the day has no event with a host."
    named = [row for row in usage if not _is_bucket(row["provider"])]
    if not named:
        return "No event's host belongs to a known provider."
    top = named[:3]
    said = [f"{row['provider']} ({_share(row['share'])})" for row in top]
    sentence = f"Most events come from {_listed(said)}"
    if len(named) > len(top) > 1:
        carried = _share(sum(row["share"] for row in top))
        sentence += f"; these {len(top)} of {len(named)} known providers carry {carried}"
    unknown = 1 - usage[0]["coverage"]
    return f"{sentence}. " + (
        f"Of {_share(unknown)} of the events the provider is not known." if unknown > 0 else "Every provider is known."
    )


def message_page(title: str, says: Iterable[str], commands: Mapping[str, str], links: Mapping[str, str]) -> str:
    """A page in the frame of the others that says why there is none, and how to go on.

    Args:
        title: what is the case, in a few words.
        says: more of it, and what readers see meanwhile; a paragraph each.
        commands: what it does -> a command to type.
        links: text -> name of another page.
    """
    return _environment().get_template("message.html.j2").render(title=title, says=says, commands=commands, links=links)


def _pictures(content: Mapping[str, Any], rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Markup]:
    """The charts of a day by name; empty where there is nothing to draw."""
    popular, usage = rows.get("event_popularity", []), rows.get("provider_usage", [])
    mix = rows.get("provider_event_popularity", [])
    # a head of a narrow column: the item alone, unless two types have one of that name
    kinds = {(row["event_type"], row["item"]) for row in mix}
    items = [item for _, item in kinds if item is not None]
    heads = {
        kind: kind[1] if kind[1] is not None and items.count(kind[1]) == 1 else charts.event_label(*kind)
        for kind in kinds
    }
    day = content["page"]["event_date"]
    return {
        "events": charts.ranked_bars(
            "events by kind",
            [charts.Bar(charts.event_label(row["event_type"], row["item"]), row["events"]) for row in popular],
        ),
        "hours": charts.hour_curve(
            "events by hour of the day, UTC", {row["hour"]: row["events"] for row in rows.get("hourly_activity", [])}
        ),
        "providers": charts.ranked_bars(
            "events by provider",
            [charts.Bar(row["provider"], row["events"], not _is_bucket(row["provider"])) for row in usage],
        ),
        "mix": charts.heat_map(
            "share of each provider's events by kind of event",
            {(row["provider"], heads[row["event_type"], row["item"]]): row["events"] for row in mix},
            [row["provider"] for row in usage],
            "providers",
        ),
        "trend": charts.trend("events per day", content["events_of_days"], day),
        "premise": charts.distances("distance from the days before", content["premise"]),
    }


def _of_day(settings: Settings, answer: Answer, page: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of a day as a table."""
    day = page["event_date"]
    if answer.names_players:
        return _table(answer, day, [], day, hidden=_count_rows(settings, answer.name, page))
    return _table(answer, day, answer_rows(settings, answer.name, day), day)


def _across(settings: Settings, answer: Answer, newest: str | None) -> dict[str, Any] | None:
    """An answer across days, up to the newest one; none if no page is as young as what it rests on."""
    if newest is None:
        return None
    try:
        return _table(answer, newest, answer_rows(settings, answer.name, newest), ACROSS_DAYS)
    except BadInput:
        return None


def _table(answer: Answer, day: str, rows: list[dict[str, Any]], folder: str, *, hidden: int = 0) -> dict[str, Any]:
    """What a page shows of an answer: its rows, what they mean, how they came about and the file that has them."""
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


def _count_rows(settings: Settings, name: str, page: Mapping[str, Any]) -> int:
    table = load(settings, name)
    pinned = page["snapshots"].get(name)
    if table is None or pinned is None:
        return 0
    known = page_state(table, pinned)
    return table.scan(row_filter=f"event_date = '{page['event_date']}'", snapshot_id=known).count()


def _rejected(settings: Settings, page: Mapping[str, Any]) -> list[tuple[str, int]]:
    """How many records were rejected for which reason, the most first; the records themselves are not read."""
    pinned = page["snapshots"].get(REJECTED_EVENTS)
    table = load(settings, REJECTED_EVENTS) if pinned and page["rejected"] else None
    if table is None:
        return []
    rows = table.scan(
        row_filter=f"event_date = '{page['event_date']}'",
        selected_fields=("reason",),
        snapshot_id=page_state(table, pinned),
    ).to_arrow()
    counts = [(one["values"], one["counts"]) for one in rows["reason"].value_counts().to_pylist()]
    return sorted(counts, key=lambda one: (-one[1], one[0]))


def _commands(answer: Answer, day: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to type to see the answer, and the events behind one of its rows."""
    told = [f"daybook answer {answer.name} --day {day}"]
    if answer.area == ACROSS_DAYS:  # no event stands behind one of its rows alone
        return told
    for row in rows:
        key = {name: row[name] for name in answer.key}
        # a row of players' making that a terminal would not show as it is is no example
        if not key or not all(str(value).isprintable() for value in key.values()):
            continue
        terms = [f"{name} IS NULL" if value is None else f"{name} = {_sql(value)}" for name, value in key.items()]
        return [*told, f"daybook trace {answer.name} --day {day} --where {shlex.quote(' AND '.join(terms))}"]
    return told if answer.key else [*told, f"daybook trace {answer.name} --day {day}"]


def _sql(value: Any) -> str:
    """A value as Spark's SQL writes it; it takes a backslash before a quote, two quotes are two texts to it."""
    quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return str(value) if isinstance(value, int | float) else f"'{quoted}'"


def _write_files(folder: Path, tables: Iterable[Mapping[str, Any]]) -> None:
    """The answers as CSV; files of answers that the page no longer has, or no longer shows, go.

    The files of a day have it as their first column, so that those of several days can be put together.
    """
    files = {folder.parent / table["file"]: table for table in tables if table["file"]}
    for file, table in files.items():
        # without a byte order mark Excel takes the file for Latin-1
        columns, rows = table["columns"], table["rows"]
        if table["area"] != ACROSS_DAYS:
            columns, rows = ["day", *columns], [{"day": table["day"], **row} for row in rows]
        write_private(file, "\ufeff" + csv_text(columns, rows, for_spreadsheets=True))
    for old in folder.glob("*.csv"):
        if old not in files:
            old.unlink(missing_ok=True)


def _verdicts(file: Path) -> dict[str, Any]:
    """A day's premise in a word, with its distances, and how many alarms it has, as its own file says; else None."""
    told = _record(file) or {}
    premise, alarms = told.get("premise") or [], told.get("alarms")
    worst = ("deviates", "unclear", "too few days", "holds")
    return {
        "premise": {
            "verdict": min((one["verdict"] for one in premise), key=worst.index),
            "distances": ", ".join("–" if one["distance"] is None else f"{one['distance']:.3f}" for one in premise),
        }
        if premise
        else None,
        "alarms": len(alarms) if isinstance(alarms, list) else None,
    }


def _is_bucket(provider: str) -> bool:
    """Whether it stands for hosts without a known provider."""
    return provider.startswith("(")


def _listed(said: Sequence[str]) -> str:
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _share(share: float) -> str:
    return f"{share:.1%}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # hosts, players and items come from the internet: everything is escaped unless it is markup made here
    environment = Environment(
        loader=PackageLoader("daybook.report"), autoescape=True, undefined=StrictUndefined, finalize=_without_commands
    )
    environment.globals |= {"shown_rows": SHOWN_ROWS, "kept_rows": KEPT_ROWS}
    environment.filters |= {
        "cell": _cell,
        "change": _change,
        "verdict": _verdict,
        "mix": _mix,
        "weekday": _weekday,
        "moment": _moment,
        "minute": _minute,
        "balanced": _balanced,
        "label": _label,
        "row_text": row_text,
    }
    return environment


def _without_commands(value: Any) -> Any:
    """What a template puts into the page: a mark that turns the text around it, or hides, is shown as an escape."""
    return escaped(value) if isinstance(value, str) else value


def _cell(value: Any, column: str) -> str:
    """A cell for people: thousands apart, shares in percent, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        # of a mean of thousands nobody reads the hundredths
        return f"{value:.1%}" if _is_share(column) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_share(column: str) -> bool:
    return column == "share" or column.endswith(("_share", "coverage"))


def _change(value: float, before: float) -> str:
    """By how much a count is above or below another, in words for a cell."""
    from daybook.analysis.comparisons import relative_change

    if value == before:
        return "the same"
    change = relative_change(value, before)
    return "from none" if change is None else f"{change:+.1%}"


def _mix(verdict: str) -> str:
    """A verdict on a mix, in a reader's words."""
    return {
        "holds": "as usual",
        "deviates": "different",
        "unclear": "not clear",
        "too few days": "too early to say",
    }.get(verdict, verdict)


def _verdict(verdict: str) -> str:
    """The class of a verdict's word."""
    return {"holds": "good", "deviates": "bad"}.get(verdict, "soft")


def _weekday(day: str) -> str:
    return f"{date.fromisoformat(day):%A}"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _balanced(is_balanced: bool) -> Markup:
    from markupsafe import Markup

    return Markup('<span class="good">Balanced</span>' if is_balanced else '<span class="bad">Does not balance</span>')


def _label(column: str) -> str:
    return column.replace("_", " ").capitalize()
