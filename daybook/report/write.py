"""The report: one HTML file for each published day, and an index. Each file is self-contained and needs no server.

:mod:`daybook.report.content` reads the lake, :mod:`daybook.report.pages` makes the HTML.
Next to ``D.html`` are ``D.json``, which holds the page's content, and ``D/ANSWER.csv``. None of them contains rows of
answers whose rows name players.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from daybook.analysis.compare import TRAILING_DAYS
from daybook.files import write_private
from daybook.formatting import csv_text, json_tree
from daybook.lake.ledger import LEDGER_COUNTS, Ledger, ledger_state, read_ledger
from daybook.report.content import (
    INDEX_ROWS,
    day_content,
    looks_back_on,
    neighbours,
    overview_content,
    written_record,
)
from daybook.report.pages import day_page, index_page
from daybook.settings import Settings
from daybook.sql.answers import ACROSS_DAYS

INDEX = "index.html"


def write_report(settings: Settings, day: str, dates: Iterable[str] = ()) -> list[Path]:
    """Write the pages of a day and of the other days that its run restated, and the index of all published days.

    A page compares its day with the days before it, and links to the days next to it. So the pages of other days that
    these days changed are written too (:func:`_outdated`).

    Each page's rows are written as JSON and CSV before the page itself, so that its links always find the files. Each
    file replaces its previous version in one step: a reader never sees a half-written one.

    Args:
        settings: where the lake is, and the folder of the reports.
        day: the run's day, ``YYYY-MM-DD``.
        dates: other days to write again.

    Returns:
        The pages of these days, the index last.

    Raises:
        BadInput: a day is not published.
    """
    return _write_pages(settings, {day, *dates})


def write_report_of_run(settings: Settings, day: str, dates: Iterable[str]) -> list[Path]:
    """Write what a run changed, like :func:`write_report`, but leave out its own day if that is not published.

    A run can restate other days even if no event of its own day was received.
    """
    published = {one.day for one in read_ledger(settings).newest.values()}
    return _write_pages(settings, {*dates, *({day} & published)})


def _write_pages(settings: Settings, days: Collection[str]) -> list[Path]:
    """Write the pages of the days, those of other days that these changed, and the index."""
    ledger = read_ledger(settings)
    written = []
    for one in sorted(days):
        file, ledger = _up_to_date(ledger, partial(_write_day, day=one))
        written.append(file)
    for one in _outdated(ledger, days):
        _, ledger = _up_to_date(ledger, partial(_write_day, day=one))
    file, _ = _up_to_date(ledger, _write_overview)
    return [*written, file]


def _up_to_date(ledger: Ledger, write: Callable[[Ledger], Path]) -> tuple[Path, Ledger]:
    """Write a file, and write it again if a day was published meanwhile; returns it and the ledger it was made from.

    Two runs of a backfill may write the same page at once. The one that writes last may have read the lake first.
    """
    while True:
        file = write(ledger)
        if ledger_state(ledger.settings) == ledger.state:
            return file, ledger
        ledger = read_ledger(ledger.settings)


def _write_day(ledger: Ledger, day: str) -> Path:
    folder = ledger.settings.reports_dir
    content = day_content(ledger, day)
    _write_files(folder / day, content["answers"])
    write_private(folder / f"{day}.json", json.dumps(day_record(content), ensure_ascii=False, indent=1) + "\n")
    return write_private(folder / f"{day}.html", day_page(content))


def _write_overview(ledger: Ledger) -> Path:
    folder = ledger.settings.reports_dir
    overview = overview_content(ledger)
    _write_files(folder / ACROSS_DAYS, overview["across"])
    write_private(folder / INDEX_ROWS, json.dumps(overview_record(overview), ensure_ascii=False, indent=1) + "\n")
    return write_private(folder / INDEX, index_page(overview))


def _outdated(ledger: Ledger, changed: Collection[str]) -> list[str]:
    """Return days whose pages are outdated by these changed days: those that look back on one, and their neighbours.

    At most :data:`daybook.analysis.compare.TRAILING_DAYS` days after each changed day, and one before it. A page is
    left alone if its file was made from what is published now. A day without a file is left to its own run.
    """
    revisions = {one.day: one.revision for one in ledger.newest.values()}
    near = {
        (date.fromisoformat(one) + timedelta(days=days)).isoformat()
        for one in changed
        for days in range(1, TRAILING_DAYS + 1)
    } | {before for one in changed if (before := neighbours(revisions, one)["before"])}
    return [
        one
        for one in sorted((near & revisions.keys()) - {*changed})
        if (record := written_record(ledger.settings.reports_dir / f"{one}.json")) is not None
        and (record.get("looks_back_on"), record.get("neighbours"))
        != (looks_back_on(revisions, one), neighbours(revisions, one))
    ]


def day_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a day's page for programs. Keys may be added, but never renamed or removed."""
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
    """Return the overview's content for programs: ``days``, the newest first, and the answers ``across`` days."""
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


def _write_files(folder: Path, tables: Iterable[Mapping[str, Any]]) -> None:
    """Write the answers as CSV; delete files of answers that the page no longer has, or no longer shows.

    The files of a day have it as their first column, so that those of several days can be put together.
    """
    files = {folder.parent / table["file"]: table for table in tables if table["file"]}
    for file, table in files.items():
        # without a byte order mark Excel assumes Latin-1
        columns, rows = table["columns"], table["rows"]
        if table["area"] != ACROSS_DAYS:
            columns, rows = ["day", *columns], [{"day": table["day"], **row} for row in rows]
        write_private(file, "\ufeff" + csv_text(columns, rows, for_spreadsheets=True))
    for old in folder.glob("*.csv"):
        if old not in files:
            old.unlink(missing_ok=True)
