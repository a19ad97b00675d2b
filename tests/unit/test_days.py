"""The rule for a run's day, for each kind of Airflow run, through the macro that templates use."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRun, DagRunType

from daybook.errors import BadInput
from daybook.settings import Settings
from daybook_airflow.macros import daybook_closed_at, daybook_day, daybook_manifest


def dag_run(run_type: str, logical_date: str | None, run_after: str) -> DagRun:
    """A run as Airflow's server passes it to the task: the real model, whose run type is an enum."""
    fields: dict[str, Any] = dict.fromkeys(DagRun.model_fields)
    fields |= {
        "dag_id": "game_events_daily",
        "run_id": "run",
        "run_type": run_type,
        "state": "running",
        "logical_date": logical_date,
        "run_after": run_after,
        "consumed_asset_events": [],
    }
    return DagRun.model_validate(fields)


@pytest.mark.parametrize(
    ("run_type", "logical_date", "run_after", "day_param", "day"),
    [
        pytest.param("scheduled", "2026-05-03T00:00:00Z", "2026-05-04T00:00:00Z", None, "2026-05-03", id="scheduled"),
        pytest.param("backfill", "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z", None, "2026-05-01", id="backfill"),
        pytest.param(
            "backfill", "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z", "2026-04-01", "2026-05-01", id="backfill-day"
        ),
        pytest.param("manual", "2026-05-04T09:30:00Z", "2026-05-04T09:30:00Z", None, "2026-05-03", id="ui-now"),
        pytest.param("manual", None, "2026-05-04T09:30:00Z", None, "2026-05-03", id="api-or-cli-without-a-date"),
        pytest.param("manual", "2026-05-01T00:00:00Z", "2026-05-04T09:30:00Z", None, "2026-05-01", id="cli-with-l"),
        pytest.param("manual", "2026-05-01T23:59:59Z", "2026-05-04T09:30:00Z", None, "2026-05-01", id="end-of-a-day"),
        pytest.param("manual", None, "2026-05-04T00:00:00Z", None, "2026-05-03", id="at-midnight"),
        pytest.param("manual", None, "2026-05-04T01:00:00+02:00", None, "2026-05-02", id="due-in-another-zone"),
        pytest.param(
            "manual", "2026-05-02T01:00:00+02:00", "2026-05-04T09:30:00Z", None, "2026-05-01", id="date-in-another-zone"
        ),
        pytest.param("manual", "2026-06-01T00:00:00Z", "2026-05-04T09:30:00Z", None, "2026-05-03", id="date-ahead"),
        pytest.param("manual", None, "2026-05-04T09:30:00Z", "2026-04-01", "2026-04-01", id="day-asked-for"),
        pytest.param(
            "manual", "2026-05-01T00:00:00Z", "2026-05-04T09:30:00Z", "2026-04-01", "2026-04-01", id="day-wins-over-l"
        ),
        pytest.param("asset_triggered", None, "2026-05-04T09:30:00Z", None, "2026-05-03", id="asset"),
    ],
)
def test_the_day_of_a_run(
    run_type: str, logical_date: str | None, run_after: str, day_param: str | None, day: str
) -> None:
    assert daybook_day(dag_run(run_type, logical_date, run_after), {"day": day_param}) == day


def test_every_run_type_of_airflow_has_a_day() -> None:
    for run_type in DagRunType:
        assert daybook_day(dag_run(run_type.value, None, "2026-05-04T09:30:00Z"), {"day": None}) == "2026-05-03"


@pytest.mark.parametrize(
    "text", ["2026-5-3", "2026-02-29", "yesterday", "20260503", "2026-05-03T00:00:00Z", "２026-05-03"]
)
def test_an_invalid_day_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=f"'{text}' is not a day; write it as YYYY-MM-DD"):
        daybook_day(dag_run("manual", None, "2026-05-04T09:30:00Z"), {"day": text})


def test_a_day_of_live_traffic_closes_after_its_grace(own_settings: Settings) -> None:
    run = dag_run("scheduled", "2026-05-03T00:00:00Z", "2026-05-04T00:00:00Z")
    assert own_settings.day_grace_minutes == 15
    assert daybook_closed_at(run, {"day": None}) == "2026-05-04T00:15:00.000000Z"
    assert daybook_closed_at(run, {"day": "2028-02-28"}) == "2028-02-29T00:15:00.000000Z"


def test_the_manifest_is_named_only_where_there_is_one(own_settings: Settings) -> None:
    run = dag_run("manual", None, "2026-05-04T09:30:00Z")
    assert daybook_manifest(run, {"day": None}) == ""
    own_settings.manifests_dir.mkdir(parents=True)
    manifest = own_settings.manifests_dir / "2026-05-03.json"
    manifest.touch()
    assert daybook_manifest(run, {"day": None}) == str(manifest)
