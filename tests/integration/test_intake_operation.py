"""The intake in operation: who may send and how much, its logs and metrics, and its defence against clients."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import urllib3
from click.testing import CliRunner

from daybook.settings import Settings
from game_api.access import api_key, read_keys
from tests.integration.own_broker import OwnBroker, OwnIntake, intake_command, own_settings, records, until

pytestmark = [pytest.mark.integration, pytest.mark.long]

SWORD: dict[str, Any] = {"event_type": "purchase_item", "item": "sword", "user_id": "user1", "host": "user1.att.com"}
WORKERS = 2


def beside(settings: Settings, name: str) -> Settings:
    """Settings of another intake on the same broker."""
    home = settings.home / name
    return settings.model_copy(update={"home": home, "api_port": own_settings(home).api_port})


def ask(
    settings: Settings, path: str, body: Any = None, host: str = "127.0.0.1", **headers: str
) -> urllib3.BaseHTTPResponse:
    return urllib3.request(
        "GET" if body is None else "POST",
        f"http://{host}:{settings.api_port}{path}",
        body=None if body is None else json.dumps(body),
        headers={"Content-Type": "application/json", **headers},
        retries=False,
        timeout=20,
    )


def is_served(settings: Settings) -> bool:
    try:
        return ask(settings, "/events", SWORD).status == 201
    except urllib3.exceptions.HTTPError:
        return False


def metric(settings: Settings, name: str, **headers: str) -> float:
    """Return the value of a sample of ``/metrics``; 0 if it is missing."""
    text = ask(settings, "/metrics", **headers).data.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def workers(intake: OwnIntake) -> list[int]:
    assert intake.process is not None
    return [child.pid for child in psutil.Process(intake.process.pid).children()]


def kill_workers(intake: OwnIntake) -> None:
    """Kill every worker; wait until all are replaced and one of the new ones serves."""
    before = workers(intake)
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        # the master starts them one by one
        return len(set(workers(intake)) - set(before)) == WORKERS

    until(lambda: replaced() and intake.status("/health/ready") == 200, "new workers")


def new_key(game: str) -> tuple[str, str]:
    """Return the key that ``daybook api-key`` prints, and its line for the file."""
    printed = CliRunner().invoke(api_key, [game]).output.splitlines()
    return printed[0].split()[-1], printed[1].partition(":")[2].strip()


Guarded = tuple[Settings, OwnIntake, Path, str]
"""An intake that requires keys: its settings, the intake itself, the file of keys and one key."""


@pytest.fixture(scope="module")
def guarded(settings: Settings, broker: OwnBroker) -> Iterator[Guarded]:
    own = beside(settings, "guarded")
    own.home.mkdir(parents=True)
    key, line = new_key("chess")
    file = own.home / "keys"
    file.write_text(f"# the games\n{line}  # since May\n")
    with OwnIntake(
        own, DAYBOOK_API_KEYS_FILE=str(file), DAYBOOK_API_HOST="0.0.0.0", DAYBOOK_API_WORKERS=str(WORKERS)
    ) as intake:
        until(lambda: intake.status("/health/ready") == 200, "intake ready")
        yield own, intake, file, key


class TestKeys:
    def test_only_a_known_key_may_send(self, guarded: Guarded) -> None:
        own, _, _, key = guarded
        without = ask(own, "/events", SWORD)
        assert (without.status, without.headers["WWW-Authenticate"]) == (401, "Bearer")
        for header in ("Bearer", "Bearer ", "Basic " + key, key, "Bearer " + key + "x", "Bearer \xff"):
            wrong = ask(own, "/events", SWORD, Authorization=header)
            assert wrong.status == 401, header
            assert key not in wrong.data.decode()
        assert ask(own, "/events", SWORD, Authorization=f"Bearer {key}").status == 201
        assert ask(own, "/events", SWORD, Authorization=f"bearer  {key}").status == 201

    def test_which_paths_need_no_login(self, guarded: Guarded) -> None:
        own, _, _, key = guarded
        found = {path: ask(own, path).status for path in ("/health/live", "/openapi.json", "/docs/", "/metrics", "/no")}
        assert found == {"/health/live": 200, "/openapi.json": 200, "/docs/": 200, "/metrics": 401, "/no": 404}
        assert ask(own, "/metrics", Authorization=f"Bearer {key}").status == 200
        # these routes take no key; with keys configured they exist only on request
        assert ask(own, "/purchase/sword").status == 404
        assert "key" in ask(own, "/openapi.json").json()["components"]["securitySchemes"]

    def test_keys_are_rotated_without_a_restart(self, guarded: Guarded) -> None:
        own, intake, file, old = guarded
        new, line = new_key("chess")
        first = file.read_text()

        def works(key: str) -> bool:
            # several times: both workers must accept it
            return all(ask(own, "/events", SWORD, Authorization=f"Bearer {key}").status == 201 for _ in range(12))

        file.write_text(first + line + "\n")
        until(lambda: works(new), "the new key works")
        assert works(old)
        file.write_text(line + "\n")
        until(lambda: ask(own, "/events", SWORD, Authorization=f"Bearer {old}").status == 401, "the old one is refused")
        # an operator removes the leaked key in a hurry, and corrupts another line
        file.write_text("chess not-a-digest\n" + first)
        until(lambda: works(old), "the old key is back beside a wrong line")
        assert '"lines": [1]' in intake.log.read_text()
        refused = "the new one, whose line is gone, is refused"
        until(lambda: ask(own, "/events", SWORD, Authorization=f"Bearer {new}").status == 401, refused)
        file.unlink()
        until(lambda: ask(own, "/events", SWORD, Authorization=f"Bearer {old}").status == 401, "without a file nobody")
        kill_workers(intake)
        assert ask(own, "/events", SWORD, Authorization=f"Bearer {old}").status == 401, "nor with new workers"
        before = workers(intake)
        file.write_text(first)
        until(lambda: works(old), "the old key is back")
        assert workers(intake) == before

    def test_no_key_is_in_the_log(self, guarded: Guarded) -> None:
        own, intake, file, key = guarded
        ask(own, "/events", SWORD, Authorization=f"Bearer {key}x")
        ask(own, "/events", {**SWORD, "item": "spoon"}, Authorization=f"Bearer {key}")
        log = intake.log.read_text()
        assert '"game": "chess"' in log
        assert key not in log
        assert not any(digest in log for digest in read_keys(file.read_bytes())[0])
        assert hashlib.sha256(key.encode()).hexdigest() not in log

    @pytest.mark.parametrize("content", [None, "", "# nothing\n", "chess\n", "chess abc\n", "\xff"], ids=range(6))
    def test_a_file_without_a_key_stops_the_start(
        self, settings: Settings, tmp_path: Path, content: str | None
    ) -> None:
        own = beside(settings, "no-key")
        file = tmp_path / "keys"
        if content is not None:
            file.write_bytes(content.encode("latin-1"))
        with pytest.raises(AssertionError), OwnIntake(own, timeout_seconds=4, DAYBOOK_API_KEYS_FILE=str(file)):
            pass
        assert "DAYBOOK_API_KEYS_FILE" in (own.home / "own-intake.log").read_text()


def listening(intake: OwnIntake) -> set[str]:
    """Return the addresses on which the intake's master listens."""
    assert intake.process is not None
    connections = psutil.Process(intake.process.pid).net_connections()
    return {one.laddr.ip for one in connections if one.status == "LISTEN"}


