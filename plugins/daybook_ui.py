"""Registers the page in Airflow's UI: an item of the menu, and a tab on every run.

Every component of Airflow executes this file, each task's process too, so it loads nothing: the page itself is in
:mod:`daybook_airflow.page`, which the API server alone asks for.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

# addresses are relative, so that they stay right below the path of a proxy; Airflow fills in and encodes the ids
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
        "destination": "dag_run",  # of every DAG: a view cannot name one
        "url_route": "daybook-report",
        "href": "daybook/run?dag_id={DAG_ID}&run_id={RUN_ID}",
    },
]


class DaybookPlugin(AirflowPlugin):
    """The overview of days and the day's report, behind Airflow's own login."""

    name = "daybook"
    external_views = VIEWS

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # made when it is asked for
        """The application that answers below ``/daybook``."""
        from daybook_airflow.page import app

        return [{"name": "Daybook", "app": app, "url_prefix": "/daybook"}]
