"""A broker with TLS, users and ACLs, set up by the commands of docs/kafka.md: every part works with settings alone."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import uuid4

import psutil
import pytest
import urllib3
from airflow.sdk.exceptions import AirflowFailException
from pydantic import SecretStr

from daybook.errors import DaybookError
from daybook.jobs.config import SMALL_HEAP
from daybook.jobs.environment import job_environment, stack_environment, venv_bin
from daybook.kafka.log_gaps import _without_markers
from daybook.kafka.offsets import count_committed, topic_state
from daybook.settings import REPOSITORY, Settings, load_settings
from daybook_airflow.offsets_sensor import KafkaOffsetsSensor
from tests.clusters import in_full
from tests.faults.clients import Players, balance, holds
from tests.faults.day_lab import DayLab, audit
from tests.figures import Figures
from tests.integration.own_broker import OwnIntake, free_ports, kafka_environment, records, until
from tests.integration.secured_broker import CERTIFICATE_USER, SecuredBroker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DAY = datetime.now(UTC).date() - timedelta(days=40)
USERS = ("daybook-intake", "daybook-landing", "daybook-topic")
# a mark that is found anywhere, and the characters that are special in JAAS and properties files
PASSWORDS = {name: f'{name}-"of\\{uuid4().hex}' for name in USERS}
PLAIN_USER, PLAIN_PASSWORD = "plain", uuid4().hex
SECONDS_TO_REPORT = 6.0


def documented_commands() -> list[list[str]]:
    """Return Kafka's own commands that the docs page gives an administrator."""
    page = (REPOSITORY / "docs" / "kafka.md").read_text(encoding="utf-8")
    return [shlex.split(line) for line in re.findall(r"^ {4}(kafka-\w+\.sh .*)$", page, re.MULTILINE)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """Run the broker with its users and their ACLs."""
    home = tmp_path_factory.mktemp("secured")
    for name, password in PASSWORDS.items():
        escaped = password.replace("\\", "\\\\")
        (home / f"{name}.properties").write_text(f"SCRAM-SHA-512=password={escaped}\n", encoding="utf-8")
    with SecuredBroker(home, {PLAIN_USER: PLAIN_PASSWORD}) as running:
        places = {"kafka-1:9093": running.settings.bootstrap_servers, "admin.properties": str(running.admin_file)}
        for command in documented_commands():
            running.run([places.get(word, word) for word in command], home)
        yield running


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, broker: SecuredBroker) -> Settings:
    """The settings of the user who creates the topic; the command creates it."""
    home = tmp_path_factory.mktemp("parts")
    chosen = Settings(
        home=home,
        api_port=free_ports(1)[0],
        kafka_bootstrap_servers=broker.settings.bootstrap_servers,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username="daybook-topic",
        kafka_sasl_password=SecretStr(PASSWORDS["daybook-topic"]),
        kafka_ssl_ca_file=str(broker.authority.file),
    )
    message = daybook(chosen, "create-topic")
    assert message.startswith("created topic events: 3 partitions, 1 replicas, cleanup.policy=delete"), message
    return chosen


def by(settings: Settings, user: str, password: str | None = None) -> Settings:
    """Return the settings of another user."""
    secret = SecretStr(PASSWORDS[user] if password is None else password)
    return settings.model_copy(update={"kafka_sasl_username": user, "kafka_sasl_password": secret})


