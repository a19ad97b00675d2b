"""The report in the running Airflow: its login, and the way from a run to its report."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from daybook import airflow_client
from daybook.airflow_client import USER
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = datetime.now(UTC).date() - timedelta(days=400)
"""A day for this module alone: no run builds it, the test writes its page."""


class Answer(NamedTuple):
    status: int
    headers: Message
    text: str


class Browser:
    """Acts as a browser: sends the session cookie and follows redirects."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.settings.airflow_url
        # without a proxy: the server is on this machine
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self._open(urllib.request.Request(self._url + path, headers=headers or {}))

    def log_in(self, stack: Stack) -> None:
        """Log in as Airflow's login form does: from then on the token is the session cookie."""
        login = json.dumps({"username": USER, "password": airflow_client.password(stack.settings)}).encode()
        request = urllib.request.Request(
            f"{self._url}/auth/token", data=login, headers={"Content-Type": "application/json"}
        )
        self.token = json.loads(self._open(request).text)["access_token"]
        self._opener.addheaders = [("Cookie", f"_token={self.token}")]

    def _open(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read().decode())


@pytest.fixture
def browser(stack: Stack) -> Browser:
    logged_in = Browser(stack)
    logged_in.log_in(stack)
    return logged_in


@pytest.fixture
def report(stack: Stack) -> Iterator[str]:
    """Write a day's page, whatever other modules have published; return the name of its file."""
    file = stack.settings.reports_dir / f"{DAY}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<h1>report of {DAY}</h1>", encoding="utf-8")
    yield file.name
    file.unlink()


@pytest.fixture(scope="module")
def run_id(stack: Stack) -> str:
    """A run for the day that Airflow records as successful; none of its tasks ran."""
    api = stack.api()
    was_paused = api.call("GET", f"/dags/{DAG_ID}")["is_paused"]
    api.call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": True})
    run_id = "page+1:00"  # a link has to encode it
    body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": {"day": DAY.isoformat()}}
    api.call("POST", f"/dags/{DAG_ID}/dagRuns", body)
    api.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}?update_mask=state", {"state": "success"})
    api.call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": was_paused})
    return run_id


def run_path(run_id: str, dag_id: str = DAG_ID) -> str:
    return f"/daybook/run?{urlencode({'dag_id': dag_id, 'run_id': run_id})}"


def test_airflow_offers_the_menu_item_and_the_tab(stack: Stack) -> None:
    [plugin] = [one for one in stack.api().call("GET", "/plugins")["plugins"] if one["name"] == "daybook"]
    views = {view["destination"]: view["href"] for view in plugin["external_views"]}
    assert views == {"nav": "daybook/index.html", "dag_run": "daybook/run?dag_id={DAG_ID}&run_id={RUN_ID}"}
    assert stack.api().call("GET", "/plugins/importErrors")["import_errors"] == []


def test_without_a_login_nothing_is_shown(stack: Stack, report: str, run_id: str) -> None:
    for path in ("/daybook/", "/daybook/index.html", f"/daybook/{report}", run_path(run_id), "/daybook/openapi.json"):
        answer = Browser(stack).get(path)
        assert answer.status == 401, path
        assert "report of" not in answer.text
        stale = Browser(stack).get(path, {"Cookie": "_token=nobody"})
        assert stale.status in (401, 403), path
        assert "report of" not in stale.text


def test_the_session_of_the_ui_is_enough(browser: Browser, report: str) -> None:
    answer = browser.get(f"/daybook/{report}")
    assert (answer.status, answer.text) == (200, f"<h1>report of {DAY}</h1>")
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    index = browser.get("/daybook/index.html")
    assert index.status == 200
    assert "Daybook" in index.text


def test_a_token_is_enough_for_a_program(stack: Stack, browser: Browser, report: str) -> None:
    answer = Browser(stack).get(f"/daybook/{report}", {"Authorization": f"Bearer {browser.token}"})
    assert answer.status == 200


def test_the_tab_of_a_run_shows_its_day(browser: Browser, report: str, run_id: str) -> None:
    answer = browser.get(run_path(run_id))
    assert (answer.status, answer.text) == (200, f"<h1>report of {DAY}</h1>")


def test_the_tab_of_a_run_without_a_page_explains_it(browser: Browser, run_id: str) -> None:
    answer = browser.get(run_path(run_id))
    assert answer.status == 404
    assert f"{DAY} has no page" in answer.text


@pytest.mark.parametrize(
    ("dag_id", "run", "excerpt"),
    [
        ("lake_maintenance", "any", "lake_maintenance does not build days"),
        (DAG_ID, "gone", f"{DAG_ID} has no run"),
        (DAG_ID, "\0", f"{DAG_ID} has no run"),
    ],
)
def test_other_tabs_explain_why_there_is_no_page(browser: Browser, dag_id: str, run: str, excerpt: str) -> None:
    answer = browser.get(run_path(run, dag_id))
    assert answer.status == 404
    assert excerpt in answer.text


def test_the_disk_cannot_be_read_through_it(stack: Stack, browser: Browser) -> None:
    for path in ("%2e%2e/airflow/passwords.json", "..%2fairflow%2fairflow.cfg", "%2e%2e%2fairflow%2fsecrets.json"):
        answer = browser.get(f"/daybook/{path}")
        assert answer.status == 404
        assert airflow_client.password(stack.settings) not in answer.text
