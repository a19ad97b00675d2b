"""The intake's application without a broker: refused requests, allowed callers, and the order of the checks."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import random
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import Gauge, values
from prometheus_client.metrics import MetricWrapperBase
from werkzeug.test import TestResponse

from daybook.settings import REPOSITORY, Settings, load_settings
from game_api import metrics, routes, validation
from game_api.access import LEGACY_ENDPOINTS, KeyRing, check_at_start, read_keys
from game_api.app import create_app
from game_api.browsers import WATCHING_ENDPOINTS, is_foreign, is_loopback
from game_api.limits import EventLimit, TooManyEvents
from game_api.producer import Receipt
from game_api.shared_files import reserve
from game_api.validation import check_event

SWORD: dict[str, Any] = {"event_type": "purchase_item", "item": "sword", "user_id": "user1", "host": "user1.att.com"}


class TakesAll:
    """A double of the producer whose broker acknowledges at once; it stores the records that it gets."""

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []

    def send(self, records: list[tuple[bytes, bytes]]) -> list[Receipt]:
        self.values += [json.loads(value) for _, value in records]
        return [Receipt(0, offset) for offset in range(len(records))]

    def queue_depth(self) -> int:
        return 0

    def is_ready(self) -> bool:
        return True


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records that the intake produced."""
    producer = TakesAll()
    monkeypatch.setattr("game_api.app.EventProducer", lambda _settings: producer)
    return producer.values


def app_of(settings: Settings, **changed: Any) -> Flask:
    return create_app(settings.model_copy(update=changed))


@pytest.fixture
def client(own_settings: Settings, taken: list[dict[str, Any]]) -> FlaskClient:
    return app_of(own_settings).test_client()


def post(client: FlaskClient, body: Any, **headers: str) -> TestResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/events", data=raw, headers={"Content-Type": "application/json", **named})


