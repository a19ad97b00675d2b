"""The requests of ``daybook demo`` to Airflow; no stack is started."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.api_fastapi.core_api.datamodels.backfills import BackfillPostBody
from airflow.dag_processing.collection import _get_latest_runs_stmt
from airflow.dag_processing.dagbag import DagBag
from airflow.models.backfill import _get_info_list
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.serialization.serialized_objects import DagSerialization
from rich.console import Console

from daybook.airflow_client import AirflowApi, NoAnswer
from daybook.cli import runs
from daybook.cli.demo import _start
from daybook.cli.runs import follow
from daybook.settings import REPOSITORY, Settings

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


class Airflow:
    """The part of Airflow's API that a demo uses."""

    def __init__(self, *, is_paused: bool) -> None:
        self.is_paused = is_paused
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """The requests that started runs: path and body."""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if method == "POST":
            self.asked.append((path, body or {}))
        return {"is_paused": self.is_paused, "dag_runs": [{"dag_run_id": "of yesterday"}]}


def started(*, is_paused: bool, day: date) -> tuple[str, dict[str, Any], str, bool]:
    """The path and body of the only request that starts a run, the run's id, and whether the schedule resumed."""
    airflow = Airflow(is_paused=is_paused)
    run_id, switched_on = _start(cast(AirflowApi, airflow), day, 20, 1)
    [(path, body)] = airflow.asked
    return path, body, run_id, switched_on


def test_the_first_demo_is_yesterdays_run_as_a_backfill_of_one_day() -> None:
    path, body, run_id, switched_on = started(is_paused=True, day=YESTERDAY)
    assert (path, run_id, switched_on) == ("/backfills", "of yesterday", True)
    asked = BackfillPostBody(**body)
    assert asked.from_date == asked.to_date == datetime.combine(YESTERDAY, time(), UTC)
    assert asked.dag_run_conf == {"events": 20, "seed": 1}
    assert asked.reprocess_behavior == "completed", "the day may have a run from an earlier time"


def test_after_the_first_demo_the_schedule_continues_with_the_next_day(own_settings: Settings) -> None:
    """Uses Airflow's own code: the runs that its scheduler continues from, and the run after the last of them."""
    counted = str(_get_latest_runs_stmt("game_events_daily").compile(compile_kwargs={"literal_binds": True}))
    assert "'backfill'" in counted
    assert "'manual'" not in counted, "a triggered run would do as well"
    dags = REPOSITORY / "dags"
    dag = DagSerialization.deserialize_dag(
        DagSerialization.serialize_dag(DagBag(dags, bundle_path=dags).dags["game_events_daily"])
    )
    _, body, _, _ = started(is_paused=True, day=YESTERDAY)
    asked = BackfillPostBody(**body)
    [made] = _get_info_list(from_date=asked.from_date, to_date=asked.to_date, reverse=False, dag=dag)
    assert made.data_interval is not None
    run = SimpleNamespace(
        run_type="backfill",
        logical_date=made.logical_date,
        data_interval_start=made.data_interval.start,
        data_interval_end=made.data_interval.end,
        run_after=made.run_after,
        partition_key=None,
        partition_date=None,
    )
    model = DagModel(dag_id="game_events_daily")  # type: ignore[no-untyped-call]  # Airflow's
    model.calculate_dagrun_date_fields(dag, reference_run=cast(DagRun, run))
    assert model.next_dagrun is not None
    assert model.next_dagrun.date() == YESTERDAY + timedelta(days=1)


@pytest.mark.parametrize(("is_paused", "day"), [(False, YESTERDAY), (True, date(2026, 5, 3))])
def test_a_demo_of_another_day_or_a_later_one_leaves_yesterdays_run_to_the_schedule(is_paused: bool, day: date) -> None:
    path, body, run_id, switched_on = started(is_paused=is_paused, day=day)
    assert path == "/dags/game_events_daily/dagRuns"
    assert body == {
        "dag_run_id": run_id,
        "logical_date": None,
        "conf": {"day": str(day), "events": 20, "seed": 1},
    }
    assert switched_on is is_paused


class BusyAirflow:
    """A double of an Airflow that does not answer some calls, which a real one does only on an overloaded machine."""

    def __init__(self, *unanswered: int) -> None:
        self.calls = count(1)
        self.unanswered = unanswered

    def call(self, _method: str, path: str, _body: dict[str, Any] | None = None) -> dict[str, Any]:
        if next(self.calls) in self.unanswered:
            raise NoAnswer("Airflow does not answer at http://127.0.0.1:8080: timed out")
        step = {"task_id": "land_events", "state": "success", "start_date": None, "duration": 1.0}
        return {"task_instances": [step]} if path.endswith("/taskInstances") else {"state": "success"}


def test_a_run_is_followed_to_its_end_although_airflow_misses_some_calls() -> None:
    steps = follow(cast(AirflowApi, BusyAirflow(1, 3)), "run", Console(quiet=True))
    assert [step["state"] for step in steps] == ["success"]


def test_an_airflow_that_stays_unavailable_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LONGEST_SILENCE_SECONDS", 0)
    with pytest.raises(NoAnswer, match="does not answer"):
        follow(cast(AirflowApi, BusyAirflow(1)), "run", Console(quiet=True))
