"""The answers: what stands in the header of each ``.sql`` file, read for Spark, the readers and the docs.

A file is a header of ``-- Key: value`` lines, then one statement. Its name is the table's name, its folder the area.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from daybook.lake_names import SQL_DIR, answer_files
from daybook.sql_files import read_sql


@dataclass(frozen=True)
class Answer:
    """One question and how it is answered."""

    name: str
    """Table name in the lake."""
    area: str
    """``user_behaviour`` or ``host_providers``."""
    question: str
    """What the reader asks, a sentence."""
    grain: str
    """What one row stands for."""
    key: tuple[str, ...]
    """The columns that tell the rows of a day apart; none if a day has one row."""
    order: tuple[tuple[str, bool], ...]
    """Sort order of the rows for people, as (column, is descending)."""
    balance: str | None
    """The column whose sum over a day must be the day's events; none where rows do not add up to events."""
    statement: str
    """The SQL, with ``:first_day`` and ``:last_day`` as bound parameters."""


def read_answer(path: Path) -> Answer:
    """The answer of one file.

    Raises:
        DaybookError: the header lacks a line; the text names file and line.
    """
    header, text = read_sql(path, ("Question", "Grain", "Key", "Order", "Balance", "Run"), "event_popularity.sql")
    return Answer(
        name=path.stem,
        area=path.parent.name,
        question=header["Question"],
        grain=header["Grain"],
        key=() if header["Key"] == "none" else tuple(name.strip() for name in header["Key"].split(",")),
        order=tuple(_order_term(term) for term in header["Order"].split(",")),
        balance=None if header["Balance"] == "none" else header["Balance"],
        statement=text,
    )


def answers(area: str | None = None, root: Path = SQL_DIR) -> dict[str, Answer]:
    """The answers by name, of one area or of all."""
    return {name: read_answer(path) for name, path in answer_files(area, root).items()}


def answers_version(root: Path = SQL_DIR) -> str:
    """Digest of all answers' files: a page built with other SQL is not the same page."""
    digest = hashlib.sha256()
    for name, path in answer_files(root=root).items():
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _order_term(term: str) -> tuple[str, bool]:
    column, _, direction = term.strip().partition(" ")
    return column, direction.strip().lower() == "desc"
