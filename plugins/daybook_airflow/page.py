"""The page in Airflow's UI: serves the files of ``write_report`` and redirects from a run to its day's file.

Airflow does not protect a plugin's application, so a dependency of the whole application requires the login here.
Nothing is computed: the lake is not read. All pages are in one folder, ``/daybook/``, as on the disk, so the same
relative links work in both places. The plugin is ``plugins/daybook_ui.py``; only Airflow's API server loads this
module.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from starlette.exceptions import HTTPException as StarletteHTTPException

from daybook.airflow_client import DAG
from daybook.days import parse_day
from daybook.errors import BadInput
from daybook.report.content import INDEX_ROWS
from daybook.report.pages import message_page
from daybook.report.write import INDEX
from daybook.settings import load_settings
from daybook.sql.answers import ACROSS_DAYS, answers
from daybook_airflow.macros import daybook_day
from daybook_airflow.run_trouble import WAITING, Trouble, troubles

HEADERS = {
    # the files have a policy too, but a policy in a file cannot restrict who may frame it
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # a cached copy would outlive the login and the revision
    "Cache-Control": "no-store",
}

ALL_DAYS = {"All days": INDEX}
NONE: dict[str, str] = {}

app = FastAPI(
    title="Daybook",
    openapi_url=None,  # this also disables the documentation pages, which load external scripts and require no login
    dependencies=[Depends(requires_access_dag("GET", param_dag_id=DAG))],
)


@app.middleware("http")
async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the security headers to every response, including errors."""
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


@app.exception_handler(StarletteHTTPException)
def refuse(_request: Request, refused: HTTPException) -> Response:
    """Show an error as a page in the layout of the reports."""
    if refused.status_code == 401:
        return _message(
            401,
            "You are not logged in",
            "Daybook shows its pages only to users who are logged in to Airflow. Reload Airflow to log in.",
            links=NONE,
        )
    if refused.status_code == 403:
        return _message(403, "Access denied", f"Your Airflow user may not read the DAG {DAG}.")
    return _message(refused.status_code, "This cannot be shown", f"{refused.detail}.")


@app.get("/run", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN, DAG))])
def show_run(session: SessionDep, dag_id: str = DAG, run_id: str = "") -> Response:
    """Show the report of the day that a run builds, or why it has no report."""
    if dag_id != DAG:
        return _message(404, "This run builds no day", f"{dag_id} does not build days; runs of {DAG} do.")
    # PostgreSQL rejects text with a NUL character
    run = None if "\0" in run_id else session.scalar(select(DagRun).filter_by(dag_id=DAG, run_id=run_id))
    if run is None:
        return _message(404, "No such run", f"{DAG} has no run {run_id!r}.")
    try:
        # the parameters are the run's conf over the DAG's defaults, and `day` has no default
        day = daybook_day(run, run.conf or {})
    except BadInput as error:
        return _message(404, "This run builds no day", f"{error}.")
    exists = (load_settings().reports_dir / f"{day}.html").exists()
    if run.state == DagRunState.SUCCESS and exists:
        return RedirectResponse(f"{day}.html", 303)
    return _run_without_report(run.state, day, exists, troubles(session, run_id), _run_address(run_id))


def _run_without_report(state: str, day: str, exists: bool, found: list[Trouble], address: str) -> Response:
    """Return the tab's page for a run that has not written its day's report."""
    visible = (
        f"Readers see the page of {day} that an earlier run wrote."
        if exists
        else f"{day} has no page; readers see the other days."
    )
    links = {f"The page of {day}": f"{day}.html", **ALL_DAYS} if exists else ALL_DAYS
    status = 200 if exists else 404
    if state == DagRunState.FAILED:
        # a task's failure message names the next step; not every day can be run again
        failed = [one for one in found if one.is_over]
        silent = [one.task_id for one in failed if not one.message]
        return _message(
            status,
            f"{day}: this run failed",
            visible,
            *(one.message for one in failed if one.message),
            *(f"{task_id} failed without an error message; its process was probably killed." for task_id in silent),
            commands={"Run the day again": _trigger(day)} if silent or not failed else NONE,
            links={**{f"The log of {one.task_id}": f"{address}/tasks/{one.task_id}" for one in failed}, **links},
        )
    if state == DagRunState.SUCCESS:
        return _message(
            status,
            f"{day} has no page",
            "The run succeeded but wrote no page: no record of that day was received, or the page was deleted later.",
            commands={
                "See which days are published": "daybook status",
                "Build the day, if it has records": _trigger(day, force=True),
            },
        )
    return _message(
        status,
        f"{day}: this run is under way",
        visible,
        *(
            f"{one.task_id} is {one.message}." if one.message.startswith(WAITING) else one.message
            for one in found
            if one.message
        ),
        "The report appears here when write_report has finished: then open this tab again.",
        links={**{f"The log of {one.task_id}": f"{address}/tasks/{one.task_id}" for one in found}, **links},
    )


