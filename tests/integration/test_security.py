"""The promises of docs/security.md for the default stack: who can reach and read it, and where secrets are not.

The test runs a day and observes it: what drivers and tasks listen on, and their command lines.
"""

from __future__ import annotations

import csv
import json
import re
import stat
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import psutil
import pytest

from daybook import airflow_client
from daybook.stack import postgres, supervisor
from tests.hostile_text import HOSTILE_NAMES, HOSTILE_USER_AGENT, commands_a_terminal
from tests.integration.running_stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = datetime.now(UTC).date() - timedelta(days=28)
"""A day for this module alone: `test_day.py` uses 18 to 20 days before today, `test_readers.py` 24."""
EVENTS = 200
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
TOKEN = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}")
"""A signed Airflow token, as tasks and users have it."""


@dataclass
class Seen:
    """The observed state of a stack's processes during a run."""

    day: date
    listening: set[str] = field(default_factory=set)
    """Addresses with a listener."""
    called_with: set[str] = field(default_factory=set)
    """Their command lines, which everybody on the machine can read."""


def look(stack: Stack, seen: Seen) -> None:
    """Record the current state of the processes."""
    for process in supervisor.processes(stack.settings):
        try:
            seen.called_with.add(" ".join(process.cmdline()))
            connections = process.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended in the meantime
        seen.listening |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}


