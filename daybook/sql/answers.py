"""Reads the header of each answer's ``.sql`` file, for Spark, the readers and the docs.

A file is a header of ``-- Key: value`` lines, then one statement. Its name is the answer's name, and the name of its
table in the lake; its folder is the area. Answers of the folder ``across_days`` have no table: they are computed from
the published days on request (:mod:`daybook.lake.across_days`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from daybook.errors import DaybookError
from daybook.sql.files import SQL_DIR, read_sql, statement_of

_HEADER = ("Question", "Grain", "Columns", "Key", "Order", "Run")
_COLUMN = re.compile(r" (?P<name>[a-z][a-z0-9_]*): (?P<meaning>.+)")


@dataclass(frozen=True)
class Balance:
    """The sum over the rows of a day, and the events that it must equal."""

    column: str
    """The column that is summed."""
    of: str | None
    """The day's events that it counts, as a condition in Spark SQL; None for all of them."""


@dataclass(frozen=True)
class Answer:
    """One question and its query."""

    name: str
    """Table name in the lake."""
    area: str
    """Its folder: ``user_behaviour``, ``host_providers`` or ``across_days``."""
    question: str
    """The reader's question, one sentence."""
    grain: str
    """The meaning of one row."""
    columns: dict[str, str]
    """Column -> its meaning, with its unit; without ``event_date`` for an answer of one day."""
    key: tuple[str, ...]
    """The columns that identify a row within a day; empty if a day has one row."""
    order: tuple[tuple[str, bool], ...]
    """Sort order for display, as (column, is descending)."""
    balance: Balance | None
    """The sum over a day's rows; None if the rows do not count events one by one."""
    events: str | None
    """Condition in Spark SQL for the ``events`` behind a row of the ``answer``; None if they are those with the values
    of the row's key."""
    days: int
    """Number of days that the answer covers, including the last one; always 1 outside ``across_days``."""
    text: str
    """Text of the file: header and statement, with ``:first_day`` and ``:last_day`` as bound parameters."""

    @cached_property
    def statement(self) -> str:
        """The SQL without the header."""
        return statement_of(self.text)

    @property
    def names_players(self) -> bool:
        """Whether its rows name players. If so, no report, no file next to it and no receipt shows them."""
        return "user_id" in self.columns


def read_answer(path: Path) -> Answer:
    """Parse the answer of one file.

    Raises:
        DaybookError: the header lacks a line, or a line is invalid; the text names file and line.
    """
    is_across = path.parent.name == ACROSS_DAYS
    header, text = read_sql(path, (*_HEADER, "Days" if is_across else "Balance"), "event_popularity.sql")
    columns = _columns(path, header["Columns"])
    key = () if header["Key"] == "none" else tuple(name.strip() for name in header["Key"].split(","))
    order = tuple(_order_term(term) for term in header["Order"].split(","))
    balance = None if is_across else _balance(header["Balance"])
    named = [*key, *(column for column, _ in order), *([balance.column] if balance else [])]
    if unknown := [name for name in dict.fromkeys(named) if name not in columns]:
        raise DaybookError(
            f"{path.name}: Key, Order and Balance name {', '.join(unknown)}; -- Columns: has {', '.join(columns)}"
        )
    if is_across and not header["Days"].isdecimal():
        raise DaybookError(
            f"{path.name}: -- Days: is {header['Days']!r}; write the number of days that it covers, as 28"
        )
    return Answer(
        name=path.stem,
        area=path.parent.name,
        question=_joined(header["Question"]),
        grain=_joined(header["Grain"]),
        columns=columns,
        key=key,
        order=order,
        balance=balance,
        events=_joined(header["Events"]) if "Events" in header else None,
        days=int(header["Days"]) if is_across else 1,
        text=text,
    )


def answers(area: str | None = None) -> dict[str, Answer]:
    """Return the answers by name: of one folder, or all answers of a single day."""
    return {name: read_answer(path) for name, path in answer_files(area).items()}


def all_answers() -> dict[str, Answer]:
    """Return the answers by name: those of a single day, then those across days."""
    return {**answers(), **answers(ACROSS_DAYS)}


def answers_version() -> str:
    """Return a digest of all files of a day's answers: a revision that was built with other SQL is stale."""
    digest = hashlib.sha256()
    for name, path in answer_files().items():
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _joined(text: str) -> str:
    return " ".join(text.split())


def _columns(path: Path, text: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if begins := _COLUMN.fullmatch(line):
            name = begins["name"]
            columns[name] = begins["meaning"]
        elif name:
            columns[name] += f" {line.strip()}"
        else:
            raise DaybookError(
                f"{path.name}: -- Columns: has {line.strip()!r}; write a line for each column, as `--   share: part of "
                "the day's events, 0 to 1`"
            )
    return columns


def _balance(text: str) -> Balance | None:
    if text == "none":
        return None
    column, _, condition = text.partition(" WHERE ")
    return Balance(column.strip(), condition.strip() or None)


def _order_term(term: str) -> tuple[str, bool]:
    column, _, direction = term.strip().partition(" ")
    return column, direction.strip().lower() == "desc"


AREAS: tuple[str, ...] = ("user_behaviour", "host_providers")
"""The two groups of a day's questions: folders of :data:`SQL_DIR`, and tasks of the DAG."""


ACROSS_DAYS = "across_days"
"""Folder of the questions that cover several days. Their answers are computed from the published days on request and
never stored, so neither a restated day nor a backfill in any order leaves them stale."""


def answer_files(area: str | None = None) -> dict[str, Path]:
    """Return name -> ``.sql`` file in alphabetical order: of one folder, or all answers of a single day."""
    areas = (area,) if area else AREAS
    return dict(sorted((path.stem, path) for name in areas for path in (SQL_DIR / name).glob("*.sql")))
