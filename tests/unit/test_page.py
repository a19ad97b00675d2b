"""The page inside Airflow's UI: it needs a login, serves only reports, and shows a next step if no report exists."""

from __future__ import annotations

import html
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.api_fastapi.common.db.common import _get_session
from airflow.api_fastapi.core_api import security
from airflow.models.dag import DagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.log.file_task_handler import StructuredLogMessage
from airflow.utils.log.log_reader import TaskLogReader
from fastapi import FastAPI
from fastapi.testclient import TestClient

from daybook.settings import Settings
from daybook_airflow.page import app

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = REPOSITORY / "plugins" / "daybook_ui.py"
PAGES = (
    "/",
    "/index.html",
    "/2026-05-03.html",
    "/2026-05-03.json",
    "/2026-05-03/event_popularity.csv",
    "/run?run_id=first",
    "/run?dag_id=lake_maintenance&run_id=first",
    "/no",
)


def a_run(state: str, **columns: Any) -> SimpleNamespace:
    """A run as in Airflow's database; by default for the 3rd of May."""
    due = datetime(2026, 5, 4, tzinfo=UTC)
    columns = {"run_type": "scheduled", "logical_date": None, "run_after": due, "conf": {}, **columns}
    return SimpleNamespace(state=state, **columns)


RUNS: dict[str, SimpleNamespace] = {
    "done": a_run("success"),
    "under-way": a_run("running"),
    "waiting": a_run("queued"),
    "broken": a_run("failed"),
    "asked": a_run("success", run_type="manual", conf={"day": "2026-05-01"}),
    "asked+backfill": a_run("success", run_type="backfill", conf={"day": "2026-05-01"}),
    "nonsense": a_run("success", run_type="manual", conf={"day": "soon"}),
}


class Database:
    """The part of Airflow's database that the page uses: runs by their id."""

    tasks: ClassVar[list[TaskInstance]] = []
    history: ClassVar[TaskInstanceHistory | None] = None

    def scalars(self, _statement: Any) -> list[TaskInstance]:
        return self.tasks

    def scalar(self, statement: Any) -> Any:
        bound = statement.compile().params
        if "try_number_1" in bound:
            assert (bound["task_id_1"], bound["try_number_1"]) == ("generate_events", 1)
            return self.history
        assert bound["dag_id_1"] == "game_events_daily"
        assert "\0" not in bound["run_id_1"], "PostgreSQL refuses it"
        return RUNS.get(bound["run_id_1"])


def client() -> TestClient:
    """A browser in front of Airflow's server, which mounts the page; it follows no redirect."""
    server = FastAPI()
    server.mount("/daybook", app)
    return TestClient(server, base_url="http://airflow/daybook/", follow_redirects=False)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The logged-in user, and the DAGs that Airflow's auth manager allows them to read."""
    known = SimpleNamespace(name="analyst", token="", may_read={"game_events_daily"}, asked=[])

    async def from_token(token: str) -> SimpleNamespace:
        known.token = token
        return known

    def may(*, method: str, details: Any, user: SimpleNamespace, access_entity: Any) -> bool:
        known.asked.append((method, details.id, access_entity))
        return details.id in user.may_read

    manager = SimpleNamespace(get_user_from_token=from_token, is_authorized_dag=may)
    monkeypatch.setattr(security, "get_auth_manager", lambda: manager)
    monkeypatch.setattr(DagModel, "get_team_name", lambda _dag_id: None)
    return known


@pytest.fixture
def browser(own_settings: Settings, user: SimpleNamespace) -> Iterator[TestClient]:
    """A logged-in browser, with the cookie of Airflow's UI."""
    app.dependency_overrides[_get_session] = Database
    logged_in = client()
    logged_in.cookies.set("_token", "a-session")
    yield logged_in
    app.dependency_overrides.clear()