def post(stack: Stack, events: list[dict[str, object]], user_agent: str) -> int:
    """Send events to the intake, as a game does; return the status of the answer."""
    request = urllib.request.Request(
        f"{stack.settings.intake_url}/events",
        data=json.dumps(events).encode(),
        headers={"Content-Type": "application/json", "User-Agent": user_agent},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return int(answer.status)


@pytest.fixture(scope="module")
def seen(stack: Stack) -> Seen:
    """A run of a generated day with a few hostile players, observed from its trigger to its end."""
    noon = f"{DAY}T12:00:00Z"
    hostile: list[dict[str, object]] = [
        {"event_id": str(uuid4()), "event_type": "join_guild", "occurred_at": noon, "user_id": name, "guild": name}
        for name in HOSTILE_NAMES
    ]
    assert post(stack, [{**event, "host": "user1.att.com"} for event in hostile], HOSTILE_USER_AGENT) == 201
    watched, over = Seen(DAY), Event()

    def watch() -> None:
        while not over.is_set():
            look(stack, watched)
            over.wait(0.3)  # between two observations

    watcher = Thread(target=watch)
    watcher.start()
    try:
        states = stack.trigger("security", day=DAY.isoformat(), events=EVENTS, seed=5)
    finally:
        over.set()
        watcher.join()
    assert states["write_report"] == "success", states
    return watched


def secrets_of(stack: Stack) -> dict[str, str]:
    """Return all secrets of this stack, by name."""
    return {
        "password of the UI": airflow_client.password(stack.settings),
        **json.loads((airflow_client.airflow_home(stack.settings) / "secrets.json").read_text(encoding="utf-8")),
        "API key": stack.env["DAYBOOK_API_KEY"],
        "notify URL": stack.webhook.url,
    }


def holders(stack: Stack, texts: dict[str, str]) -> list[str]:
    """Return which text contains which secret."""
    secrets = secrets_of(stack)
    assert all(len(secret) >= 12 for secret in secrets.values())
    found = [f"{name}: {secret}" for name, text in texts.items() for secret, value in secrets.items() if value in text]
    return found + [f"{name}: a token" for name, text in texts.items() if TOKEN.search(text)]


def test_a_run_opens_no_port_to_others(seen: Seen) -> None:
    assert seen.listening <= LOOPBACK
    assert any("SparkSubmit" in line for line in seen.called_with), "a Spark driver was among them"


def test_the_database_listens_on_no_port_at_all(stack: Stack) -> None:
    pid = postgres.server_pid(stack.settings)
    assert pid is not None
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    assert [one for process in family for one in process.net_connections("inet")] == []
    assert any(one.status == psutil.CONN_NONE and one.laddr for one in server.net_connections("unix"))


OPEN_TO_ALL = {"/api/v2/monitor/health", "/api/v2/version", "/api/v2/auth/login", "/api/v2/auth/logout"}
"""What Airflow answers without a login: its health, its version, and the way to the login."""


def test_airflow_does_nothing_for_whoever_has_not_logged_in(stack: Stack) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status(method: str, path: str) -> int:
        request = urllib.request.Request(stack.settings.airflow_url + path, method=method)
        try:
            with opener.open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    with opener.open(f"{stack.settings.airflow_url}/openapi.json", timeout=30) as answer:
        paths = json.load(answer)["paths"]
    asked = {
        (method.upper(), path): status(method.upper(), re.sub(r"\{[^}]+\}", "x", path))
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/api/v2/") and path not in OPEN_TO_ALL
    }
    assert len(asked) > 100
    # what tasks and the UI request, which that list omits
    others = ("/execution/variables/x", "/execution/connections/kafka_default", "/execution/xcoms/x/x/x/x", "/ui/dags")
    asked |= {("GET", path): status("GET", path) for path in (*others, "/ui/config", "/ui/connections/hook_meta")}
    assert {one: code for one, code in asked.items() if code not in (401, 403)} == {}


def test_the_stacks_files_are_for_the_user_alone(stack: Stack, seen: Seen) -> None:
    home, day = stack.settings.home, f"event_date={seen.day}"
    folders = [home / name for name in ("airflow", "kafka", "logs", "run", stack.settings.api_state_dir.name)]
    files = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    # of the files that commands write too, only those that the run wrote
    files += [path for folder in (home / "lake").rglob(day) for path in (folder, *folder.rglob("*"))]
    files += [stack.settings.reports_dir / f"{seen.day}.html", stack.settings.manifests_dir / f"{seen.day}.json"]
    assert home / "airflow" / "passwords.json" in files
    assert any(path.suffix == ".parquet" for path in files)
    open_to_others = {
        str(path.relative_to(home)): oct(path.lstat().st_mode & 0o777)
        for path in files
        # the sockets of supervisor and PostgreSQL are in a folder with mode 0700
        if not path.is_symlink() and not stat.S_ISSOCK(path.lstat().st_mode) and path.lstat().st_mode & 0o077
    }
    assert open_to_others == {}


def test_no_secret_is_in_a_log_a_shells_environment_or_a_command_line(stack: Stack, seen: Seen) -> None:
    logs = {str(path.name): path for path in stack.settings.logs_dir.rglob("*") if path.is_file()}
    assert {"kafka.log", "api.log", "airflow-api-server.log", "supervisord.log"} <= set(logs)
    texts = {name: path.read_text(encoding="utf-8", errors="replace") for name, path in logs.items()}
    other_texts = {"env": stack.daybook("env").stdout, "run/": run_files(stack)}
    assert holders(stack, texts | other_texts | {line[:80]: line for line in seen.called_with}) == []


def run_files(stack: Stack) -> str:
    """Return the configuration of the parts: environment.json, supervisord.conf, server.properties."""
    files = [path for path in (stack.settings.home / "run").iterdir() if path.is_file()]
    return "".join(path.read_text(encoding="utf-8") for path in files)


def test_hostile_player_names_are_in_no_log(stack: Stack, seen: Seen) -> None:
    for path in stack.settings.logs_dir.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert [name for name in HOSTILE_NAMES if name in text] == [], path


@pytest.mark.parametrize(
    "command",
    [
        ("query", "SELECT user_id, guild, user_agent FROM events WHERE event_type = 'join_guild'"),
        ("query", "SELECT user_id, guild FROM events WHERE event_type = 'join_guild'", "--json"),
        ("trace", "event_popularity", "--day", DAY.isoformat(), "--where", "event_type = 'join_guild'", "--json"),
        ("answer", "user_activity", "--day", DAY.isoformat()),
        ("answer", "user_activity", "--day", DAY.isoformat(), "--json"),
        ("rejected", "--day", DAY.isoformat()),
        ("receipts", "--day", DAY.isoformat()),
        ("status",),
    ],
    ids=" ".join,
)
def test_no_command_lets_a_players_text_command_the_terminal(
    stack: Stack, seen: Seen, command: tuple[str, ...]
) -> None:
    printed = stack.daybook(*command).stdout
    assert printed
    assert commands_a_terminal(printed) == set()
    if "--json" in command and command[0] == "query":
        assert {row["guild"] for row in json.loads(printed)} >= set(HOSTILE_NAMES)


def test_the_report_shows_players_text_as_text(stack: Stack, seen: Seen) -> None:
    folder = stack.settings.reports_dir
    for file in (folder / f"{seen.day}.html", folder / "index.html"):
        text = file.read_text(encoding="utf-8")
        assert commands_a_terminal(text) == set(), file
        assert "<script" not in text, file
        assert "<img" not in text, file
    with (folder / str(seen.day) / "guild_joins.csv").open(encoding="utf-8", newline="") as rows:
        guilds = {row["guild"] for row in csv.DictReader(rows)}
    assert "'=cmd|' /C calc'!A0" in guilds
    assert not any(guild.startswith(("=", "+", "-", "@")) or ";=" in guild for guild in guilds)


def test_a_secret_that_is_there_is_found(stack: Stack) -> None:
    """If the search found nothing here, the tests above could never fail."""
    assert holders(stack, {"log": f"x{stack.env['DAYBOOK_API_KEY']}x"}) == ["log: API key"]
    assert holders(stack, {"log": f"Bearer eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 20}"}) == ["log: a token"]


def test_the_state_folder_is_made_for_the_user_alone(tmp_path: Path) -> None:
    from daybook.files import run_dir
    from daybook.settings import Settings

    run_dir(Settings(home=tmp_path / "deep" / "home"))
    assert oct((tmp_path / "deep" / "home").stat().st_mode & 0o777) == "0o700"
