"""Builds the configuration of Kafka clients from the settings, for librdkafka and for Java.

Every Kafka client of Daybook takes its configuration from here (a test checks this), so a secured cluster needs only
settings. Imports no Kafka library and opens no connection.
"""

from __future__ import annotations

from pathlib import Path

from daybook.errors import BadInput
from daybook.settings import Settings

PASSWORD = "sasl.password"
"""The only key of :func:`librdkafka_conf` whose value is a secret."""

_REMEDIES = {
    "_AUTHENTICATION": "rejects the login: check DAYBOOK_KAFKA_SASL_USERNAME, DAYBOOK_KAFKA_SASL_PASSWORD and "
    "DAYBOOK_KAFKA_SASL_MECHANISM",
    "_SSL": "fails the TLS handshake: check DAYBOOK_KAFKA_SECURITY_PROTOCOL, DAYBOOK_KAFKA_SSL_CA_FILE and, if the "
    "brokers require one, DAYBOOK_KAFKA_SSL_CERTIFICATE_FILE; the brokers' certificates must contain the host names of "
    "DAYBOOK_KAFKA_BOOTSTRAP_SERVERS",
    "TOPIC_AUTHORIZATION_FAILED": "does not authorize this user for the topic: docs/kafka.md lists the permissions of "
    "each part",
    "CLUSTER_AUTHORIZATION_FAILED": "does not authorize this user for the request: docs/kafka.md lists the permissions "
    "of each part",
}
"""librdkafka's name of an error that waiting cannot resolve -> its meaning and the settings to check."""


def librdkafka_conf(settings: Settings) -> dict[str, str]:
    """Return the connection settings of librdkafka's clients; the password is under :data:`PASSWORD`."""
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
    """Return the same without the password, for Airflow's connection, which ``daybook env`` prints."""
    return {name: value for name, value in librdkafka_conf(settings).items() if name != PASSWORD}


def with_password(conf: dict[str, str], settings: Settings) -> dict[str, str]:
    """Add the password that :func:`connection_extra` left out; a password that the connection has is not replaced."""
    if "sasl.username" not in conf or PASSWORD in conf:
        return conf
    return {**conf, PASSWORD: settings.kafka_sasl_password.get_secret_value()}


def java_conf(settings: Settings) -> dict[str, str]:
    """Return the connection settings of Java's clients; Spark's Kafka source passes them to driver and executors.

    Certificates are passed as text, so an executor on another machine needs no file. The result holds secrets: pass it
    as options of the reader, never in Spark's configuration or on a command line.

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
    """Explain an error of librdkafka that waiting cannot resolve, as a verb phrase about the broker; None for others.

    >>> remedy("_AUTHENTICATION")[:17]
    'rejects the login'
    """
    return _REMEDIES.get(error_name)


def _is_secured(settings: Settings) -> bool:
    return settings.kafka_security_protocol != "PLAINTEXT"


def _has_sasl(settings: Settings) -> bool:
    return settings.kafka_security_protocol.startswith("SASL")


def _named(files: dict[str, str]) -> dict[str, str]:
    """Drop the entries that are not set: librdkafka would look for an empty path."""
    return {name: value for name, value in files.items() if value}


def _jaas(settings: Settings) -> str:
    """Return the login in JAAS syntax, in which a backslash escapes."""
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
