"""The position: the Kafka offsets that the next landing starts from.

They are a property of the newest published snapshot of ``raw_events``, so data and offsets move in one commit. After a
loss that an operator accepted (:mod:`daybook.pipeline.losses`) the stored decision sets them. A decision is valid only
for the position at which it was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daybook.kafka.offsets import Offsets, parse_offsets
from daybook.lake.snapshots import property_of, published
from daybook.lake.tables import ACCEPTED_LOSSES
from daybook.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.table import Table

START, END = "daybook.kafka-start", "daybook.kafka-end"
"""Snapshot properties: JSON partition -> first offset of the range, and the one after its last."""
LANDING = "daybook.landing"
"""Snapshot property: number of the landing, from 1."""
TOPIC_ID = "daybook.kafka-topic-id"
LAST = "daybook.kafka-last"
"""Snapshot property: JSON partition -> digest of its last landed record (:func:`daybook.kafka.offsets.digests`).
Offsets alone cannot show that Kafka was restored from a copy and has since assigned them to other records."""


@dataclass(frozen=True)
class Position:
    """Where the next landing starts."""

    offsets: Offsets
    """Partition -> the offset after the last one landed; a partition that is not named starts at 0."""
    landing: int = 0
    """Number of the last landing; 0 before the first."""
    topic_id: str | None = None
    """The topic that the offsets belong to; None before the first landing."""
    last: dict[int, str] = field(default_factory=dict)
    """Partition -> digest of the record before the offset, if known."""


def position(settings: Settings, raw: Table | None) -> Position:
    """Return the position that the next landing starts from.

    Args:
        settings: where the lake is.
        raw: metadata of ``raw_events``.
    """
    last = next(
        (
            Position(
                parse_offsets(end),
                int(property_of(snapshot, LANDING) or 0),
                property_of(snapshot, TOPIC_ID),
                {int(at): digest for at, digest in json.loads(property_of(snapshot, LAST) or "{}").items()},
            )
            for snapshot in published(raw)
            if (end := property_of(snapshot, END))
        ),
        Position({}),
    )
    decisions = [row for row in accepted_losses(settings) if row["landing"] == last.landing]
    if not decisions:
        return last
    newest = max(decisions, key=lambda row: row["accepted_at"])
    return Position(parse_offsets(newest["resume_from"]), last.landing, newest["topic_id"])


def accepted_losses(settings: Settings) -> list[dict[str, Any]]:
    """Return every decision ever made, oldest first, with the columns of the table."""
    from daybook.lake.catalog import load

    table = load(settings, ACCEPTED_LOSSES)
    rows: list[dict[str, Any]] = table.scan().to_arrow().to_pylist() if table is not None else []
    return sorted(rows, key=lambda row: row["accepted_at"])
