"""The lake's catalog in PostgreSQL, with its password in the file of PGPASSFILE; the settings of a REST catalog."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]
import pytest

from daybook.errors import BadInput
from daybook.jobs.submit import submit_command
from daybook.lake.catalog import load
from daybook.lake.tables import RAW_EVENTS
from daybook.settings import Settings
from daybook.stack import postgres
from tests.clusters import in_full
from tests.clusters.published import compare_days
from tests.faults.day_lab import DayLab, audit, lab_on
from tests.integration.own_broker import free_ports, own_settings, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_200)]

DAY = datetime.now(UTC).date() - timedelta(days=60)
PASSWORD = "stands-in-a-file-alone"


class Database:
    """A PostgreSQL server on loopback with password authentication, and the lake's user and database on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        [self.port] = free_ports(1)

    @property
    def uri(self) -> str:
        """The value of ``DAYBOOK_LAKE_CATALOG_URI``."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/lake?user=lake"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run the server during the block."""
        postgres.prepare(self.settings)
        rules = postgres.data_dir(self.settings) / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
        self.settings.logs_dir.mkdir(parents=True, exist_ok=True)
        listening = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"]
        with (self.settings.logs_dir / "postgres.log").open("ab") as log:
            server = subprocess.Popen(
                [*postgres.command(self.settings), *listening], cwd="/", stdout=log, stderr=log, start_new_session=True
            )
        try:
            until(lambda: self._run("SELECT 1"), "PostgreSQL", 60, 0.2)
            assert self._run(f"CREATE ROLE lake LOGIN PASSWORD '{PASSWORD}'")
            assert self._run("CREATE DATABASE lake OWNER lake")
            yield
        finally:
            server.send_signal(signal.SIGINT)  # does not wait for the connections that readers keep open
            server.wait(60)

    def _run(self, sql: str) -> bool:
        where = {"host": str(postgres.socket_dir(self.settings)), "port": self.port, "dbname": "postgres"}
        try:
            connection = psycopg2.connect(user="postgres", **where)
        except psycopg2.OperationalError:
            return False
        connection.autocommit = True
        connection.cursor().execute(sql)
        connection.close()
        return True


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Run the server; this process and its children find the password in PGPASSFILE."""
    made = Database(own_settings(tmp_path_factory.mktemp("database")))
    pass_file = tmp_path_factory.mktemp("secrets") / "pgpass"
    pass_file.touch(mode=0o600)
    pass_file.write_text(f"127.0.0.1:{made.port}:lake:lake:{PASSWORD}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, made.serving():
        patch.setenv("PGPASSFILE", str(pass_file))
        yield made


@in_full
def test_a_day_with_its_catalog_in_postgresql(database: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = own_settings(tmp_path_factory.mktemp("local"))
    with lab_on(settings) as local:
        there = {"home": tmp_path_factory.mktemp("catalogued"), "lake_catalog_uri": database.uri}
        lab = DayLab(local.settings.model_copy(update=there), local.broker, local.intake)
        assert load(lab.settings, RAW_EVENTS) is None, "nobody has made its tables yet"
        local.send(*(f"{DAY}T10:{minute:02}:00Z" for minute in range(60)))
        lab.accepted |= local.accepted
        for one in (local, lab):
            one.run_day(DAY)
        assert compare_days(local.settings, lab.settings) == 1
        assert audit(lab.settings, lab.accepted).is_clean
        lab.daybook("verify", "--day", str(DAY))
        assert not list(lab.settings.home.rglob("catalog.db")), "the catalog is in PostgreSQL alone"
        assert PASSWORD not in " ".join(submit_command(lab.settings, "land_events", []))
        assert PASSWORD not in lab.log.read_text(encoding="utf-8")


def test_a_database_that_is_not_let_into_is_one_line(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"catalog does not answer \(.*password.*DAYBOOK_LAKE_CATALOG_URI is correct"):
        load(Settings(home=tmp_path, lake_catalog_uri=database.uri), RAW_EVENTS)
