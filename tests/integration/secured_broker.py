"""A broker with TLS, certificates, users with SCRAM and PLAIN, and ACLs."""

from __future__ import annotations

import re
import subprocess
from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # their documented home
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from daybook.jobs.jars import KAFKA_LIB_DIR
from daybook.jobs.java import java
from daybook.kafka.admin import kafka_admin
from daybook.settings import Settings
from tests.integration.own_broker import OwnBroker, free_ports

ADMIN = "admin"
CERTIFICATE_USER = "daybook-certificate"
"""Common name of the clients' certificate."""


@dataclass
class Authority:
    """A certificate authority and the certificates that it has signed, as PEM files in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Daybook's tests, {self.folder.name}")])
        own = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.file = self.folder / "ca.pem"
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(self, common_name: str, *hosts: str) -> tuple[Path, Path]:
        """Issue a certificate for 127.0.0.1 and the named hosts; return it with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        names = [x509.IPAddress(ip_address("127.0.0.1")), *map(x509.DNSName, hosts)]
        signed = self._signed(name, key, x509.SubjectAlternativeName(names))
        certificate, key_file = self.folder / f"{common_name}.pem", self.folder / f"{common_name}.key"
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key_file

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )


class SecuredBroker(OwnBroker):
    """One broker with SASL_SSL for users and SSL for certificates; it denies what no ACL allows.

    Args:
        home: its folder, separate from those of its clients.
        plain_users: name -> password of the users with PLAIN. They are part of the broker's configuration; users with
            SCRAM are created on the running broker.
    """

    def __init__(self, home: Path, plain_users: dict[str, str]) -> None:
        port, self.certificate_port, controller_port = free_ports(3)
        self.authority = Authority(home / "tls")
        password = token_hex(12)
        settings = Settings(
            home=home,
            kafka_port=port,
            kafka_controller_port=controller_port,
            kafka_bootstrap_servers=f"127.0.0.1:{port}",
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_username=ADMIN,
            kafka_sasl_password=SecretStr(password),
            kafka_ssl_ca_file=str(self.authority.file),
            kafka_topic="of-the-admin",
        )
        certificate, key = self.authority.issue("broker")
        keystore = home / "tls" / "keystore.pem"
        keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
        login = "org.apache.kafka.common.security"
        listener = "listener.name.sasl_ssl"
        users = "".join(f' user_{name}="{secret}"' for name, secret in plain_users.items())
        changes = {
            "listeners": f"SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{self.certificate_port},"
            f"CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{self.certificate_port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            f"{listener}.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required "
            f'username="{ADMIN}" password="{password}";',
            f"{listener}.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
            f"{listener}.plain.sasl.jaas.config": f"{login}.plain.PlainLoginModule required{users};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": keystore,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.file,
            "listener.name.ssl.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # the broker connects to its own controller without authentication, on a loopback port
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }
        super().__init__(settings, changes, [f"--add-scram=SCRAM-SHA-512=[name={ADMIN},password={password}]"])
        self.admin_file = home / "admin.properties"
        """The file for ``--command-config`` of Kafka's own commands."""
        self.admin_file.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n"
            f'sasl.jaas.config={login}.scram.ScramLoginModule required username="{ADMIN}" password="{password}";\n'
            f"ssl.truststore.type=PEM\nssl.truststore.location={self.authority.file}\n",
            encoding="utf-8",
        )

    def run(self, command: list[str], folder: Path) -> None:
        """Run one of Kafka's commands in a folder, as an administrator would.

        Raises:
            AssertionError: it failed.
        """
        if command[0] == "kafka-acls.sh":
            self._allow(command[1:])
            return
        assert command[0] == "kafka-configs.sh", command
        java_command = [str(java()), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", str(KAFKA_LIB_DIR / "*")]
        done = subprocess.run(
            [*java_command, "kafka.admin.ConfigCommand", *command[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def _allow(self, arguments: list[str]) -> None:
        """Do the same as ``kafka-acls.sh --add``: its class is in Kafka's tools, which are not among the jars."""
        parser = ArgumentParser(exit_on_error=False)
        for option in ("--bootstrap-server", "--command-config", "--allow-principal", "--topic"):
            parser.add_argument(option, required=True)
        parser.add_argument("--add", action="store_true", required=True)
        parser.add_argument("--operation", action="append", required=True)
        asked = parser.parse_args(arguments)
        bindings = [
            AclBinding(
                *(ResourceType.TOPIC, asked.topic, ResourcePatternType.LITERAL, asked.allow_principal, "*"),
                *(AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()], AclPermissionType.ALLOW),
            )
            for name in asked.operation
        ]
        admin = kafka_admin(self.settings)
        for done in admin.create_acls(bindings).values():
            admin.answer(done)