class TestWorkBeforeTheBound:
    """Cheap checks come before expensive ones."""

    @staticmethod
    def note(seen: list[str], name: str, *_: object) -> bytes:
        seen.append(name)
        return b"{}"

    @pytest.fixture
    def unread(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Records each time that a body is read or decoded."""
        seen: list[str] = []
        for module, name in ((routes, "_body"), (routes, "unpack"), (validation, "_decoded")):
            monkeypatch.setattr(module, name, partial(self.note, seen, name))
        return seen

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Host": "a" * 300}, 400),
            ({"Host": ("一" * 300).encode().decode("latin-1")}, 400),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Encoding": "br"}, 415),
            ({"Content-Encoding": "gzip, gzip"}, 415),
            ({"Idempotency-Key": "x"}, 400),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
        ],
        ids=range(7),
    )
    def test_a_request_that_its_headers_refuse_is_not_read(
        self, client: FlaskClient, unread: list[str], headers: dict[str, str], status: int
    ) -> None:
        answer = client.post("/events", data=b"{}", headers={"Content-Type": "application/json", **headers})
        assert answer.status_code == status
        assert unread == []

    def test_without_a_key_the_body_is_not_read(
        self, own_settings: Settings, taken: list[dict[str, Any]], tmp_path: Path, unread: list[str]
    ) -> None:
        file = tmp_path / "keys"
        file.write_text(line_of("chess", "secret"))
        client = app_of(own_settings, api_keys_file=str(file)).test_client()
        assert post(client, SWORD).status_code == 401
        assert unread == []

    def test_the_body_is_not_read_if_the_game_has_used_up_its_share(
        self, own_settings: Settings, taken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = app_of(own_settings, api_events_per_second=1).test_client()
        assert post(client, [SWORD] * 1000).status_code == 201
        read: list[str] = []
        monkeypatch.setattr(routes, "_body", partial(self.note, read, "body"))
        answer = post(client, SWORD)
        assert (answer.status_code, read) == (429, [])
        assert int(answer.headers["Retry-After"]) >= 1

    def test_a_look_at_the_share_costs_nothing_of_it(self, own_settings: Settings, taken: list[dict[str, Any]]) -> None:
        client = app_of(own_settings, api_events_per_second=1).test_client()
        for _ in range(1005):
            assert post(client, b"[]").status_code == 400
        assert post(client, [SWORD] * 1000).status_code == 201


def test_a_full_burst_is_taken_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tick in range(200):
        now = 1000 * random.Random(tick).random()
        monkeypatch.setattr(time, "clock_gettime", lambda _clock, now=now: now)
        limit = EventLimit(tmp_path / str(tick), 7)
        limit.spend("chess", 1000)
        with pytest.raises(TooManyEvents):
            limit.spend("chess", 1)


class TestContentEncoding:
    """See RFC 9110, 8.4 and RFC 1952."""

    @pytest.mark.parametrize("coding", ["", " ", "identity", "Identity, identity"])
    def test_an_uncompressed_body_is_read_unchanged(self, client: FlaskClient, coding: str) -> None:
        assert post(client, SWORD, Content_Encoding=coding).status_code == 201

    @pytest.mark.parametrize("coding", ["gzip", "x-gzip", "X-GZIP", "identity, gzip", "gzip, identity", ",gzip,"])
    def test_gzip_has_two_names_and_may_be_combined_with_identity(self, client: FlaskClient, coding: str) -> None:
        assert post(client, gzip.compress(json.dumps(SWORD).encode()), Content_Encoding=coding).status_code == 201

    @pytest.mark.parametrize("coding", ["br", "gzip, gzip", "x-identity", "deflate", "gzip;q=1", "x-x-gzip"])
    def test_another_coding_is_refused(self, client: FlaskClient, coding: str) -> None:
        assert post(client, SWORD, Content_Encoding=coding).status_code == 415


class TestPages:
    """Without keys, the intake listens on loopback, where other sites' pages in a local browser can reach it."""

    PATHS = (("POST", "/events"), ("GET", "/purchase/sword"), ("POST", "/join_a_guild"))

    @pytest.mark.parametrize(("method", "path"), PATHS, ids=str)
    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},  # another port of localhost
            {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:5000"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:3000"},
            {"Referer": "https://evil.example/page"},
            # DNS rebinding: a foreign name points here, so the page has the same origin under that name
            {"Host": "evil.example:5000", "Origin": "http://evil.example:5000"},
            {"Host": "evil.example:5000", "Origin": "http://evil.example:5000", "Sec-Fetch-Site": "same-origin"},
            {"Host": "evil.example:5000", "Sec-Fetch-Site": "same-origin"},
            {"Host": "evil.example:5000", "Referer": "http://evil.example:5000/"},
            {"Host": "127.0.0.1.evil.example:5000", "Origin": "http://127.0.0.1.evil.example:5000"},
        ],
        ids=str,
    )
    def test_another_sites_page_sends_nothing(
        self, client: FlaskClient, taken: list[dict[str, Any]], method: str, path: str, headers: dict[str, str]
    ) -> None:
        all_headers = {"Host": "127.0.0.1:5000", "Content-Type": "application/json", **headers}
        answer = client.open(path, method=method, data=json.dumps(SWORD), headers=all_headers)
        assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")
        assert "API keys" in answer.get_json()["detail"]
        assert taken == []

    @pytest.mark.parametrize(("method", "path"), PATHS, ids=str)
    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "user53.att.com", "User-Agent": "ApacheBench/2.3"},
            {"Host": "user53.att.com", "Referer": "<script>"},  # not a page, but a program's text
            {"Host": ""},
            {"Host": "127.0.0.1:5000", "Sec-Fetch-Site": "none"},  # typed into the address bar
            *(
                {
                    "Host": host,
                    "Sec-Fetch-Site": "same-origin",
                    "Origin": f"http://{host}",
                    "Referer": f"http://{host}/docs/",
                }
                for host in ("127.0.0.1:5000", "localhost:5000", "LOCALHOST:5000", "[::1]:5000")
            ),
        ],
        ids=str,
    )
    def test_programs_and_the_intakes_own_page_send(
        self, client: FlaskClient, taken: list[dict[str, Any]], method: str, path: str, headers: dict[str, str]
    ) -> None:
        all_headers = {"Content-Type": "application/json", **headers}
        assert client.open(path, method=method, data=json.dumps(SWORD), headers=all_headers).status_code in {200, 201}
        assert len(taken) == 1

    @pytest.mark.parametrize("path", ["/", "/docs/", "/openapi.json", "/health/live", "/health/ready", "/nowhere"])
    def test_paths_that_accept_no_event_may_be_linked_to(self, client: FlaskClient, path: str) -> None:
        answer = client.get(path, headers={"Sec-Fetch-Site": "cross-site", "Referer": "https://grafana.example/"})
        assert answer.status_code in {200, 302, 404}

    def test_every_route_that_may_take_an_event_is_guarded(self, own_settings: Settings) -> None:
        endpoints = {rule.endpoint for rule in app_of(own_settings).url_map.iter_rules()}
        assert endpoints - WATCHING_ENDPOINTS == {"events.post_events", *LEGACY_ENDPOINTS}

    def test_with_keys_a_page_may_send_that_has_one(
        self, own_settings: Settings, taken: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        file = tmp_path / "keys"
        file.write_text(line_of("chess", "secret"))
        client = app_of(own_settings, api_keys_file=str(file), legacy_routes=True).test_client()
        page = {"Origin": "https://game.example", "Sec-Fetch-Site": "cross-site"}
        assert post(client, SWORD, Authorization="Bearer secret", **page).status_code == 201
        assert client.get("/purchase/sword", headers=page).status_code == 403, "it takes no key"

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:5000"])
    def test_names_of_this_machine(self, host: str) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize("host", ["", "localhost.example", "128.0.0.1", "[::2]", "127.0.0.1.nip.io", ":"])
    def test_names_that_others_can_have(self, host: str) -> None:
        assert not is_loopback(host)

    def test_a_request_without_browser_headers_is_not_from_a_web_page(self) -> None:
        assert not is_foreign({}, "user1.att.com")


class TestTarget:
    @pytest.mark.parametrize(
        ("target", "host"),
        [
            ("http://user9.cox.com/purchase/sword", "user9.cox.com"),
            ("http://user9.cox.com:8080/purchase/sword?x=1", "user9.cox.com"),
            ("HTTPS://me@user9.cox.com/purchase/sword", "user9.cox.com"),
            ("http:///purchase/sword", "user1.att.com"),
            ("/purchase/sword?from=http://user9.cox.com/", "user1.att.com"),
        ],
    )
    def test_the_host_of_an_absolute_target_counts_before_the_header(
        self, client: FlaskClient, taken: list[dict[str, Any]], target: str, host: str
    ) -> None:
        environ = {"RAW_URI": target}
        assert (
            client.get("/purchase/sword", headers={"Host": "user1.att.com"}, environ_overrides=environ).status_code
            == 200
        )
        assert [record["host"] for record in taken] == [host]

    def test_a_target_with_an_invalid_host_is_refused(self, client: FlaskClient, taken: list[dict[str, Any]]) -> None:
        environ = {"RAW_URI": "http://a..b/purchase/sword"}
        assert client.get("/purchase/sword", environ_overrides=environ).status_code == 400
        assert taken == []


def line_of(game: str, key: str) -> str:
    return f"{game} {hashlib.sha256(key.encode()).hexdigest()}\n"


class TestKeys:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("game_api.access.LOOK_AGAIN_SECONDS", 0)
        file = tmp_path / "keys"
        file.write_text(line_of("chess", "leaked") + line_of("go", "good"))
        return file

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "# nothing\n",
            "chess\n",
            "\x00",
            "\xff",
            "chess " + "0" * 63 + "\n",
            line_of("chess", "other"),
            "chess not-a-digest\n" + line_of("chess", "other"),
            line_of("chess", "other") + "go " + "g" * 64 + "\n",
            "# " + line_of("chess", "leaked"),
        ],
        ids=range(10),
    )
    def test_a_key_whose_line_was_removed_no_longer_works_whatever_the_file_holds(
        self, file: Path, content: str
    ) -> None:
        keys = KeyRing(file)
        assert keys.game_of("leaked") == "chess"
        file.write_bytes(content.encode("latin-1"))
        assert keys.game_of("leaked") is None
        assert keys.game_of("other") == ("chess" if "\n" in content and line_of("chess", "other") in content else None)

    def test_valid_lines_count_although_others_are_wrong(self, file: Path) -> None:
        keys = KeyRing(file)
        file.write_text("chess oops\n" + line_of("go", "good") + "\N{ZERO WIDTH SPACE} x y\n")
        assert (keys.game_of("good"), keys.game_of("leaked")) == ("go", None)

    def test_without_a_key_file_all_events_are_refused_until_it_is_back(self, file: Path) -> None:
        keys = KeyRing(file)
        assert keys.game_of("good") == "go"
        file.rename(file.with_suffix(".old"))
        assert keys.game_of("good") is None
        file.mkdir()  # an unreadable path
        assert keys.game_of("good") is None
        file.rmdir()
        file.with_suffix(".old").rename(file)
        assert keys.game_of("good") == "go"

    def test_a_change_within_one_tick_of_the_clock_is_seen(self, file: Path) -> None:
        keys = KeyRing(file)
        before = file.stat()
        assert keys.game_of("leaked") == "chess"
        file.write_text(line_of("chess", "locked") + line_of("go", "good"))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert keys.game_of("leaked") is None

    def test_wrong_lines_are_logged_by_number_without_their_content(
        self, own_settings: Settings, taken: list[dict[str, Any]], file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        app_of(own_settings)  # sets up the log
        file.write_text("# games\nchess s3cret-key-by-mistake\n" + line_of("go", "good"))
        KeyRing(file).game_of("good")
        assert "'lines': [2]" in caplog.text
        assert "s3cret" not in caplog.text
        assert hashlib.sha256(b"good").hexdigest() not in caplog.text

    def test_a_byte_order_mark_is_not_part_of_the_name(self) -> None:
        assert list(read_keys(b"\xef\xbb\xbf" + line_of("chess", "x").encode())[0].values()) == ["chess"]

    @pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"chess\n", b"chess abc\n", b"\xff"], ids=range(6))
    def test_a_file_without_a_key_stops_the_start(
        self, own_settings: Settings, tmp_path: Path, content: bytes | None
    ) -> None:
        file = tmp_path / "none"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(Exception, match="DAYBOOK_API_KEYS_FILE"):
            check_at_start(own_settings.model_copy(update={"api_keys_file": str(file)}))


