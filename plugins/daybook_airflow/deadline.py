"""The deadline for publishing a scheduled day, and the notification when it is missed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert

from daybook.settings import Settings, load_settings
from daybook_airflow.messages import send

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class EndOfScheduledDay(BaseDeadlineReference):
    """The end of a scheduled run's day.

    Other runs have no deadline: a backfill of last year would miss every one. Airflow's own reference, the logical
    date, does not distinguish them.
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import select

        found = session.execute(
            select(DagRun.run_type, DagRun.data_interval_end).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        ).one()
        return found.data_interval_end if found.run_type == "scheduled" else None


def published_by(chosen: Settings) -> DeadlineAlert | None:
    """Return the alert for a day that is not published ``DAYBOOK_PUBLISH_WITHIN_HOURS`` after its end.

    None under ``airflow dags test``: it has no schedule, and fails with a traceback if the DAG has a deadline
    (apache/airflow#73428).
    """
    if sys.argv[1:3] == ["dags", "test"]:
        return None
    return DeadlineAlert(
        name="published",
        reference=EndOfScheduledDay(),
        interval=timedelta(hours=chosen.publish_within_hours),
        callback=AsyncCallback(notify_late),
    )


async def notify_late(context: Mapping[str, Any]) -> None:
    """Report that the scheduled day is late, unless another run has published it; runs in the triggerer.

    Args:
        context: Airflow's context for deadline callbacks: ``dag_run`` in the form of its API, ``deadline``.
    """
    run = context["dag_run"]
    day = datetime.fromisoformat(run["data_interval_start"]).astimezone(UTC).date()
    log = structlog.get_logger(__name__).bind(day=day.isoformat(), run_id=run["dag_run_id"])
    # reading the lake and sending block: a thread keeps the triggerer's other waits running
    unread = None
    try:
        if await asyncio.to_thread(_is_published, day):
            log.info(f"{day} is late in run {run['dag_run_id']}, but another run has published it")
            return
    except Exception as error:  # catch everything: an unreadable lake is the likeliest reason for a late day
        unread = " ".join(str(error).split()) or type(error).__name__
    text = late_text(day, run, unread)
    await asyncio.to_thread(send, text)
    log.error(text)


def late_text(day: date, run: Mapping[str, Any], unread: str | None = None) -> str:
    """Return one line: which day, what is safe, where to look.

    Args:
        day: the day.
        run: its run.
        unread: why the lake could not be read, if that failed: another run may have published the day.
    """
    airflow_url = conf.get("api", "base_url", fallback=load_settings().airflow_url).rstrip("/")
    if unread:
        return (
            f"{day}: the lake cannot be read ({unread}), so it is unknown whether the day is published "
            f"{load_settings().publish_within_hours} hours after its end; run {run['dag_run_id']} is {run['state']}. "
            f"No accepted event is lost. Check `daybook status`, then the run's first unfinished task: "
            f"{airflow_url}/dags/{run['dag_id']}/runs/{run['dag_run_id']}"
        )
    return (
        f"{day} is not published {load_settings().publish_within_hours} hours after its end: run {run['dag_run_id']} "
        f"is {run['state']}. Readers see the earlier days, and no accepted event is lost. Check the run's first "
        f"unfinished task: {airflow_url}/dags/{run['dag_id']}/runs/{run['dag_run_id']}"
    )


def _is_published(day: date) -> bool:
    from daybook.lake.ledger import read_ledger

    return day in read_ledger(load_settings()).newest
