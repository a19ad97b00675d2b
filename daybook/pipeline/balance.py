"""The ledger: the counts that must balance before a day is published, and the row that records them.

Pure arithmetic over counts: ``daybook_spark`` counts, and :mod:`daybook.lake.catalog` reads.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daybook.lake.ledger import Revision


@dataclass(frozen=True)
class Line:
    """Two counts that must be equal."""

    line: str
    """Description of the two counts that are compared."""
    left: int
    right: int

    @property
    def ok(self) -> bool:
        """Whether the line balances."""
        return self.left == self.right


@dataclass(frozen=True)
class Play:
    """The generator's own counts for its day."""

    sent: int
    accepted: int
    refused: int
    repeated: int
    """Repeated acknowledgements of the same id: the generator sent the event again."""
    accepted_ids: int
    """Ids with at least one acknowledgement."""
    accepted_ids_landed: int
    """Acknowledged ids that are in ``raw_events``."""
    erased_ids: int = 0
    """Acknowledged ids that are not there because they were erased on a player's request."""


@dataclass(frozen=True)
class AnswerSum:
    """The sum over an answer's rows of a day, and the number of events it should equal."""

    events: int
    """Rows of the table ``events``: all rows of the day, or those of one kind."""
    total: int
    """Sum of the answer's balancing column."""
    of: str | None = None
    """The kind, as an SQL condition; None for all events of the day."""


@dataclass(frozen=True)
class DayCounts:
    """The counts of one published day. Each is counted separately and never derived from another."""

    day: date | None
    """The day, or None for the records without a day."""
    landed: int
    events: int
    duplicates: int
    rejected: int
    late: int
    answer_sums: dict[str, AnswerSum] = field(default_factory=dict)
    """Answer -> its sum, for the answers that count events one by one."""
    play: Play | None = None


@dataclass(frozen=True)
class LandedRange:
    """The offsets that a run landed from one partition."""

    partition: int
    start: int
    end: int
    records: int
    gaps: int = 0
    """Offsets for which the broker has no committed record (transaction markers, aborted records), counted by a
    separate reader."""
    landing: int = 0
    """Number of the landing; 0 if an older version landed it."""


def balance(counts: DayCounts, landed: list[LandedRange]) -> list[Line]:
    """Return the lines that must hold before the day is published.

    Args:
        counts: the counts of the day.
        landed: the range that the run landed from each partition; empty if an earlier run had landed everything.

    Returns:
        The lines in the order in which a record travels: sender, Kafka, raw, events, answers.
    """
    lines = []
    play = counts.play
    if play is not None:
        lines.append(Line("sent by the generator = accepted + refused", play.sent, play.accepted + play.refused))
        acknowledged = play.accepted_ids + play.repeated
        lines.append(Line("acknowledged ids of the generator + repeated = accepted", acknowledged, play.accepted))
        found = "acknowledged ids found in raw_events" + (" + erased" if play.erased_ids else "")
        lines.append(Line(found, play.accepted_ids_landed + play.erased_ids, play.accepted_ids))
    lines += [
        Line(f"Kafka offsets {part.start} to {part.end} of partition {part.partition} = raw records landed + gaps",
             part.end - part.start, part.records + part.gaps)
        for part in landed
    ]  # fmt: skip
    lines.append(
        Line(
            "raw records of the day = events + duplicates + rejected",
            counts.landed,
            counts.events + counts.duplicates + counts.rejected,
        )
    )
    lines += [
        Line(f"events of the day{f' where {one.of}' if one.of else ''} = sum over {name}", one.events, one.total)
        for name, one in sorted(counts.answer_sums.items())
    ]
    return lines


@dataclass(frozen=True)
class RowChange:
    """One row of an answer, before and after."""

    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True)
class AnswerChange:
    """The changes that a revision made to one answer."""

    added: int
    removed: int
    changed: int
    """Number of rows."""
    rows: list[RowChange]
    """The rows with the largest changes, largest first."""


def changes_json(changes: dict[str, AnswerChange]) -> str:
    """Return the changes in the form that the ledger stores."""
    return json.dumps({name: asdict(change) for name, change in changes.items()}, ensure_ascii=False)


def lines_json(lines: list[Line]) -> str:
    """Return the lines as the ledger stores them: a JSON list of objects with line, left, right, ok."""
    return json.dumps([{**asdict(line), "ok": line.ok} for line in lines], ensure_ascii=False)


def unbalanced_text(day: date | None, lines: list[Line]) -> str:
    """Describe the lines of a day that do not hold, and by how much; empty if all hold."""
    wrong = [
        f"{line.line}: {line.left:,} against {line.right:,} ({line.left - line.right:+,d})"
        for line in lines
        if not line.ok
    ]
    return f"{day_name(day)} does not balance: {'; '.join(wrong)}" if wrong else ""


def receipt(
    counts: DayCounts,
    revision: int,
    previous: DayCounts | Revision | None,
    changed: dict[str, AnswerChange] | None = None,
) -> str:
    """Return one sentence about the changes of a revision.

    Args:
        counts: the counts of the day.
        revision: number of the revision.
        previous: the previous revision; None for the first. Its counts of events, duplicates, rejected and late.
        changed: the changes in the answers.

    >>> day = DayCounts(date(2026, 5, 3), landed=12, events=11, duplicates=1, rejected=0, late=0)
    >>> receipt(day, 1, None)
    '2026-05-03 r1: 11 events, 1 duplicates, 0 rejected'
    >>> receipt(DayCounts(date(2026, 5, 3), landed=20000, events=20000, duplicates=0, rejected=0, late=0), 1, None)
    '2026-05-03 r1: 20,000 events, 0 duplicates, 0 rejected'
    >>> from dataclasses import replace
    >>> receipt(day, 2, replace(day, events=10))
    '2026-05-03 r2: +1 events'
    >>> receipt(day, 3, day)
    '2026-05-03 r3: the same counts'
    """
    head = f"{day_name(counts.day)} r{revision}"
    if previous is None:
        return f"{head}: {counts.events:,} events, {counts.duplicates:,} duplicates, {counts.rejected:,} rejected"
    changes = [
        f"{getattr(counts, name) - getattr(previous, name):+,d} {name}"
        for name in ("events", "duplicates", "rejected", "late")
        if getattr(counts, name) != getattr(previous, name)
    ]
    parts = [", ".join(changes) or "the same counts"]
    if changed:
        parts.append(f"{len(changed)} answer{'s' if len(changed) > 1 else ''} changed")
    if move := _rank_move(changed or {}):
        parts.append(move)
    return f"{head}: {'; '.join(parts)}"


def _rank_move(changed: dict[str, AnswerChange]) -> str:
    """Describe the row that rose to the best rank."""
    risen = [
        (row.after["rank"], row.before["rank"], name, row)
        for name, change in sorted(changed.items())
        for row in change.rows
        if row.before and row.after and row.after.get("rank", 0) < row.before.get("rank", 0)
    ]
    if not risen:
        return ""
    now, was, name, row = min(risen, key=lambda one: one[0])
    shown = " ".join(str(value) for value in row.key.values() if value is not None)
    return f"{shown} now rank {now} (was {was}) in {name}"


def day_name(day: date | None) -> str:
    """Return the day as text; the group of records without a day has a name too."""
    return day.isoformat() if day else "records without a day"
