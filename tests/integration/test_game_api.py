"""The intake under gunicorn on a real broker: accepted events are in the topic, refused ones are nowhere."""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from typing import Any
from uuid import uuid4

import pytest
import urllib3
from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # their documented home
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from prometheus_client import REGISTRY

from daybook.kafka.admin import kafka_admin
from daybook.settings import Settings
from game_api.producer import EventProducer
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, record_ids, records, until

pytestmark = pytest.mark.integration

SWORD: dict[str, Any] = {"event_type": "purchase_item", "item": "sword", "user_id": "user1", "host": "user1.att.com"}
JSON = {"Content-Type": "application/json"}


def post(settings: Settings, body: Any, **headers: str) -> urllib3.BaseHTTPResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return urllib3.request(
        "POST", f"{settings.intake_url}/events", body=raw, headers={**JSON, **headers}, retries=False, timeout=20
    )


def raw_request(settings: Settings, request: bytes) -> tuple[int, str]:
    """Send the bytes unchanged; return status and body of the answer."""
    with socket.create_connection(("127.0.0.1", settings.api_port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def head_of_answer(connection: socket.socket) -> HTTPResponse:
    """Read the status and headers of an answer, but not its body: they can arrive separately."""
    answer = HTTPResponse(connection)
    answer.begin()
    return answer


def record_at(settings: Settings, row: dict[str, Any]) -> Message:
    return records(settings)[row["partition"], row["offset"]]


def decoded(message: Message) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(message.value() or b"")
    return value


@pytest.fixture
def added(settings: Settings, intake: OwnIntake) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the topic's new records since the test began."""
    before = records(settings).keys()
    return lambda: [decoded(message) for at, message in records(settings).items() if at not in before]


class TestPostEvents:
    def test_an_accepted_event_is_at_the_offset_that_the_response_names(
        self, settings: Settings, intake: OwnIntake
    ) -> None:
        sent = {**SWORD, "event_id": str(uuid4()), "occurred_at": "2026-05-03T23:59:59.5+02:00"}
        answer = post(settings, sent, **{"User-Agent": "game/1.0"})
        assert answer.status == 201
        [row] = answer.json()["events"]
        assert answer.json() == {
            "accepted": 1,
            "refused": 0,
            "events": [
                {
                    "index": 0,
                    "event_id": sent["event_id"],
                    "status": "accepted",
                    "partition": row["partition"],
                    "offset": row["offset"],
                }
            ],
        }
        message = record_at(settings, row)
        assert message.key() == b"user1"
        record = decoded(message)
        received_at = datetime.fromisoformat(record.pop("received_at"))
        assert abs(datetime.now(UTC) - received_at) < timedelta(seconds=30)
        assert record == {
            "event_id": sent["event_id"],
            "event_type": "purchase_item",
            "item": "sword",
            "guild": None,
            "user_id": "user1",
            "host": "user1.att.com",
            "occurred_at": "2026-05-03T21:59:59.500000Z",
            "user_agent": "game/1.0",
            "schema_version": 1,
        }
        # the record's timestamp is now, whatever the event's time is: retention would delete a backdated record
        assert abs(time.time() * 1000 - message.timestamp()[1]) < 30_000

    def test_the_answer_to_a_batch_reports_the_result_of_each_event(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        ids = [str(uuid4()) for _ in range(3)]
        answer = post(
            settings,
            [
                {**SWORD, "event_id": ids[0]},
                {**SWORD, "event_id": ids[1], "item": "spoon"},
                "not an event",
                {"event_type": "join_guild", "guild": "wolves", "event_id": ids[2]},
            ],
        )
        assert answer.status == 207
        body = answer.json()
        assert (body["accepted"], body["refused"]) == (2, 2)
        assert [(row["index"], row["status"], row.get("event_id")) for row in body["events"]] == [
            (0, "accepted", ids[0]),
            (1, "refused", ids[1]),
            (2, "refused", None),
            (3, "accepted", ids[2]),
        ]
        assert [error["field"] for row in body["events"] for error in row.get("errors", [])] == ["item", "event"]
        assert {record["event_id"] for record in added()} == {ids[0], ids[2]}

    def test_a_thousand_events_are_taken_at_once(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        answer = post(settings, [{**SWORD, "user_id": f"user{n}"} for n in range(1000)])
        assert (answer.status, answer.json()["accepted"]) == (201, 1000)
        assert {record["event_id"] for record in added()} == {row["event_id"] for row in answer.json()["events"]}

    def test_the_idempotency_key_is_the_id_of_a_single_event(self, settings: Settings, intake: OwnIntake) -> None:
        key = str(uuid4())
        assert post(settings, SWORD, **{"Idempotency-Key": key}).json()["events"][0]["event_id"] == key
        for body, header in (
            ([SWORD, SWORD], key),
            ({**SWORD, "event_id": str(uuid4())}, key),
            (SWORD, "not-a-uuid"),
        ):
            answer = post(settings, body, **{"Idempotency-Key": header})
            assert (answer.status, answer.json()["errors"][0]["field"]) == (400, "Idempotency-Key")

    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            (b"", 400, "body"),
            (b"{", 400, "body"),
            (b"[]", 400, "body"),
            (b"\xff", 400, "body"),
            (b"[" * 200_000, 400, "body"),
            (b"9" * 100_000, 400, "body"),
            (b'{"event_type": "join_guild", "schema_version": NaN}', 400, "body"),
            (b'{"event_type": "join_guild", "guild": "a", "guild": "b"}', 400, "guild"),
            (json.dumps([SWORD] * 1001).encode(), 413, "body"),
            (b'"' + b"a" * 1024 * 1024 + b'"', 413, "body"),
            (b'{"event_type": "join_guild", "guild": "\\ud800"}', 400, "guild"),
            (b'{"event_type": "join_guild", "guild": "a\\u0000"}', 400, "guild"),
            (b'{"event_type": "join_guild", "schema_version": 9223372036854775808}', 400, "schema_version"),
            (b'{"event_type": "join_guild", "schema_version": 1e999}', 400, "schema_version"),
            (b'{"event_type": "join_guild", "occurred_at": "0001-01-01T00:00:00+14:00"}', 400, "occurred_at"),
            (b'{"event_type": ["join_guild"]}', 400, "event_type"),
            (b'{"event_type": "join_guild", "\\udfff": 1}', 400, "\\udfff"),
        ],
        ids=range(17),
    )
    def test_a_bad_body_names_the_field_and_produces_nothing(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]], body: bytes, status: int, field: str
    ) -> None:
        answer = post(settings, body)
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        errors = problem["errors"] if "errors" in problem else problem["events"][0]["errors"]
        assert errors[0]["field"] == field
        assert added() == []

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json; charset=utf-16"},
            {"Content-Encoding": "br"},
        ],
        ids=str,
    )
    def test_a_body_that_is_not_json_is_refused_unread(
        self, settings: Settings, intake: OwnIntake, headers: dict[str, str]
    ) -> None:
        answer = post(settings, gzip.compress(json.dumps(SWORD).encode()), **headers)
        assert (answer.status, answer.json()["errors"][0]["field"]) == (415, next(iter(headers)))

    def test_a_body_without_a_length_is_bounded_too(self, settings: Settings, intake: OwnIntake) -> None:
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        head = (
            b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        status, _ = raw_request(settings, head + chunk * 17 + b"0\r\n\r\n")
        assert status == 413

    @pytest.mark.parametrize(
        ("head", "body", "status"),
        [
            (b"Content-Type: text/plain", b" " * 300_000, 415),
            (b"Content-Type: application/json", b" " * 1_100_000, 413),
            (b"Content-Type: text/plain\r\nTransfer-Encoding: chunked", b"10000\r\n" + b" " * 0x10000 + b"\r\n", 415),
        ],
        ids=["415", "413", "chunks"],
    )
    def test_a_response_to_an_unread_body_closes_the_connection(
        self, settings: Settings, intake: OwnIntake, head: bytes, body: bytes, status: int
    ) -> None:
        length = b"" if b"chunked" in head else b"Content-Length: %d\r\n" % len(body)
        request = b"POST /events HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + length + b"\r\n" + body
        with socket.create_connection(("127.0.0.1", settings.api_port), timeout=20) as connection:
            with contextlib.suppress(OSError):  # the intake may close it before everything is sent
                connection.sendall(request)
            answer = head_of_answer(connection)
        assert answer.status == status
        assert answer.headers["Connection"] == "close"

    @pytest.mark.parametrize("content_type", [b"text/plain", b"application/json"])
    def test_after_a_small_body_the_connection_is_kept(
        self, settings: Settings, intake: OwnIntake, content_type: bytes
    ) -> None:
        bad = b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: 9\r\n\r\n{broken  "
        live = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", settings.api_port), timeout=20) as connection:
            connection.sendall(bad % content_type)
            refused = head_of_answer(connection)
            refused.read()
            connection.sendall(live)
            answer = head_of_answer(connection)
        assert refused.headers["Connection"] == "keep-alive"
        assert answer.status == 200

    def test_lines_and_packed_bodies_are_taken(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        ids = [str(uuid4()) for _ in range(3)]
        lines = b"\n".join(json.dumps({**SWORD, "event_id": one}).encode() for one in ids[:2])
        answer = post(settings, lines + b"\n{broken\n", **{"Content-Type": "application/x-ndjson"})
        assert (answer.status, answer.json()["accepted"], answer.json()["refused"]) == (207, 2, 1)
        assert [row["status"] for row in answer.json()["events"]] == ["accepted", "accepted", "refused"]
        packed = gzip.compress(json.dumps([{**SWORD, "event_id": ids[2]}]).encode())
        assert post(settings, packed, **{"Content-Encoding": "gzip"}).status == 201
        assert [record["event_id"] for record in added()] == ids

    def test_a_packed_body_is_bounded_by_what_it_holds(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        bomb = gzip.compress(b" " * 500_000_000)
        assert len(bomb) < 1024 * 1024
        answer = post(settings, bomb, **{"Content-Encoding": "gzip"})
        assert (answer.status, answer.json()["errors"][0]["field"]) == (413, "body")
        assert added() == []

    @pytest.mark.parametrize("host", ["<script>", "a..b", "x y", "\xff", "\xc3\xbc.example"])
    def test_an_invalid_host_header_refuses_the_request(self, settings: Settings, intake: OwnIntake, host: str) -> None:
        def status(event: dict[str, Any]) -> tuple[int, str]:
            body = json.dumps(event).encode()
            head = f"POST /events HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            return raw_request(settings, head.encode("latin-1") + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        for event in (SWORD, {"event_type": "join_guild"}):
            code, answer = status(event)
            if host == "\xc3\xbc.example":  # UTF-8 on the wire: ü.example, a name
                assert code == 201
            else:
                assert (code, json.loads(answer)["errors"][0]["field"]) == (400, "Host")
                assert host not in answer

    def test_other_paths_and_methods_are_problems(self, settings: Settings, intake: OwnIntake) -> None:
        for method, path, status in (("GET", "/events", 405), ("GET", "/nowhere", 404), ("PUT", "/health/live", 405)):
            answer = urllib3.request(method, settings.intake_url + path, retries=False)
            assert (answer.status, answer.json()["status"]) == (status, status)

    def test_a_user_agent_of_any_bytes_is_accepted(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        body = json.dumps(SWORD).encode()
        status, _ = raw_request(
            settings,
            b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"User-Agent: \xff\xc3\xbc" + b"x" * 4000 + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        )
        assert status == 201
        [record] = added()
        assert record["user_agent"] == "\N{REPLACEMENT CHARACTER}ü" + "x" * 254


class TestRoutesOf2019:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("path", "event_type", "item"),
        [("/purchase/sword", "purchase_item", "sword"), ("/join_a_guild", "join_guild", None)],
    )
    def test_the_host_header_names_player_and_provider(
        self,
        settings: Settings,
        added: Callable[[], list[dict[str, Any]]],
        method: str,
        path: str,
        event_type: str,
        item: str | None,
    ) -> None:
        # a request as ApacheBench sends it
        status, body = raw_request(
            settings, f"{method} {path} HTTP/1.0\r\nHost: User53.ATT.com\r\nUser-Agent: ab/2.3\r\n\r\n".encode()
        )
        assert (status, body.count("\n")) == (200, 1)
        [record] = added()
        assert (record["event_type"], record["item"]) == (event_type, item)
        assert (record["user_id"], record["host"], record["user_agent"]) == ("user53", "user53.att.com", "ab/2.3")
        assert record["occurred_at"] == record["received_at"]

    def test_the_host_of_the_target_counts_before_the_header(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        request = (
            b"GET http://user9.cox.com/purchase/sword HTTP/1.1\r\nHost: user1.att.com\r\nConnection: close\r\n\r\n"
        )
        assert raw_request(settings, request)[0] == 200
        assert [record["host"] for record in added()] == ["user9.cox.com"]

    def test_a_page_of_another_site_buys_nothing(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        image = b"GET /purchase/sword HTTP/1.0\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n\r\n"
        assert raw_request(settings, image)[0] == 403
        assert added() == []

    def test_without_a_host_header_the_player_is_unknown(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]]
    ) -> None:
        assert raw_request(settings, b"GET /join_a_guild HTTP/1.0\r\n\r\n")[0] == 200
        assert [(record["user_id"], record["host"]) for record in added()] == [("unknown", "")]

    @pytest.mark.parametrize(
        "request_text",
        [
            "GET /purchase/spoon HTTP/1.0\r\nHost: user1.att.com\r\n\r\n",
            "GET /purchase/%00%ff HTTP/1.0\r\nHost: user1.att.com\r\n\r\n",
            "GET /purchase/sword HTTP/1.0\r\nHost: <script>\r\n\r\n",
            "GET /purchase/sword HTTP/1.0\r\nHost: a..b\r\n\r\n",
            "GET /purchase/sword HTTP/1.0\r\nHost: \xff\xfe\r\n\r\n",
            f"GET /purchase/sword HTTP/1.0\r\nHost: {'a.' * 3000}com\r\n\r\n",
            "GET /purchase/sword HTTP/1.0\r\nHost: user1.att.com\r\nHost: user2.cox.com\r\n\r\n",
            "GET /purchase/sword HTTP/1.0\r\nHost: user1.att.com\r\nIdempotency-Key: 5\r\n\r\n",
            "HEAD /purchase/sword HTTP/1.0\r\nHost: user1.att.com\r\n\r\n",
            "DELETE /purchase/sword HTTP/1.0\r\nHost: user1.att.com\r\n\r\n",
        ],
        ids=range(10),
    )
    def test_an_invalid_event_is_refused_and_produces_nothing(
        self, settings: Settings, added: Callable[[], list[dict[str, Any]]], request_text: str
    ) -> None:
        status, _ = raw_request(settings, request_text.encode("latin-1"))
        assert 400 <= status < 500
        assert added() == []

    def test_headers_of_a_proxy_that_is_not_there_are_not_obeyed(self, settings: Settings, intake: OwnIntake) -> None:
        request = (
            b"GET /join_a_guild HTTP/1.0\r\nHost: user1.att.com\r\nScript-Name: /x\r\nSCRIPT_NAME: /x\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n"
        )
        assert raw_request(settings, request)[0] == 200

    def test_a_setting_turns_them_off(self, broker: OwnBroker, settings: Settings) -> None:
        apart = settings.model_copy(
            update={"home": settings.home / "no-legacy", "api_port": own_settings(settings.home).api_port}
        )
        with OwnIntake(apart, DAYBOOK_LEGACY_ROUTES="false") as intake:
            assert intake.status("/purchase/sword") == 404
            assert intake.status("/join_a_guild") == 404
            assert post(apart, SWORD).status == 201


def test_logs_are_json_and_hold_no_player(settings: Settings, intake: OwnIntake) -> None:
    post(settings, {**SWORD, "item": "spoon", "user_id": "very-secret", "host": "very-secret.att.com"})
    raw_request(settings, b"GET /x HTTP/1.0\r\nHost: very-secret.att.com\r\nHost: very-secret.att.com\r\n\r\n")
    lines = intake.log.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines].count("malformed request refused") >= 1
    assert any(json.loads(line).get("request_id") for line in lines)
    assert not [line for line in lines if "very-secret" in line or "127.0.0.1'" in line]


class TestBrokerAway:
    """Every test must leave the broker running."""

    @pytest.mark.parametrize("loss", ["killed", "frozen"])
    def test_it_is_reported_at_once_and_recovers_by_itself(
        self, settings: Settings, broker: OwnBroker, intake: OwnIntake, loss: str
    ) -> None:
        until(lambda: post(settings, SWORD).status == 201, "healthy before")
        broker.kill() if loss == "killed" else broker.signal(signal.SIGSTOP)
        try:
            # more concurrent requests than the intake has threads: they must not queue behind each other's timeouts
            with ThreadPoolExecutor(64) as threads:
                start = time.monotonic()
                answers = list(threads.map(lambda _: post(settings, SWORD), range(64)))
                assert time.monotonic() - start < 4
            assert {answer.status for answer in answers} == {503}
            assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
            assert answers[0].json()["events"][0]["status"] == "unavailable"
            start = time.monotonic()
            assert post(settings, SWORD).status == 503
            assert intake.status("/purchase/sword") == 503
            assert intake.status("/health/ready") == 503
            assert intake.status("/health/live") == 200
            assert time.monotonic() - start < 1
        finally:
            broker.start() if loss == "killed" else broker.signal(signal.SIGCONT)
        until(lambda: intake.status("/health/ready") == 200, "ready again", 20)
        until(lambda: post(settings, SWORD).status == 201, "taking events again", 10)

    def test_acknowledged_events_survive_the_loss_and_retries_are_distinguished_by_id(
        self, settings: Settings, broker: OwnBroker, intake: OwnIntake
    ) -> None:
        acknowledged: list[str] = []
        over = threading.Event()

        def play() -> None:
            while not over.is_set():
                event_id = str(uuid4())
                while post(settings, {**SWORD, "event_id": event_id}).status != 201:
                    time.sleep(0.1)  # as Retry-After asks, but faster
                acknowledged.append(event_id)

        with ThreadPoolExecutor(4) as threads:
            players = [threads.submit(play) for _ in range(4)]
            until(lambda: len(acknowledged) > 50, "playing")
            broker.kill()
            broker.start()
            after = len(acknowledged)
            until(lambda: len(acknowledged) > after + 50, "playing again")
            over.set()
            for player in players:
                player.result(30)
        assert set(acknowledged) <= set(record_ids(settings))

    def test_a_stop_answers_the_requests_under_way(self, settings: Settings, broker: OwnBroker) -> None:
        apart = settings.model_copy(
            update={"home": settings.home / "stopped", "api_port": own_settings(settings.home).api_port}
        )
        acknowledged: list[str] = []
        pool = urllib3.PoolManager(maxsize=4, retries=False)

        def play() -> None:
            while True:
                event_id = str(uuid4())
                body = json.dumps({**SWORD, "event_id": event_id})
                try:
                    answer = pool.request("POST", f"{apart.intake_url}/events", body=body, headers=JSON, timeout=20)
                except urllib3.exceptions.HTTPError:
                    return
                assert answer.status == 201
                acknowledged.append(event_id)

        with OwnIntake(apart) as intake, ThreadPoolExecutor(4) as threads:
            players = [threads.submit(play) for _ in range(4)]
            until(lambda: len(acknowledged) > 50, "playing")
            assert intake.stop() == 0
            for player in players:
                player.result(30)
        assert set(acknowledged) <= set(record_ids(settings))
        assert json.loads(intake.log.read_text().splitlines()[-2])["undelivered"] == 0

    def test_a_topic_that_is_missing_is_not_ready(self, settings: Settings, broker: OwnBroker) -> None:
        apart = settings.model_copy(
            update={"home": settings.home / "topicless", "api_port": own_settings(settings.home).api_port}
        )
        with OwnIntake(apart, DAYBOOK_KAFKA_TOPIC="missing") as intake:
            assert intake.status("/health/ready") == 503
            assert post(apart, SWORD).status == 503

    def test_a_broker_that_answers_and_takes_nothing_is_not_ready(self, settings: Settings, broker: OwnBroker) -> None:
        """A topic with no room for an event: its metadata look healthy, like those of a cluster without a quorum."""
        admin = kafka_admin(settings)
        topic = "no-room"
        [made] = admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": "10"})]).values()
        made.result(20)
        apart = settings.model_copy(
            update={"home": settings.home / "no-room", "api_port": own_settings(settings.home).api_port}
        )
        with OwnIntake(apart, DAYBOOK_KAFKA_TOPIC=topic) as intake:
            until(lambda: intake.status("/health/ready") == 200, "ready while nothing is known")
            assert post(apart, SWORD).status == 503
            assert intake.status("/health/ready") == 200, "a hiccup of one event"
            until(
                lambda: post(apart, SWORD).status == 503 and intake.status("/health/ready") == 503,
                "not ready after a second in which nothing was taken",
                10,
            )
            room = ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[room])
            [changed] = admin.incremental_alter_configs([resource]).values()
            changed.result(20)
            until(lambda: intake.status("/health/ready") == 200, "ready again, without an event", 30)
            assert post(apart, SWORD).status == 201

    def test_a_producer_beyond_repair_is_replaced(self, settings: Settings, broker: OwnBroker) -> None:
        producer = EventProducer(settings)
        try:
            [first] = producer.send([(b"user1", b"{}")])
            broken = producer._client
            # librdkafka alone decides when to raise a fatal error, so the test makes that call itself
            producer._on_error(KafkaError(KafkaError._FATAL, "out of order sequence", True))
            assert producer._client is not broken
            [second] = producer.send([(b"user1", b"{}")])
        finally:
            producer.close()
        assert first is not None
        assert second is not None
        assert second.offset == first.offset + 1

    def test_events_that_no_queue_can_hold_are_reported_as_unavailable(
        self, settings: Settings, broker: OwnBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frozen broker empties no queue; the small limit replaces a flood that fills the real queue."""
        monkeypatch.setattr("game_api.producer.QUEUE_MAX_MESSAGES", 3)
        producer = EventProducer(settings)

        def not_held() -> float:
            return REGISTRY.get_sample_value("daybook_broker_errors_total", {"kind": "BufferError"}) or 0.0

        before = not_held()
        try:
            assert None not in producer.send([(b"user1", b"{}")])
            client = producer._client
            assert client is not None
            until(lambda: len(client) == 0, "the first has left the queue, which is after its report")
            broker.signal(signal.SIGSTOP)
            try:
                assert producer.send([(b"user1", b"{}")] * 10) == [None] * 10
                assert not_held() - before == 7
            finally:
                broker.signal(signal.SIGCONT)
        finally:
            producer.close()
