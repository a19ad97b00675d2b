"""Runs of the daily DAG, by their names and times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

DAG = "game_events_daily"
TRIGGER = f"airflow dags trigger {DAG}"
"""The command that starts a run of yesterday; ``-c`` and a JSON object ask for more."""


def seconds_of(step: dict[str, Any]) -> float:
    """How long a step has been running, or ran; a deferred wait counts."""
    if not step["start_date"]:
        return 0.0
    end = datetime.fromisoformat(step["end_date"]) if step["end_date"] else datetime.now(UTC)
    return (end - datetime.fromisoformat(step["start_date"])).total_seconds()