@pytest.fixture
def reports(own_settings: Settings) -> Path:
    """Two published days, and files that must not be shown."""
    folder = own_settings.reports_dir
    folder.mkdir(parents=True)
    for name in ("index", "2026-05-01", "2026-05-03"):
        (folder / f"{name}.html").write_text(f"<h1>report {name}</h1>", encoding="utf-8")
    rows = folder / "2026-05-03"
    rows.mkdir()
    (folder / "2026-05-03.json").write_text('{"report": 3}', encoding="utf-8")
    (rows / "event_popularity.csv").write_text("item,report\r\nsword,3\r\n", encoding="utf-8")
    (folder / "2026-05-01").mkdir()
    kept = (
        "notes.html",
        "notes.json",
        ".2026-05-03.html.77",
        "event_popularity.csv",
        "../secret.html",
        "../secret.csv",
    )
    players = [rows / name for name in ("user_activity.csv", "notes.csv", ".event_popularity.csv.77", "secret.html")]
    for file in (*(folder / name for name in kept), *players):
        file.write_text("<h1>secret</h1>", encoding="utf-8")
    return folder


@pytest.mark.parametrize("path", PAGES)
def test_without_a_login_nothing_is_shown(reports: Path, path: str) -> None:
    answer = client().get(path.lstrip("/"))
    assert answer.status_code == 401
    assert "You are not logged in" in answer.text
    assert "report" not in answer.text
    assert "lake_maintenance" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_a_user_who_may_not_read_the_dag_sees_nothing(
    browser: TestClient, reports: Path, user: SimpleNamespace, path: str
) -> None:
    user.may_read = {"lake_maintenance"}
    answer = browser.get(path.lstrip("/"))
    assert answer.status_code == 403
    assert "may not read the DAG game_events_daily" in answer.text
    assert "report " not in answer.text


def test_the_login_of_the_ui_is_enough(browser: TestClient, reports: Path, user: SimpleNamespace) -> None:
    assert browser.get("index.html").text == "<h1>report index</h1>"
    assert user.token == "a-session"
    assert user.asked == [("GET", "game_events_daily", None)]


def test_a_run_is_shown_to_who_may_read_runs(browser: TestClient, reports: Path, user: SimpleNamespace) -> None:
    browser.get("run?run_id=done")
    assert [(dag, entity and entity.value) for _, dag, entity in user.asked] == [
        ("game_events_daily", None),
        ("game_events_daily", "RUN"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        *("index.html", "2026-05-03.html", "run?run_id=done", "run?run_id=gone", "no"),
        *("2026-05-03.json", "2026-05-03/event_popularity.csv", "2026-05-03/no.csv"),
    ],
)
@pytest.mark.parametrize("logged_in", [True, False])
def test_every_answer_stays_in_this_frame_and_in_no_store(
    browser: TestClient, reports: Path, path: str, logged_in: bool
) -> None:
    headers = (browser if logged_in else client()).get(path).headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["Content-Security-Policy"].split("; ")}
    assert policy["frame-ancestors"] == ["'self'"]
    assert policy["default-src"] == ["'none'"]
    assert "script-src" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_the_overview_and_the_days_are_the_files(browser: TestClient, reports: Path) -> None:
    for path, name in {"": "index", "index.html": "index", "2026-05-03.html": "2026-05-03"}.items():
        answer = browser.get(path)
        assert (answer.status_code, answer.text) == (200, f"<h1>report {name}</h1>")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_rows_of_a_day_are_files_next_to_its_page(browser: TestClient, reports: Path) -> None:
    answer = browser.get("2026-05-03.json")
    assert (answer.status_code, answer.json(), answer.headers["Content-Type"]) == (
        200,
        {"report": 3},
        "application/json",
    )
    rows = browser.get("2026-05-03/event_popularity.csv")
    assert (rows.status_code, rows.text) == (200, "item,report\r\nsword,3\r\n")
    assert rows.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert rows.headers["Content-Disposition"] == 'attachment; filename="2026-05-03-event_popularity.csv"'


