"""What ``daybook demo`` asks Airflow for; no stack is started."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.serialization.serialized_objects import DagSerialization

from daybook.airflow_client import AirflowApi
from daybook.cli.demo import _trigger
from daybook.settings import REPOSITORY, Settings

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


class Airflow:
    """Airflow's API, as far as a demo asks it."""

    def __init__(self, *, is_paused: bool) -> None:
        self.is_paused = is_paused
        self.asked: dict[str, Any] = {}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if method == "POST" and path.endswith("/dagRuns"):
            self.asked = body or {}
        return {"is_paused": self.is_paused}


def trigger(*, is_paused: bool, day: date) -> tuple[dict[str, Any], bool]:
    airflow = Airflow(is_paused=is_paused)
    _, switched_on = _trigger(cast(AirflowApi, airflow), day, 20, 1)
    return airflow.asked, switched_on


def test_the_first_demo_stands_for_yesterdays_run_and_names_its_interval() -> None:
    """Else Airflow infers the interval before, and the scheduler tries to create yesterday's run every second."""
    asked, switched_on = trigger(is_paused=True, day=YESTERDAY)
    start, end = f"{YESTERDAY}T00:00:00+00:00", f"{YESTERDAY + timedelta(days=1)}T00:00:00+00:00"
    assert (asked["logical_date"], asked["data_interval_start"], asked["data_interval_end"]) == (start, start, end)
    assert asked["conf"] == {"day": str(YESTERDAY), "events": 20, "seed": 1}
    assert switched_on


def test_after_the_first_demo_the_schedule_goes_on_with_the_day_after(own_settings: Settings) -> None:
    """By Airflow's own code: what its API makes of the request, and its scheduler of the run."""
    dags = REPOSITORY / "dags"
    dag = DagSerialization.deserialize_dag(
        DagSerialization.serialize_dag(DagBag(dags, bundle_path=dags).dags["game_events_daily"])
    )
    asked, _ = trigger(is_paused=True, day=YESTERDAY)
    made = TriggerDAGRunPostBody(**asked).validate_context(dag)
    interval = made["data_interval"]
    run = SimpleNamespace(**made, run_type="manual", data_interval_start=interval.start, data_interval_end=interval.end)
    model = DagModel(dag_id="game_events_daily")  # type: ignore[no-untyped-call]  # Airflow's
    model.calculate_dagrun_date_fields(dag, reference_run=cast(DagRun, run))
    assert model.next_dagrun is not None
    assert model.next_dagrun.date() == YESTERDAY + timedelta(days=1)


@pytest.mark.parametrize(("is_paused", "day"), [(False, YESTERDAY), (True, date(2026, 5, 3))])
def test_a_demo_of_another_day_or_a_later_one_leaves_yesterdays_run_to_the_schedule(is_paused: bool, day: date) -> None:
    asked, switched_on = trigger(is_paused=is_paused, day=day)
    assert asked["logical_date"] is None
    assert "data_interval_start" not in asked
    assert switched_on is is_paused