@pytest.mark.parametrize(
    ("asked", "found"), [("0.0.0.0", {"0.0.0.0"}), ("127.0.0.2", {"127.0.0.1", "127.0.0.2"})], ids=["all", "one"]
)
def test_with_keys_it_listens_on_the_configured_address(
    settings: Settings, broker: OwnBroker, tmp_path: Path, asked: str, found: set[str]
) -> None:
    own = beside(settings, f"listens-{asked}")
    file = tmp_path / "keys"
    file.write_text(new_key("chess")[1])
    with OwnIntake(own, DAYBOOK_API_KEYS_FILE=str(file), DAYBOOK_API_HOST=asked) as intake:
        assert listening(intake) == found
        assert ask(own, "/health/live", host="127.0.0.2").status == 200
        assert "loopback only" not in intake.log.read_text()


def test_without_keys_it_listens_only_on_loopback_and_reports_it(settings: Settings, broker: OwnBroker) -> None:
    own = beside(settings, "open")
    with OwnIntake(own, DAYBOOK_API_HOST="0.0.0.0") as intake:
        assert intake.process is not None
        listening = [
            one.laddr.ip for one in psutil.Process(intake.process.pid).net_connections() if one.status == "LISTEN"
        ]
        assert listening == ["127.0.0.1"]
        assert "listening on loopback only" in intake.log.read_text()