def test_the_rows_across_days_are_files_next_to_the_overview(browser: TestClient, reports: Path) -> None:
    for path in ("index.json", "across_days/new_users.csv"):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "They are written with the next day's page." in html.unescape(answer.text)
    (reports / "index.json").write_text('{"days": []}', encoding="utf-8")
    (reports / "across_days").mkdir()
    (reports / "across_days" / "new_users.csv").write_text("users\r\n3\r\n", encoding="utf-8")
    assert browser.get("index.json").json() == {"days": []}
    rows = browser.get("across_days/new_users.csv")
    assert (rows.status_code, rows.text) == (200, "users\r\n3\r\n")
    assert rows.headers["Content-Disposition"] == 'attachment; filename="across_days-new_users.csv"'


@pytest.mark.parametrize("path", ["2026-05-02.json", "2026-05-01/event_popularity.csv", "2026-05-03/guild_joins.csv"])
def test_rows_that_are_not_written_yet_are_reported_as_missing(browser: TestClient, reports: Path, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "has no such rows" in answer.text
    assert "airflow dags trigger" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "notes.json",
        "event_popularity.csv",
        "2026-05-03.csv",
        "2026-05-03/.csv",
        "2026-05-03/notes.csv",
        "2026-05-03/user_activity.csv",
        "2026-05-03/event_popularity.json",
        "2026-05-03/new_users.csv",
        "across_days.json",
        "across_days/event_popularity.csv",
        "index/new_users.csv",
        "2026-05-03/secret.html",
        "2026-05-03/x/event_popularity.csv",
        "2026-05-03/%2e%2e/event_popularity.csv",
        "2026-05-03%2F..%2F..%2Fsecret.csv",
        "..%2Fsecret.csv",
        "2026-05-03/..%2F..%2Fsecret.csv",
        "2026-05-03/event_popularity.csv%00",
        "2026-05-03/event_popularity%00.csv",
        "2026-05-03/%2Eevent_popularity.csv.77",
        "%2Fetc%2Fpasswd.csv",
        "%3Cscript%3E.csv",
        "notes.html",
        ".2026-05-03.html.77",
        "..%2Fsecret.html",
        "%2e%2e/secret.html",
        "%2e%2e%2fsecret.html",
        "..%5Csecret.html",
        "2026-05-03.html%2F..%2F..%2Fsecret.html",
        "2026-05-03",
        "2026-13-01.html",
        "%00.html",
        "2026-05-03.html%00",
        "%2Fetc%2Fpasswd",
        "docs",
        "openapi.json",
    ],
)
def test_nothing_else_is_served(browser: TestClient, reports: Path, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "No such page" in answer.text
    assert "secret</h1>" not in answer.text


def test_the_requested_values_are_shown_as_text(browser: TestClient, reports: Path) -> None:
    for path in ("%3Cscript%3E.html", "run?run_id=%3Cscript%3E", "run?dag_id=%3Cscript%3E"):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "<script" not in answer.text
        assert "&lt;script" in answer.text


def test_a_run_leads_to_the_report_of_its_day(browser: TestClient, reports: Path) -> None:
    for run_id, day in {"done": "2026-05-03", "asked": "2026-05-01", "asked%2Bbackfill": "2026-05-03"}.items():
        answer = browser.get(f"run?dag_id=game_events_daily&run_id={run_id}")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{day}.html"), run_id
        assert str(answer.url.join(answer.headers["Location"])).endswith(f"/daybook/{day}.html")


@pytest.mark.parametrize(
    ("run_id", "title"),
    [("under-way", "this run is under way"), ("waiting", "this run is under way"), ("broken", "this run failed")],
)
def test_the_page_of_an_earlier_run_is_not_passed_off_as_this_ones(
    browser: TestClient, reports: Path, run_id: str, title: str
) -> None:
    answer = browser.get(f"run?run_id={run_id}")
    assert answer.status_code == 200
    assert f"<h1>2026-05-03: {title}</h1>" in answer.text
    assert "Readers see the page of 2026-05-03 that an earlier run wrote." in answer.text
    assert 'href="2026-05-03.html"' in answer.text


@pytest.mark.parametrize(
    ("run_id", "title", "command"),
    [
        ("under-way", "this run is under way", None),
        ("broken", "this run failed", '{"day": "2026-05-03"}'),
        ("done", "has no page", '{"day": "2026-05-03", "force": true}'),
    ],
)
def test_the_tab_of_a_run_without_a_page_names_the_next_step(
    browser: TestClient, reports: Path, run_id: str, title: str, command: str | None
) -> None:
    (reports / "2026-05-03.html").unlink()
    answer = browser.get(f"run?run_id={run_id}")
    text = answer.text.replace("&#34;", '"').replace("&#39;", "'")
    assert answer.status_code == 404
    assert title in text
    assert (f"airflow dags trigger game_events_daily -c '{command}'" in text) is (command is not None)
    assert 'href="index.html"' in text
    assert 'href="2026-05-03.html"' not in text


SAYS = "2026-05-03: generate_events failed at try 1: the intake acknowledged nothing for 60 s."
LOG = [
    *("::group::", "Task failed with exception", "2026-05-03: generate_events failed at try 1: an older line"),
    *(SAYS, "waiting: the day stays open until 2026-05-04 00:15 UTC", "waiting: Kafka does not answer (timed out)"),
]
LINK = '<a href="../dags/game_events_daily/runs/RUN/tasks/TASK" target="_top">The log of TASK</a>'


def a_task(state: str, *, task_id: str = "generate_events", tries: int = 1) -> Any:
    """A task as in Airflow's database."""
    return SimpleNamespace(task_id=task_id, state=state, try_number=tries, run_id="any")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gives every task the same log, and records the tries that were read."""
    read: list[int] = []

    def read_log_chunks(_self: Any, _task: Any, try_number: int, _metadata: Any) -> tuple[Any, Any]:
        read.append(try_number)
        return iter([StructuredLogMessage(event=line) for line in LOG]), {}

    monkeypatch.setattr(TaskLogReader, "read_log_chunks", read_log_chunks)
    return read


def test_a_failed_run_shows_the_task_the_reason_and_the_way_to_its_log(
    browser: TestClient, reports: Path, log: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [a_task("success", task_id="x"), a_task("failed", tries=4), a_task("upstream_failed", task_id="y")]
    monkeypatch.setattr(Database, "tasks", failed)
    text = html.unescape(browser.get("run?run_id=broken").text)
    assert SAYS in text
    assert LINK.replace("RUN", "broken").replace("TASK", "generate_events") in text
    assert log == [4]
    assert "Run the day again" not in text, "the reason says what to do, which need not be the same again"
    assert "older line" not in text


def test_a_failed_task_without_a_reason_is_named_with_the_command(
    browser: TestClient, reports: Path, log: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "tasks", [a_task("failed", task_id="land_events")])
    text = html.unescape(browser.get("run?run_id=broken").text)
    assert "land_events failed without an error message" in text
    assert "Run the day again" in text


def test_a_run_under_way_shows_why_its_last_try_failed(
    browser: TestClient, reports: Path, log: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for state, tries, read in (("up_for_retry", 1, 1), ("queued", 2, 1), ("running", 2, 1)):
        log.clear()
        monkeypatch.setattr(Database, "tasks", [a_task(state, tries=tries)])
        monkeypatch.setattr(Database, "history", a_task("up_for_retry"))
        text = html.unescape(browser.get("run?run_id=under-way").text)
        assert "this run is under way" in text
        assert SAYS in text, state
        assert LINK.replace("RUN", "under-way").replace("TASK", "generate_events") in text
        assert log == [read]


def test_a_run_that_waits_shows_for_what(
    browser: TestClient, reports: Path, log: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "tasks", [a_task("deferred", task_id="wait_for_offsets")])
    text = html.unescape(browser.get("run?run_id=under-way").text)
    assert "wait_for_offsets is waiting: Kafka does not answer (timed out)." in text
    assert "stays open" not in text, "the last line counts"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("run_id=gone", "game_events_daily has no run"),
        ("", "game_events_daily has no run"),
        ("run_id=%00", "game_events_daily has no run"),
        ("dag_id=lake_maintenance&run_id=done", "lake_maintenance does not build days"),
        ("run_id=nonsense", "is not a day"),
    ],
)
def test_a_run_without_a_day_is_reported_as_such(browser: TestClient, reports: Path, query: str, message: str) -> None:
    answer = browser.get(f"run?{query}")
    assert answer.status_code == 404
    assert message in answer.text
    assert 'href="index.html"' in answer.text


def test_a_day_that_is_not_published_names_the_command_that_builds_it(browser: TestClient, reports: Path) -> None:
    answer = browser.get("2026-05-02.html")
    assert answer.status_code == 404
    assert "2026-05-02 has no page" in answer.text
    assert "airflow dags trigger game_events_daily -c" in answer.text


@pytest.mark.parametrize("day", ["2999-01-01", f"{datetime.now(UTC):%Y-%m-%d}"])
def test_a_day_that_is_not_over_is_not_to_be_built(browser: TestClient, reports: Path, day: str) -> None:
    for path in (f"{day}.html", f"{day}.json"):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "The day is not over (UTC)" in answer.text
        assert "airflow dags trigger" not in answer.text


def test_before_the_first_page_the_overview_shows_how_to_get_one(browser: TestClient) -> None:
    for path in ("", "index.html"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert "No day has a page yet" in answer.text
        assert "make demo" in answer.text
        assert "airflow dags trigger game_events_daily<" in answer.text
        assert "href" not in answer.text, "there is no page to go to"


def test_a_message_is_a_page_like_the_others(browser: TestClient) -> None:
    for path in ("index.html", "2026-05-02.html", "run?run_id=broken"):
        text = browser.get(path).text
        assert '<html lang="en">' in text
        assert "<main>" in text
        assert text.count("<h1>") == 1
        assert "prefers-color-scheme: dark" in text
        assert "<script" not in text


def test_the_plugin_registers_the_menu_item_and_the_tab(own_settings: Settings) -> None:
    """Airflow executes two of all files below plugins/, and both are plugins."""
    from airflow._shared.module_loading import find_path_from_directory
    from airflow._shared.plugins_manager.plugins_manager import _load_plugins_from_plugin_directory

    files = find_path_from_directory(str(PLUGIN.parent), ".airflowignore", "glob")
    assert {Path(file).name for file in files if file.endswith(".py")} == {"daybook_ui.py", "daybook_runs.py"}
    plugins, errors = _load_plugins_from_plugin_directory(str(PLUGIN.parent))
    assert errors == {}
    assert {plugin.name for plugin in plugins} == {"daybook", "daybook_runs"}
    [plugin] = [one for one in plugins if one.name == "daybook"]
    assert [(one["app"], one["url_prefix"]) for one in plugin.fastapi_apps] == [(app, "/daybook")]
    assert [(view["name"], view["destination"], view["url_route"], view["href"]) for view in plugin.external_views] == [
        ("Daybook", "nav", "daybook", "daybook/index.html"),
        ("Day's report", "dag_run", "daybook-report", "daybook/run?dag_id={DAG_ID}&run_id={RUN_ID}"),
    ]


def test_loading_the_plugin_loads_nothing_but_itself() -> None:
    code = (
        "import sys, runpy, airflow.plugins_manager; before = set(sys.modules);"
        "runpy.run_path(sys.argv[1]); print(*sorted(set(sys.modules) - before));"
        "print(*sorted({'fastapi', 'pandas', 'pyiceberg', 'pyspark', 'numpy'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code, str(PLUGIN)], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []


def test_the_page_loads_no_reader_of_the_lake() -> None:
    """The API server would hold it in memory for its whole lifetime."""
    code = (
        "import sys, daybook_airflow.page;sys.exit(len({'pandas', 'pyiceberg', 'pyspark', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