def daybook(settings: Settings, *arguments: str) -> str:
    """Run the command; return its stdout and stderr."""
    environment = {**job_environment(settings), **kafka_environment(settings)}
    command = [str(venv_bin() / "daybook"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def intake(settings: Settings) -> Iterator[OwnIntake]:
    with OwnIntake(by(settings, "daybook-intake")) as running:
        until(lambda: running.status("/health/ready") == 200, "intake ready")
        yield running


def test_the_intake_may_look_at_the_topics_configuration(intake: OwnIntake) -> None:
    assert intake.status("/health/ready") == 200
    assert "configuration cannot be read" not in intake.log.read_text(encoding="utf-8")


def test_accepted_events_are_in_the_topic(settings: Settings, intake: OwnIntake, figures: Figures) -> None:
    landing = by(settings, "daybook-landing")
    before = records(landing).keys()
    with Players(settings, seed=6) as players:
        players.ledger.until(accepted=500)
    found = balance(players.ledger, {at: one for at, one in records(landing).items() if at not in before})
    figures({**players.ledger.figures(), **found.figures()})
    assert holds(players.ledger, found)


def test_the_sensor_sees_the_offsets(settings: Settings, intake: OwnIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = by(settings, "daybook-landing")
    seen = sensor_of(landing, monkeypatch).execute({})
    assert {int(at): end for at, end in seen.items()} == topic_state(landing).end
    assert sum(count_committed(landing, int(at), 0, end) for at, end in seen.items() if end) == sum(seen.values())


def test_a_gap_is_looked_at_as_the_landing_user(settings: Settings, intake: OwnIntake) -> None:
    """A separate client reads the batch after an offset: over TLS, with the same login."""
    landing = by(settings, "daybook-landing")
    with Players(settings, seed=8) as players:
        players.ledger.until(accepted=1)
    partition = next(at for at, end in topic_state(landing).end.items() if end)
    assert asyncio.run(_without_markers(landing, partition, [(0, 0)])) == [(0, 0)], "a record is no marker"


def sensor_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> KafkaOffsetsSensor:
    """The sensor as in a task of the stack: connection and password come from the environment."""
    connection = stack_environment(settings)["AIRFLOW_CONN_KAFKA_DEFAULT"]
    assert settings.kafka_sasl_password.get_secret_value() not in connection
    for name, value in {**kafka_environment(settings), "AIRFLOW_CONN_KAFKA_DEFAULT": connection}.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return KafkaOffsetsSensor(task_id="wait_for_offsets", topic=settings.kafka_topic, day="2026-05-03")


@pytest.fixture(autouse=True)
def settings_read_again() -> Iterator[None]:
    """No test sees settings from the environment of another one."""
    yield
    load_settings.cache_clear()


def wrong_ones(settings: Settings) -> dict[str, tuple[Settings, str]]:
    """Return an operator's mistake -> the settings, and the setting that the error must name."""
    landing = by(settings, "daybook-landing")
    return {
        "password": (by(settings, "daybook-landing", "wrong"), "DAYBOOK_KAFKA_SASL_PASSWORD"),
        "user": (landing.model_copy(update={"kafka_sasl_username": "nobody"}), "DAYBOOK_KAFKA_SASL_USERNAME"),
        "mechanism": (
            landing.model_copy(update={"kafka_sasl_mechanism": "SCRAM-SHA-256"}),
            "DAYBOOK_KAFKA_SASL_MECHANISM",
        ),
        "authority": (landing.model_copy(update={"kafka_ssl_ca_file": ""}), "DAYBOOK_KAFKA_SSL_CA_FILE"),
        "rights": (landing.model_copy(update={"kafka_topic": "of-others"}), "docs/kafka.md"),
    }


@pytest.mark.parametrize("what", ["password", "user", "mechanism", "authority", "rights"])
def test_a_wrong_setting_is_named_within_seconds(settings: Settings, what: str) -> None:
    wrong, look_at = wrong_ones(settings)[what]
    began = time.monotonic()
    with pytest.raises(DaybookError) as caught:
        topic_state(wrong)
    assert time.monotonic() - began < SECONDS_TO_REPORT
    assert look_at in str(caught.value), caught.value
    assert wrong.kafka_sasl_password.get_secret_value() not in str(caught.value)


def test_the_sensor_fails_at_once_with_a_wrong_password(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with pytest.raises(AirflowFailException, match=r"rejects the login: check .*DAYBOOK_KAFKA_SASL_PASSWORD"):
        sensor_of(by(settings, "daybook-landing", "wrong"), monkeypatch).execute({})
    assert time.monotonic() - began < SECONDS_TO_REPORT


def test_create_topic_reports_the_problem_and_creates_nothing(settings: Settings) -> None:
    elsewhere = {"kafka_topic": "elsewhere"}
    for user, password, look_at in (
        ("daybook-topic", "wrong", "DAYBOOK_KAFKA_SASL_PASSWORD"),
        ("daybook-intake", None, "docs/kafka.md"),
    ):
        began = time.monotonic()
        message = daybook(by(settings, user, password).model_copy(update=elsewhere), "create-topic")
        assert time.monotonic() - began < 2 * SECONDS_TO_REPORT  # includes the start of Python
        assert message.startswith("daybook: Kafka at"), message
        assert look_at in message
        assert "nothing was changed" in message


def test_an_intake_with_a_wrong_password_accepts_nothing_and_reports_the_reason(settings: Settings) -> None:
    own = {"home": settings.home / "wrong", "api_port": free_ports(1, above=settings.api_port)[0]}
    wrong = by(settings, "daybook-intake", f"wrong-{uuid4().hex}").model_copy(update=own)
    with OwnIntake(wrong) as intake:
        assert intake.status("/health/ready") == 503
        began = time.monotonic()
        event = {"event_type": "purchase_item", "item": "sword", "user_id": "user1", "host": "user1.att.com"}
        answer = urllib3.request("POST", f"{wrong.intake_url}/events", json=event, timeout=30, retries=False)
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert intake.status("/health/live") == 200
        until(lambda: "DAYBOOK_KAFKA_SASL_PASSWORD" in intake.log.read_text(), "the log names the setting", 5)
        assert time.monotonic() - began < SECONDS_TO_REPORT
        assert intake.status("/health/ready") == 503
    assert wrong.kafka_sasl_password.get_secret_value() not in intake.log.read_text()


def test_daybook_env_prints_no_password(settings: Settings) -> None:
    printed = daybook(settings, "env")
    assert "DAYBOOK_KAFKA_SASL_USERNAME=daybook-topic" in printed
    assert not any(mark in printed for mark in marks(settings))


def marks(settings: Settings) -> list[str]:
    """Return the password, and its part without characters that need escaping."""
    password = settings.kafka_sasl_password.get_secret_value()
    return [password, password.rpartition("\\")[2]]


class CommandLines:
    """Searches the command lines of all processes of this machine for a text, while its block runs."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.looks = 0
        self.seen: set[str] = set()
        """Programs with the text on their command line."""
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CommandLines:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for process in psutil.process_iter(["cmdline", "name"]):
                line = "\0".join(process.info["cmdline"] or [])
                if any(text in line for text in self.texts):
                    self.seen.add(process.info["name"])
            self.looks += 1


@in_full
def test_spark_lands_and_the_password_is_nowhere(
    settings: Settings, broker: SecuredBroker, intake: OwnIntake, figures: Figures
) -> None:
    landing = by(settings, "daybook-landing")
    events = settings.home / "spark-events"
    events.mkdir()
    # Spark's UI shows what Spark logs: configuration, plans, tasks
    logged = f"{SMALL_HEAP} -Dspark.eventLog.enabled=true -Dspark.eventLog.dir={events.as_uri()}"
    watched = landing.model_copy(update={"spark_driver_java_options": logged})
    (settings.home / "lake").mkdir()
    with Players(settings, seed=7, fields={"occurred_at": f"{DAY}T12:00:00Z"}) as players:
        players.ledger.until(accepted=300)
    lab = DayLab(watched, broker, intake, accepted=dict.fromkeys(players.ledger.accepted, DAY))
    with CommandLines(marks(landing)) as lines:
        lab.run_day(DAY)
    audited = audit(watched, lab.accepted)
    written = [path for path in settings.home.rglob("*") if path.is_file()]
    assert any(path.is_relative_to(events) for path in written), "Spark logged no event"
    found = [str(path) for path in written if any(mark.encode() in path.read_bytes() for mark in marks(landing))]
    figures(
        {
            "acknowledged": audited.accepted,
            "landed": audited.landed,
            "lost": audited.lost,
            "doubled": audited.doubled,
            "unbalanced": audited.unbalanced,
            "looks at command lines": lines.looks,
            "files read for the password": len(written),
        }
    )
    assert audited.is_clean, audited
    assert lines.looks > 50
    assert not lines.seen
    assert not found
    # verified as the same user; the second reader finds the same as Spark
    assert "DIFFERENT" not in daybook(landing, "verify", "--day", str(DAY)).upper()


def ways_in(settings: Settings, broker: SecuredBroker) -> dict[str, dict[str, Any]]:
    """Return every other way to authenticate -> its settings."""
    certificate, key = broker.authority.issue(CERTIFICATE_USER)
    return {
        "PLAIN": {
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": PLAIN_USER,
            "kafka_sasl_password": SecretStr(PLAIN_PASSWORD),
        },
        "certificate": {
            "kafka_bootstrap_servers": f"127.0.0.1:{broker.certificate_port}",
            "kafka_security_protocol": "SSL",
            "kafka_sasl_username": "",
            "kafka_sasl_password": SecretStr(""),
            "kafka_ssl_certificate_file": str(certificate),
            "kafka_ssl_key_file": str(key),
        },
    }


@in_full
@pytest.mark.parametrize(("way", "user"), [("PLAIN", PLAIN_USER), ("certificate", f"CN={CERTIFICATE_USER}")])
def test_every_way_in_is_open_to_both_kinds_of_clients(
    request: pytest.FixtureRequest, settings: Settings, broker: SecuredBroker, intake: OwnIntake, way: str, user: str
) -> None:
    from daybook_spark.landing import kafka_range

    [rights] = [line for line in documented_commands() if "User:daybook-landing" in line]
    broker.run([word.replace("daybook-landing", user) for word in rights], broker.settings.home)
    chosen = settings.model_copy(update=ways_in(settings, broker)[way])
    until(lambda: is_allowed(chosen), f"{user} may read")
    end = topic_state(chosen).end
    spark = request.getfixturevalue("spark")
    read = kafka_range(spark, chosen, dict.fromkeys(end, 0), end)
    assert read.count() == sum(end.values()) > 0
    plan = read._jdf.queryExecution().toString() + str(spark.sparkContext.getConf().getAll())
    assert PLAIN_PASSWORD not in plan
    assert "PRIVATE KEY" not in plan


def is_allowed(settings: Settings) -> bool:
    """Whether the broker has applied the user's ACLs."""
    try:
        return bool(topic_state(settings).end)
    except DaybookError:
        return False


def test_partitions_are_raised_by_the_command_and_filled_without_a_restart(
    settings: Settings, intake: OwnIntake
) -> None:
    landing = by(settings, "daybook-landing")
    have = len(topic_state(landing).end)
    more = settings.model_copy(update={"kafka_partitions": have + 2})
    assert f"increased topic events from {have} to {have + 2} partitions" in daybook(more, "create-topic")
    assert daybook(more, "create-topic").startswith(f"kept topic events as it is: {have + 2} partitions")
    fewer = settings.model_copy(update={"kafka_partitions": 1})
    assert "Kafka never removes one" in daybook(fewer, "create-topic")
    with Players(settings, seed=8) as players:
        until(
            lambda: intake.status("/health/ready") == 200 and all(topic_state(landing).end.values()),
            "every partition has events",
            30,
        )
    assert players.ledger.accepted
    assert len(topic_state(landing).end) == have + 2
