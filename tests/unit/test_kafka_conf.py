"""Configuration of Kafka clients: one place for all of them, and secrets that are never printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from daybook.errors import BadInput
from daybook.jobs.environment import stack_environment
from daybook.jobs.submit import submit_command
from daybook.kafka.config import connection_extra, java_conf, librdkafka_conf, with_password
from daybook.kafka.topic_rules import topic_config
from daybook.settings import REPOSITORY, Settings, load_settings

PASSWORD = 'hor"se\\battery'
SECURED = {
    "DAYBOOK_KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9093,kafka-2:9093",
    "DAYBOOK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "DAYBOOK_KAFKA_SASL_USERNAME": "daybook",
    "DAYBOOK_KAFKA_SASL_PASSWORD": PASSWORD,
}
PYTHON_FILES = [
    path
    for folder in ("benchmarks", "daybook", "dags", "plugins", "services", "spark", "tests")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]


def loaded(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return load_settings()


@pytest.fixture
def secured(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return loaded(monkeypatch, SECURED)


def test_the_brokers_are_configured_in_one_place() -> None:
    """All clients of the project, including those of tests, get their configuration from ``daybook.kafka.config``."""
    apart = {
        "daybook/kafka/config.py",
        "tests/unit/test_kafka_conf.py",
        "tests/unit/test_trigger.py",  # a connection that a user wrote by hand
    }
    assert len(PYTHON_FILES) > 100
    named = {
        str(path.relative_to(REPOSITORY))
        for path in PYTHON_FILES
        if re.search(r"""bootstrap\.servers""", path.read_text(encoding="utf-8"))
    }
    assert named == apart


def test_no_other_place_makes_a_client_of_the_administration() -> None:
    """An admin client that does not report authentication errors would wait and then report only a time-out."""
    makes = [
        str(path.relative_to(REPOSITORY))
        for path in PYTHON_FILES
        if path.name != "test_kafka_conf.py" and re.search(r"\bAdminClient\b", path.read_text(encoding="utf-8"))
    ]
    assert makes == ["daybook/kafka/admin.py"]


def test_every_client_that_is_made_is_given_that_configuration() -> None:
    made = {
        str(path.relative_to(REPOSITORY)): call
        for path in PYTHON_FILES
        for call in re.findall(r"[^\w.](?:Producer|Consumer)\(\s*(\S+)", path.read_text(encoding="utf-8"))
        if path.name != "test_kafka_conf.py"
    }
    assert set(made) >= {"daybook/kafka/offsets.py", "services/game_api/producer.py"}
    for path in made:
        assert "librdkafka_conf" in (REPOSITORY / path).read_text(encoding="utf-8"), path


def test_without_a_setting_only_the_address_is_configured(own_settings: Settings) -> None:
    assert librdkafka_conf(own_settings) == {"bootstrap.servers": own_settings.bootstrap_servers}
    assert java_conf(own_settings) == {"bootstrap.servers": own_settings.bootstrap_servers}


def test_a_users_login_reaches_both_kinds_of_clients(secured: Settings) -> None:
    assert librdkafka_conf(secured) == {
        "bootstrap.servers": "kafka-1:9093,kafka-2:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "daybook",
        "sasl.password": PASSWORD,
    }
    assert java_conf(secured)["sasl.jaas.config"] == (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        r'username="daybook" password="hor\"se\\battery";'
    )


def test_java_gets_certificates_as_text_and_librdkafka_their_files(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("ca", "certificate", "key")}
    for name, file in files.items():
        file.write_text(f"PEM of {name}", encoding="utf-8")
    chosen = loaded(
        monkeypatch,
        {
            "DAYBOOK_KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9093",
            "DAYBOOK_KAFKA_SECURITY_PROTOCOL": "SSL",
            **{f"DAYBOOK_KAFKA_SSL_{name.upper()}_FILE": str(file) for name, file in files.items()},
        },
    )
    assert librdkafka_conf(chosen) == {
        "bootstrap.servers": "kafka-1:9093",
        "security.protocol": "SSL",
        "ssl.ca.location": str(files["ca"]),
        "ssl.certificate.location": str(files["certificate"]),
        "ssl.key.location": str(files["key"]),
    }
    assert java_conf(chosen) == {
        "bootstrap.servers": "kafka-1:9093",
        "security.protocol": "SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "PEM of ca",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "PEM of certificate",
        "ssl.keystore.key": "PEM of key",
    }
    files["key"].unlink()
    with pytest.raises(BadInput, match=r"DAYBOOK_KAFKA_SSL_KEY_FILE: .*key cannot be read"):
        java_conf(chosen)


def test_the_connection_leaves_the_password_to_the_one_who_uses_it(secured: Settings) -> None:
    extra = connection_extra(secured)
    assert "sasl.password" not in extra
    assert with_password(extra, secured) == librdkafka_conf(secured)
    assert with_password({**extra, "sasl.password": "own"}, secured)["sasl.password"] == "own"
    plain = {"bootstrap.servers": "elsewhere:9092"}
    assert with_password(plain, secured) == plain


def test_printed_and_submitted_settings_hold_no_password(secured: Settings) -> None:
    environment = stack_environment(secured)
    assert json.loads(environment["AIRFLOW_CONN_KAFKA_DEFAULT"])["extra"]["sasl.username"] == "daybook"
    for text in (*environment.values(), *submit_command(secured, "land_events", []), repr(secured), str(secured)):
        assert "battery" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SASL_PASSWORD": ""}, "SASL_SSL needs DAYBOOK_KAFKA_SASL_USERNAME and DAYBOOK_KAFKA_SASL_PASSWORD"),
        ({"SECURITY_PROTOCOL": "SSL"}, r"DAYBOOK_KAFKA_SASL_\* is set, but SSL uses no password"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SSL_CA_FILE": "ca.pem"}, "SASL_PLAINTEXT is not encrypted"),
        ({"SSL_KEY_FILE": "key.pem"}, "must be set together"),
        ({"BOOTSTRAP_SERVERS": ""}, "SASL_SSL requires brokers in DAYBOOK_KAFKA_BOOTSTRAP_SERVERS"),
        (
            {"BOOTSTRAP_SERVERS": "", "REPLICATION": "3"},
            "DAYBOOK_KAFKA_REPLICATION is 3, but there is only one embedded broker",
        ),
        ({"SASL_MECHANISM": "GSSAPI"}, "DAYBOOK_KAFKA_SASL_MECHANISM"),
    ],
)
def test_settings_that_do_not_agree_are_refused(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        loaded(monkeypatch, SECURED | {f"DAYBOOK_KAFKA_{name}": value for name, value in changes.items()})
    assert "battery" not in str(refused.value)


@pytest.mark.parametrize(("replication", "insync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_from_three_replicas_on_two_must_have_an_event(replication: int, insync: str) -> None:
    chosen = Settings(kafka_bootstrap_servers="kafka-1:9092", kafka_replication=replication, kafka_retention_days=7)
    assert topic_config(chosen) == {
        "cleanup.policy": "delete",
        "retention.ms": str(7 * 24 * 3_600_000),
        "retention.bytes": "-1",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": insync,
        **({"flush.messages": "1"} if replication == 1 else {}),
    }