class TestLimit:
    def test_it_is_one_for_all_workers_and_outlives_a_killed_one(self, settings: Settings, broker: OwnBroker) -> None:
        own = beside(settings, "limited")
        # a burst of one full request, then one event in 100 seconds: every event above that is a leak
        with OwnIntake(own, DAYBOOK_API_EVENTS_PER_SECOND="1", DAYBOOK_API_WORKERS=str(WORKERS)) as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            assert ask(own, "/events", [SWORD] * 990).status == 201
            answers = [ask(own, "/events", [SWORD] * 5) for _ in range(12)]
            taken = sum(answer.status == 201 for answer in answers)
            assert 2 <= taken <= 8
            refused = answers[-1]
            assert refused.status == 429
            assert refused.json()["detail"].startswith("over 1 events per second; no event was accepted")
            assert 1 <= int(refused.headers["Retry-After"]) <= 5
            kill_workers(intake)
            assert ask(own, "/events", [SWORD] * 900).status == 429


class TestMetrics:
    def test_they_add_up_over_workers_also_over_killed_ones(self, settings: Settings, broker: OwnBroker) -> None:
        own = beside(settings, "metered")
        with OwnIntake(own, DAYBOOK_API_WORKERS=str(WORKERS)) as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            accepted = 'daybook_events_total{event_type="purchase_item",verdict="accepted"}'
            sent = 0
            for _ in range(3):
                for _ in range(10):
                    assert ask(own, "/events", [SWORD, SWORD]).status == 201
                    sent += 2
                kill_workers(intake)
                assert metric(own, accepted) == sent
            ask(own, "/events", [{"event_type": "dance"}, {"event_type": "join_guild", "item": 5}, 7])
            assert metric(own, 'daybook_events_total{event_type="unknown",verdict="refused"}') == 2
            assert metric(own, 'daybook_events_total{event_type="join_guild",verdict="refused"}') == 1
            assert metric(own, "daybook_acknowledgement_seconds_count") == sent / 2

            def kept(kind: str) -> set[str]:
                return {file.name for file in (own.api_state_dir / "metrics").glob(f"{kind}_*.db")}

            # one file per worker slot, however many are killed: a histogram's from worker start, a counter's from
            # its first count, and a single worker may have served every request
            until(lambda: kept("histogram") == {"histogram_1.db", "histogram_2.db"}, "a file for each place", 20)
            assert kept("counter") <= {"counter_1.db", "counter_2.db"}

    def test_an_unavailable_broker_is_shown(self, settings: Settings, broker: OwnBroker) -> None:
        own = beside(settings, "topicless")
        with OwnIntake(own, DAYBOOK_KAFKA_TOPIC="missing"):
            assert ask(own, "/events", SWORD).status == 503
            until(lambda: metric(own, "daybook_broker_away_workers") == 1, "the circuit is open")
            assert metric(own, 'daybook_events_total{event_type="purchase_item",verdict="unavailable"}') == 1


class TestFullDisk:
    def test_events_are_taken_where_the_state_folder_has_no_room(self, settings: Settings, broker: OwnBroker) -> None:
        own = beside(settings, "full")
        with IntakeOnAFullDisk(own, DAYBOOK_API_EVENTS_PER_SECOND="1000", DAYBOOK_API_WORKERS=str(WORKERS)) as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            for _ in range(10):
                assert ask(own, "/events", [SWORD] * 3).status == 201
            assert ask(own, "/metrics").status == 503
            log = intake.log.read_text()
            assert "No space left on device" in log
            assert log.count("Booting worker") == 2, "no worker died"


