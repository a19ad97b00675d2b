"""How Kafka clients are configured from the settings: librdkafka's dictionary and, beside it, Java's.

Every client of Daybook takes its configuration from here (a test holds that), so a secured cluster is a matter of
settings. Imports no Kafka library and opens no connection.
"""

from __future__ import annotations

from pathlib import Path

from daybook.errors import BadInput
from daybook.settings import Settings

PASSWORD = "sasl.password"
"""The one key of :func:`librdkafka_conf` whose value is a secret."""

_REMEDIES = {
    "_AUTHENTICATION": "refuses the login: see DAYBOOK_KAFKA_SASL_USERNAME, DAYBOOK_KAFKA_SASL_PASSWORD and "
    "DAYBOOK_KAFKA_SASL_MECHANISM",
    "_SSL": "cannot be spoken to over TLS: see DAYBOOK_KAFKA_SECURITY_PROTOCOL, DAYBOOK_KAFKA_SSL_CA_FILE and, where "
    "brokers ask for one, DAYBOOK_KAFKA_SSL_CERTIFICATE_FILE, and that their certificates bear the names of "
    "DAYBOOK_KAFKA_BOOTSTRAP_SERVERS",
    "TOPIC_AUTHORIZATION_FAILED": "does not let this user at the topic: docs/kafka.md lists what each part must be "
    "allowed",
    "CLUSTER_AUTHORIZATION_FAILED": "does not let this user do that: docs/kafka.md lists what each part must be "
    "allowed",
}
"""librdkafka's name of an error that waiting does not cure -> what it means and where to look."""


def librdkafka_conf(settings: Settings) -> dict[str, str]:
    """What any of librdkafka's clients needs to reach the brokers; the password stands under :data:`PASSWORD`."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        **({"security.protocol": settings.kafka_security_protocol} if _is_secured(settings) else {}),
        **(
            {
                "sasl.mechanism": settings.kafka_sasl_mechanism,
                "sasl.username": settings.kafka_sasl_username,
                PASSWORD: settings.kafka_sasl_password.get_secret_value(),
            }
            if _has_sasl(settings)
            else {}
        ),
        **_named(
            {
                "ssl.ca.location": settings.kafka_ssl_ca_file,
                "ssl.certificate.location": settings.kafka_ssl_certificate_file,
                "ssl.key.location": settings.kafka_ssl_key_file,
            }
        ),
    }


def connection_extra(settings: Settings) -> dict[str, str]:
    """The same for Airflow's connection, which is printed by ``daybook env``: without the secret."""
    return {name: value for name, value in librdkafka_conf(settings).items() if name != PASSWORD}


def with_password(conf: dict[str, str], settings: Settings) -> dict[str, str]:
    """A connection's configuration with the password that :func:`connection_extra` left out; one of its own stays."""
    if "sasl.username" not in conf or PASSWORD in conf:
        return conf
    return {**conf, PASSWORD: settings.kafka_sasl_password.get_secret_value()}


def java_conf(settings: Settings) -> dict[str, str]:
    """What Java's clients need to reach the brokers, as Spark's Kafka source passes it to driver and executors.

    Certificates are passed as their text: an executor on another machine needs no file. Holds secrets; they belong in
    the reader's options, never in Spark's configuration or on a command line.

    Raises:
        BadInput: a PEM file cannot be read.
    """
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        **({"security.protocol": settings.kafka_security_protocol} if _is_secured(settings) else {}),
        **(
            {"sasl.mechanism": settings.kafka_sasl_mechanism, "sasl.jaas.config": _jaas(settings)}
            if _has_sasl(settings)
            else {}
        ),
        **(
            {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": _pem(settings.kafka_ssl_ca_file, "CA")}
            if settings.kafka_ssl_ca_file
            else {}
        ),
        **(
            {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": _pem(settings.kafka_ssl_certificate_file, "CERTIFICATE"),
                "ssl.keystore.key": _pem(settings.kafka_ssl_key_file, "KEY"),
            }
            if settings.kafka_ssl_certificate_file
            else {}
        ),
    }


def remedy(error_name: str) -> str | None:
    """What an error of librdkafka means that waiting does not cure, as a verb phrase of the broker; none of others.

    >>> remedy("_AUTHENTICATION")[:17]
    'refuses the login'
    """
    return _REMEDIES.get(error_name)


def _is_secured(settings: Settings) -> bool:
    return settings.kafka_security_protocol != "PLAINTEXT"


def _has_sasl(settings: Settings) -> bool:
    return settings.kafka_security_protocol.startswith("SASL")


def _named(files: dict[str, str]) -> dict[str, str]:
    """Without those that are not set: an empty path would be looked for."""
    return {name: value for name, value in files.items() if value}


def _jaas(settings: Settings) -> str:
    """The login in JAAS's words, where a backslash escapes."""
    is_plain = settings.kafka_sasl_mechanism == "PLAIN"
    module = "plain.PlainLoginModule" if is_plain else "scram.ScramLoginModule"
    user, password = settings.kafka_sasl_username, settings.kafka_sasl_password.get_secret_value()
    return (
        f"org.apache.kafka.common.security.{module} required "
        f'username="{_escaped(user)}" password="{_escaped(password)}";'
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _pem(file: str, setting: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"DAYBOOK_KAFKA_SSL_{setting}_FILE: {file} cannot be read: {error}") from None