def test_metrics_that_no_worker_could_store_are_not_shown_as_zero(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    assert client.get("/metrics").status_code == 503
    for folder in (tmp_path / "gone", tmp_path):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
        assert client.get("/metrics").status_code == 503


class TestReserve:
    def test_a_file_has_all_its_blocks_and_keeps_what_it_holds(self, tmp_path: Path) -> None:
        file = tmp_path / "counts"
        reserve(file, 8192)
        assert (file.stat().st_size, file.stat().st_blocks * 512 >= 8192) == (8192, True)
        file.write_bytes(b"x" * 10)
        reserve(file, 8192)
        assert file.read_bytes() == b"x" * 10 + bytes(8182)
        reserve(file, 100)
        assert file.stat().st_size == 8192

    def test_on_a_full_disk_it_is_an_error_and_not_the_end_of_the_process(self, tmp_path: Path) -> None:
        """On a real file system without a free block.

        Writing to a sparse file there would kill the process.
        """
        alone = ["unshare", "--user", "--mount", "--map-root-user"]
        if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount a file system of his own")
        script = f'mount -t tmpfs -o size=64k tmpfs {tmp_path}; cat /dev/zero > {tmp_path}/filler; exec "$@"'

        def run(code: str) -> subprocess.CompletedProcess[str]:
            command = [*alone, "sh", "-c", script, "sh", sys.executable, "-c", code, str(tmp_path / "counts")]
            return subprocess.run(command, capture_output=True, text=True, check=False)

        sparse = (
            "import mmap, sys; f = open(sys.argv[1], 'a+b'); f.truncate(8192); mmap.mmap(f.fileno(), 8192)[0:1] = b'x'"
        )
        assert run(sparse).returncode == -signal.SIGBUS
        reserved = (
            "import sys; from pathlib import Path; from game_api.shared_files import reserve\n"
            "file = Path(sys.argv[1])\n"
            "try: reserve(file, 8192)\n"
            "except OSError as error: print(error.errno, file.exists())"
        )
        assert run(reserved).stdout.split() == [str(errno.ENOSPC), "False"]

    def test_a_limit_without_its_file_is_the_workers_own(self, tmp_path: Path) -> None:
        (tmp_path / "api").write_text("a file where the folder should be")
        limit = EventLimit(tmp_path / "api" / "limits", 1)
        limit.spend("chess", 1000)
        with pytest.raises(TooManyEvents):
            limit.spend("chess", 1)


class TestGunicornConf:
    """Its functions, called as gunicorn calls them; an integration test runs gunicorn itself on a full disk."""

    @pytest.fixture
    def conf(self, own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setattr(values, "ValueClass", values.ValueClass)  # monkeypatch restores it
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # and this
        return runpy.run_path(str(REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"))

    def test_a_worker_without_room_for_its_metrics_starts(
        self, own_settings: Settings, conf: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        own_settings.home.write_text("a file where the folder should be")
        conf["when_ready"](None)
        conf["post_fork"](None, SimpleNamespace(place=1))
        assert values.ValueClass is values.MutexValue
        assert "worker 1 exports no metrics" in caplog.text

    def test_a_worker_with_room_keeps_its_metrics_in_files_that_have_it(
        self, own_settings: Settings, conf: dict[str, Any]
    ) -> None:
        conf["when_ready"](None)
        conf["post_fork"](None, SimpleNamespace(place=3))
        assert values.ValueClass is not values.MutexValue
        files = sorted((own_settings.api_state_dir / "metrics").iterdir())
        assert [file.name for file in files] == ["counter_3.db", "gauge_livesum_3.db", "histogram_3.db"]
        assert all(file.stat().st_blocks * 512 >= conf["METRICS_FILE_BYTES"] for file in files)

    def test_there_is_a_file_for_every_kind_of_metric(self, conf: dict[str, Any]) -> None:
        kinds = {
            "gauge_" + one._multiprocess_mode if isinstance(one, Gauge) else one._type
            for one in vars(metrics).values()
            if isinstance(one, MetricWrapperBase)
        }
        assert kinds == set(conf["METRICS_FILES"])

    def test_nothing_is_cleared_before_the_port_is_ours(self, own_settings: Settings, conf: dict[str, Any]) -> None:
        running = own_settings.api_state_dir / "limits"
        running.parent.mkdir(parents=True)
        running.write_bytes(b"used")
        conf["on_starting"](None)  # gunicorn binds its sockets after this and before when_ready
        assert running.read_bytes() == b"used"
        conf["when_ready"](None)
        assert not running.exists()

    def test_a_file_without_a_key_ends_the_start(self, own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
        monkeypatch.setenv("DAYBOOK_API_KEYS_FILE", str(own_settings.home / "none"))
        load_settings.cache_clear()
        conf = runpy.run_path(str(REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"))
        with pytest.raises(SystemExit):
            conf["on_starting"](None)


def test_new_events_are_made_by_each_try_of_the_page(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    examples = document["paths"]["/events"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert "event_id" not in json.dumps(examples)
    assert "occurred_at" not in json.dumps(examples)
    for example in examples.values():
        assert post(client, example["value"]).status_code == 201


def test_the_routes_of_2019_are_marked_as_old(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    old = {path for path, methods in paths.items() if all(one.get("deprecated") for one in methods.values())}
    assert old == {"/purchase/{item}", "/join_a_guild"}


def test_the_root_leads_to_the_page(client: FlaskClient) -> None:
    answer = client.get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert "swagger" in answer.text


def test_where_keys_are_asked_for_the_page_has_a_place_for_one(
    own_settings: Settings, taken: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(line_of("chess", "secret"))
    client = app_of(own_settings, api_keys_file=str(file)).test_client()
    document = client.get("/openapi.json").get_json()
    [scheme] = document["components"]["securitySchemes"]
    assert document["paths"]["/events"]["post"]["security"] == [{scheme: []}]
    assert client.get("/").status_code == 302, "no key is asked for the way to the page"


PAGE = (REPOSITORY / "services" / "game_api" / "README.md").read_text(encoding="utf-8")


def test_the_contract_pages_first_call_is_a_new_event_each_time(
    client: FlaskClient, taken: list[dict[str, Any]]
) -> None:
    call = re.search(r"^curl .*? -d '(.*?)'", PAGE, re.DOTALL | re.MULTILINE)
    assert call is not None
    for _ in range(2):
        assert post(client, call[1].encode()).status_code == 201
    assert taken[0]["event_id"] != taken[1]["event_id"]
    assert abs(datetime.fromisoformat(taken[0]["occurred_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


class TestClientOfTheContractPage:
    @pytest.fixture
    def asked(self) -> list[dict[str, Any]]:
        """The events that the double of an intake received."""
        return []

    @pytest.fixture
    def send(self, asked: list[dict[str, Any]], request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
        """The page's client, connected to a double of an intake that gives the listed answers in turn."""
        answers = iter(request.param)

        class Double(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status = next(answers)
                if status == 0:  # the connection breaks during the request
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = json.dumps({"events": [asked[-1]]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Retry-After", "7")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        example = re.search(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        assert example is not None
        names: dict[str, Any] = {}
        exec(example[1], names)
        self.waits: list[float] = []
        names["time"] = SimpleNamespace(sleep=self.waits.append)
        with ThreadingHTTPServer(("127.0.0.1", 0), Double) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield partial(names["send"], url=f"http://127.0.0.1:{server.server_port}/events")
            server.shutdown()

    @pytest.mark.parametrize("send", [[503, 0, 429, 408, 201]], indirect=True)
    def test_it_repeats_what_may_be_repeated_as_one_event(
        self, send: Callable[..., Any], asked: list[dict[str, Any]]
    ) -> None:
        assert send(SWORD)["event_id"] == asked[0]["event_id"]
        assert len(asked) == 5
        assert all(event == asked[0] for event in asked)
        check_event(asked[0], items=["sword"], latest=datetime.now(UTC))
        assert self.waits == [7, 2, 7, 8]

    @pytest.mark.parametrize("send", [[400], [401], [413], [403]], indirect=True, ids=str)
    def test_it_does_not_retry_what_is_refused(self, send: Callable[..., Any], asked: list[dict[str, Any]]) -> None:
        with pytest.raises(urllib.error.HTTPError):
            send(SWORD)
        assert (len(asked), self.waits) == (1, [])

    @pytest.mark.parametrize("send", [[503] * 8], indirect=True, ids=["503"])
    def test_it_gives_up_and_reports_it(self, send: Callable[..., Any], asked: list[dict[str, Any]]) -> None:
        with pytest.raises(TimeoutError, match="keep it"):
            send(SWORD)
        assert len(asked) == 8
