"""The day rule for templates: ``{{ daybook_day(dag_run, params) }}`` and the macros that depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from daybook.contract import moment_text
from daybook.days import day_bounds, run_day
from daybook.settings import load_settings
from daybook_airflow.refused import RefusedRun


def daybook_day(dag_run: Any, params: Mapping[str, Any]) -> str:
    """Return the day that a run builds, ``YYYY-MM-DD``, UTC.

    Args:
        dag_run: the run from Airflow's context: ``run_type``, ``logical_date``, ``run_after``.
        params: the run's parameters; ``day`` is read.

    Raises:
        BadInput: the parameter is not a day.
    """
    day = run_day(
        # an enum whose members are strings: in a template it would render as the member's name
        run_type=getattr(dag_run.run_type, "value", dag_run.run_type),
        logical_date=dag_run.logical_date,
        run_after=dag_run.run_after,
        day_param=params.get("day"),
    )
    return day.isoformat()


def daybook_closed_at(dag_run: Any, params: Mapping[str, Any]) -> str:
    """Return when a live day is complete: its end plus ``DAYBOOK_DAY_GRACE_MINUTES``, RFC 3339 in UTC."""
    _, end = day_bounds(date.fromisoformat(daybook_day(dag_run, params)))
    return moment_text(end + timedelta(minutes=load_settings().day_grace_minutes))


def daybook_manifest(dag_run: Any, params: Mapping[str, Any]) -> str:
    """Return the path of the generator's manifest for the run's day; empty if the day was not generated."""
    from daybook.pipeline.manifest import manifest_path

    manifest = manifest_path(load_settings(), date.fromisoformat(daybook_day(dag_run, params)))
    return str(manifest) if manifest.exists() else ""


def daybook_result(ti: Any, task_id: str) -> Any:
    """Return the result of an earlier task of the run.

    Args:
        ti: the task instance from Airflow's context.
        task_id: the earlier task.

    Raises:
        RefusedRun: there is no result, for example because the task was marked as success without running.
    """
    result = ti.xcom_pull(task_ids=task_id)
    if result is None:
        raise RefusedRun(
            f"{task_id} left no result, probably because it was marked as success without running. Nothing was "
            f"changed; clear {task_id}: it runs again, and so do the tasks after it"
        )
    return result


MACROS = {
    "daybook_day": daybook_day,
    "daybook_closed_at": daybook_closed_at,
    "daybook_manifest": daybook_manifest,
    "daybook_result": daybook_result,
}
"""For a DAG's ``user_defined_macros``."""
