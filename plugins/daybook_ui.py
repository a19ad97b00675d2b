"""Registers the page in Airflow's UI: a menu item, and a tab on every run.

Every Airflow component executes this file, including each task's process, so it imports nothing heavy. The page itself
is in :mod:`daybook_airflow.page`, which only the API server loads.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

# URLs are relative, so that they stay correct below a proxy's path; Airflow fills in and encodes the ids
VIEWS: list[dict[str, Any]] = [
    {
        "name": "Daybook",
        "destination": "nav",
        "nav_top_level": True,
        "url_route": "daybook",
        "href": "daybook/index.html",
    },
    {
        "name": "Day's report",
        "destination": "dag_run",  # on every DAG: a view cannot be limited to one
        "url_route": "daybook-report",
        "href": "daybook/run?dag_id={DAG_ID}&run_id={RUN_ID}",
    },
]


class DaybookPlugin(AirflowPlugin):
    """The overview of days and the day's report, behind Airflow's own login."""

    name = "daybook"
    external_views = VIEWS

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # created on demand
        """The application that serves ``/daybook``."""
        from daybook_airflow.page import app

        return [{"name": "Daybook", "app": app, "url_prefix": "/daybook"}]