class IntakeOnAFullDisk(OwnIntake):
    """An intake whose state folder is a full file system."""

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        home = shlex.quote(str(self.settings.home))
        fill = f"mkdir {home}/api-{self.settings.api_port}; cat /dev/zero > {home}/filler"
        script = f'mount -t tmpfs -o size=64k tmpfs {home} && {{ {fill}; exec "$@"; }}'
        alone = ["unshare", "--user", "--mount", "--map-root-user"]
        if subprocess.run([*alone, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
            pytest.skip("this machine lets nobody mount a file system of his own")
        super()._spawn([*alone, "sh", "-c", script, "sh", *command], environment)


def test_a_second_intake_on_the_port_leaves_the_counts_of_the_first(settings: Settings, broker: OwnBroker) -> None:
    own = beside(settings, "twice")
    with OwnIntake(own, DAYBOOK_API_EVENTS_PER_SECOND="1") as intake:
        until(lambda: intake.status("/health/ready") == 200, "intake ready")
        assert ask(own, "/events", [SWORD] * 999).status == 201
        accepted = 'daybook_events_total{event_type="purchase_item",verdict="accepted"}'
        assert metric(own, accepted) == 999
        second = subprocess.run(
            intake_command(), env=intake.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode != 0
        assert "in use" in second.stderr
        assert metric(own, accepted) == 999
        assert ask(own, "/events", [SWORD] * 100).status == 429


@pytest.fixture(scope="module")
def named(settings: Settings, broker: OwnBroker) -> Iterator[tuple[Settings, OwnIntake]]:
    own = beside(settings, "named")
    with OwnIntake(own) as running:
        yield own, running


class TestRequestIds:
    def test_an_id_of_the_caller_is_kept_in_answer_and_log(self, named: tuple[Settings, OwnIntake]) -> None:
        own, running = named
        answer = ask(own, "/events", {}, **{"X-Request-Id": "match-17.a"})
        assert (answer.headers["X-Request-Id"], answer.json()["request_id"]) == ("match-17.a", "match-17.a")
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
        [line] = [line for line in lines if line.get("request_id") == "match-17.a"]
        assert (line["status"], line["route"], line["refused"]) == (400, "/events", 1)

    @pytest.mark.parametrize("given", ["", "a b", "<script>", "a" * 65, '"', "\xff"])
    def test_a_request_id_that_cannot_be_logged_is_replaced(
        self, named: tuple[Settings, OwnIntake], given: str
    ) -> None:
        own, _ = named
        answer = ask(own, "/events", {}, **{"X-Request-Id": given})
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["X-Request-Id"])


class TestProxy:
    @pytest.mark.parametrize(("trusted", "provider_host"), [("127.0.0.0/8, ::1", "user9.cox.com"), ("10.0.0.0/8", "")])
    def test_a_forwarded_host_counts_from_a_trusted_proxy_alone(
        self, settings: Settings, broker: OwnBroker, trusted: str, provider_host: str
    ) -> None:
        own = beside(settings, f"behind-{trusted[:2]}")
        with OwnIntake(own, DAYBOOK_API_TRUSTED_PROXIES=trusted):
            event_id = str(uuid4())
            headers = {"Host": "user1.att.com", "X-Forwarded-Host": "forged.example, user9.cox.com"}
            answer = ask(own, "/events", {"event_type": "join_guild", "event_id": event_id}, **headers)
            assert answer.status == 201
            values = [json.loads(message.value() or b"") for message in records(own).values()]
            [host] = [value["host"] for value in values if value["event_id"] == event_id]
            assert host == (provider_host or "user1.att.com")
            hostile = ask(own, "/events", SWORD, **{"X-Forwarded-Host": "<script>"})
            assert hostile.status == (400 if provider_host else 201)

    def test_a_wrong_network_stops_the_start(self, settings: Settings) -> None:
        own = beside(settings, "wrong-network")
        with (
            pytest.raises(AssertionError),
            OwnIntake(own, timeout_seconds=4, DAYBOOK_API_TRUSTED_PROXIES="10.0.0.0/99"),
        ):
            pass
        assert "DAYBOOK_API_TRUSTED_PROXIES" in (own.home / "own-intake.log").read_text()


class TestSlowClients:
    HEAD = b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"

    @pytest.mark.parametrize(
        "sent", [b"", b"POST /events HTTP/1.1\r\nHost: a", HEAD + b'{"event'], ids=["connect", "head", "body"]
    )
    def test_clients_that_stall_do_not_hold_the_threads(
        self, settings: Settings, broker: OwnBroker, sent: bytes
    ) -> None:
        own = beside(settings, f"stalled-{len(sent)}")
        with OwnIntake(own, DAYBOOK_API_THREADS="4") as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            stalled = [socket.create_connection(("127.0.0.1", own.api_port), timeout=60) for _ in range(12)]
            try:
                for client in stalled:
                    client.sendall(sent)
                until(lambda: is_served(own), "a good client is served", 45)
            finally:
                for client in stalled:
                    client.close()
            assert "Traceback" not in intake.log.read_text()

    def test_a_body_that_drips_is_answered_and_closed(self, settings: Settings, broker: OwnBroker) -> None:
        own = beside(settings, "dripping")
        with OwnIntake(own) as intake:
            until(lambda: intake.status("/health/ready") == 200, "intake ready")
            with socket.create_connection(("127.0.0.1", own.api_port), timeout=1) as client:
                client.sendall(self.HEAD)
                answer = b""

                def answered() -> bool:
                    nonlocal answer
                    try:
                        client.sendall(b" ")
                        answer += client.recv(65536)
                    except TimeoutError:
                        return False
                    return b"\r\n\r\n" in answer

                until(answered, "the dripping client is answered", 30)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert "Traceback" not in intake.log.read_text()