def _run_address(run_id: str) -> str:
    """Return the relative URL of the run's page in Airflow's UI; it also works below a proxy's path."""
    return f"../dags/{DAG}/runs/{quote(run_id, safe='')}"


@app.get("/{name:path}")
def show_page(name: str) -> Response:
    """Show the overview, a day's page or its rows: only files that ``write_report`` wrote."""
    if name in ("", INDEX):
        return _file(INDEX) or _no_page_at_all()
    if name.endswith((".json", ".csv")):
        return _rows(name)
    try:
        if not name.endswith(".html"):
            raise BadInput(f"there is no page {name!r}")
        day = parse_day(name.removesuffix(".html")).isoformat()
    except BadInput as error:
        return _message(404, "No such page", f"{error}.")
    return _file(f"{day}.html") or _not_published(day, f"{day} has no page", "It is not published yet")


def _rows(name: str) -> Response:
    """Return the rows of a page, ``D.json`` or ``D/ANSWER.csv``, for an existing answer that names no player.

    The rows of the overview are ``index.json`` and ``across_days/ANSWER.csv``.
    """
    stem, _, ending = name.rpartition(".")
    place, _, answer = stem.partition("/")
    across = place == ACROSS_DAYS if ending == "csv" else name == INDEX_ROWS
    try:
        folder = place if across else parse_day(place).isoformat()
        shown = answers(ACROSS_DAYS if across else None).values()
        known = {one.name for one in shown if not one.names_players} if ending == "csv" else {""}
        if answer not in known:
            raise BadInput(f"there is no page {name!r}")
    except BadInput as error:
        return _message(404, "No such page", f"{error}.")
    if ending == "json":
        found = _file(f"{folder}.json", "application/json")
    else:
        # the browser saves it under a descriptive name
        saved = {"Content-Disposition": f'attachment; filename="{folder}-{answer}.csv"'}
        found = _file(f"{folder}/{answer}.csv", "text/csv; charset=utf-8", saved)
    if found:
        return found
    if across:
        return _message(404, "There are no such rows yet", "They are written with the next day's page.")
    return _not_published(
        folder, f"{folder} has no such rows", "It is not published yet, or its page is older than these files"
    )


def _not_published(day: str, title: str, why: str) -> Response:
    """Explain why a day has no file, with the command that builds the day if it is over."""
    if date.fromisoformat(day) >= datetime.now(UTC).date():
        return _message(404, title, "The day is not over (UTC); it can be built when it is over.")
    return _message(404, title, f"{why}; readers see the other days.", commands={"Build the day": _trigger(day)})


def _file(name: str, kind: str = "text/html", headers: Mapping[str, str] = NONE) -> Response | None:
    """Return a file of the reports, or None if it does not exist. The name is never taken from the URL directly."""
    try:
        # read the whole file at once: a new revision may replace it at any moment
        return Response((load_settings().reports_dir / name).read_bytes(), headers=dict(headers), media_type=kind)
    except FileNotFoundError:
        return None


def _no_page_at_all() -> Response:
    # an overview without days is still an overview: 200
    return _message(
        200,
        "No day has a page yet",
        f"This page lists the days as soon as a run of {DAG} has published one. To see it work, run a generated day; "
        "it takes a minute or two. A trigger without a day, by command or by the DAG's button, builds yesterday"
        + (
            ", from generated events if no others were sent."
            if load_settings().events_of_a_run
            else " from the events that games sent."
        ),
        commands={
            "Run a day of 20,000 made-up events": "make demo",
            "Build yesterday": f"airflow dags trigger {DAG}",
            "Build each day after midnight UTC": f"airflow dags unpause {DAG}",
        },
        links=NONE,
    )


def _trigger(day: str, **params: object) -> str:
    return f"airflow dags trigger {DAG} -c '{json.dumps({'day': day, **params})}'"


def _message(
    status: int, title: str, *paragraphs: str, commands: Mapping[str, str] = NONE, links: Mapping[str, str] = ALL_DAYS
) -> Response:
    return HTMLResponse(message_page(title, paragraphs, commands, links), status)
