"""Erased players: the remaining record of each erasure, without a name (``daybook forget-user``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from daybook.lake.catalog import load
from daybook.lake.tables import ERASURES
from daybook.settings import Settings


def user_digest(user_id: str) -> str:
    """Return the digest that identifies a player in ``erasures``."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def erasures(settings: Settings) -> list[dict[str, Any]]:
    """Return every erasure, oldest first, with the columns of the table; ``days`` is a list."""
    table = load(settings, ERASURES)
    rows: list[dict[str, Any]] = table.scan().to_arrow().to_pylist() if table is not None else []
    return [{**row, "days": json.loads(row["days"])} for row in sorted(rows, key=lambda row: row["erased_at"])]


def erased_since(done: Sequence[Mapping[str, Any]], day: date, moment: datetime) -> int:
    """Count the raw records of a day that were erased after a moment; ``done`` comes from :func:`erasures`."""
    return sum(
        one["records"]
        for row in done
        if row["erased_at"] > moment
        for one in row["days"]
        if one["day"] == day.isoformat()
    )
