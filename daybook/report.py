"""The report: one HTML file for each published day, and an index of them. Each file stands alone and asks no server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybook.answers import Answer, answers
from daybook.checks import checks
from daybook.lake import page_of
from daybook.reading import LEDGER_COUNTS, answer_rows, coverage_of_days, json_value, ledger_rows
from daybook.receipts import row_text
from daybook.settings import Settings

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FIRST_ANSWERS: tuple[str, ...] = ("event_popularity", "provider_usage", "provider_event_popularity")
"""What the page is opened for; the other answers follow by name."""

INDEX = "index.html"


def write_report(settings: Settings, day: str, dates: Iterable[str] = ()) -> list[Path]:
    """Write the pages of a day and of the other days that its run restated, and the index of all published days.

    Args:
        settings: where the lake is, and the folder of the reports.
        day: the run's day, ``YYYY-MM-DD``.
        dates: other days to write anew.

    Returns:
        The files, the index last. Each replaces its former self in one step: a reader never sees half a page.

    Raises:
        BadInput: a day is not published.
    """
    environment = _environment()
    folder = settings.reports_dir
    written = []
    for one in sorted({day, *dates}):
        html = environment.get_template("day.html.j2").render(_day_content(settings, one))
        written.append(_replace(folder / f"{one}.html", html))
    coverage = coverage_of_days(settings)
    pages = [{**page, "coverage": coverage.get(page["day"])} for page in reversed(ledger_rows(settings))]
    html = environment.get_template("index.html.j2").render(
        pages=pages, counts=LEDGER_COUNTS, written={file.stem for file in folder.glob("????-??-??.html")}
    )
    written.append(_replace(folder / INDEX, html))
    return written


def message_page(title: str, says: Iterable[str], commands: Mapping[str, str], links: Mapping[str, str]) -> str:
    """A page in the frame of the others that says why there is none, and how to go on.

    Args:
        title: what is the case, in a few words.
        says: more of it, and what readers see meanwhile; a paragraph each.
        commands: what it does -> a command to type.
        links: text -> name of another page.
    """
    return _environment().get_template("message.html.j2").render(title=title, says=says, commands=commands, links=links)


def _day_content(settings: Settings, day: str) -> dict[str, Any]:
    page = {str(name): json_value(cell) for name, cell in page_of(settings, day).items()}
    starts, ends = json.loads(page["range_start"]), json.loads(page["range_end"])
    known, all_checks = answers(), checks()
    names = [name for name in FIRST_ANSWERS if name in known] + [name for name in known if name not in FIRST_ANSWERS]
    return {
        "page": page,
        "counts": LEDGER_COUNTS,
        # an answer added since the page was built is not part of it; of a day without events none has rows
        "answers": [
            _table(settings, known[name], day) for name in names if name in page["snapshots"] or page["events"] == 0
        ],
        "lines": json.loads(page["lines"]),
        "changes": json.loads(page["changes"]),
        "warnings": [
            {**found, "meaning": check.meaning if (check := all_checks.get(found["check"])) else ""}
            for found in json.loads(page["checks"])
        ],
        "offsets": [{"partition": int(at), "start": starts[at], "end": ends[at]} for at in sorted(ends, key=int)],
    }


def _table(settings: Settings, answer: Answer, day: str) -> dict[str, Any]:
    rows = answer_rows(settings, answer.name, day)
    columns = list(rows[0]) if rows else []
    numbers = [
        name for name in columns if all(isinstance(row[name], int | float) for row in rows if row[name] is not None)
    ]
    return {
        "name": answer.name,
        "question": answer.question,
        "grain": answer.grain,
        "columns": columns,
        "numbers": numbers,
        "rows": rows,
    }


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # hosts, players and items come from the internet: everything is escaped unless it is markup made here
    environment = Environment(loader=PackageLoader("daybook"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "cell": _cell,
        "moment": _moment,
        "minute": _minute,
        "balanced": _balanced,
        "label": _label,
        "row_text": row_text,
    }
    return environment


def _cell(value: Any, column: str) -> str:
    """A cell for people: thousands apart, shares in percent, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.1%}" if column in ("share", "coverage") else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _balanced(is_balanced: bool) -> Markup:
    from markupsafe import Markup

    return Markup('<span class="good">Balanced</span>' if is_balanced else '<span class="bad">Does not balance</span>')


def _label(column: str) -> str:
    return column.replace("_", " ").capitalize()


def _replace(file: Path, text: str) -> Path:
    """Write a whole file beside its place, then move it there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # two runs may write the same day's page at once
    half = file.with_name(f".{file.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    return half.replace(file)
