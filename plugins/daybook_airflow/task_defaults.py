"""What every task of Daybook's DAGs has in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

TASK_DEFAULTS: dict[str, Any] = {
    "owner": "data-engineering",
    # Each task may be repeated at any time. Airflow's API can be away for a minute after a restart, and a task that
    # cannot reach it for ten seconds is lost: with one retry a day failed whose API was killed twice in three minutes
    # (table of faults). What would fail the same way again (NeedsDecision) is not tried again.
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
}
