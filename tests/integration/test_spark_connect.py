"""The embedded Spark Connect server: who may use it, what its sessions may change, what a client leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from daybook.jobs import connect
from daybook.stack import spark_connect
from tests.integration.own_broker import own_settings, until
from tests.integration.own_spark import OwnSpark

pytestmark = [pytest.mark.integration, pytest.mark.long]

IS_REFUSED = """
from daybook.lake.tables import REPLAYED_RECORDS, spark_name
from daybook.settings import load_settings
from daybook_spark.building import create_tables
from daybook_spark.session import spark_session
from daybook_spark.staging import PublishRefused, publish, stage_append

spark = spark_session("twice", load_settings())
create_tables(spark, load_settings())
rows = spark.table(spark_name(REPLAYED_RECORDS)).limit(0)
staged = [stage_append(spark, load_settings(), rows, REPLAYED_RECORDS, "twice", {}).snapshot_id for _ in range(2)]
publish(spark, load_settings(), REPLAYED_RECORDS, staged[0])
try:
    publish(spark, load_settings(), REPLAYED_RECORDS, staged[1])
except PublishRefused as refusal:
    print("refused:", refusal)
"""
SUM = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print(spark.sql("SELECT SUM(id * 7 - id * 6) AS sum FROM range(10000)").collect())
"""
ENDLESS_QUERY = "SELECT COUNT(*) FROM range(0, 1000000000000000, 1, 2) WHERE hash(id) = hash(id + 1)"
ENDLESS = f"""
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.sql("{ENDLESS_QUERY}").collect()
"""

STEP = f"""
from daybook_spark.job import arguments, run

def work(spark, settings, args):
    return spark.sql("{ENDLESS_QUERY}").collect()

run("land_events", arguments("works without an end"), work)
"""

CACHES = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
rows = spark.range(10000).persist()
print(rows.count(), flush=True)
input()  # nobody writes: it waits here until it is killed
"""


def client(server: OwnSpark, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a client with a changed environment."""
    return subprocess.run(
        command,
        env=server.environment(**changes),
        cwd=server.settings.home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def is_at_work(server: OwnSpark) -> bool:
    """Whether the server has used much of a core during a second."""
    return bool(server.watched.cpu_percent(interval=1) > 60)


def runs_its_main(process: psutil.Process) -> bool:
    """Whether it runs the server's main program; a process that has ended, like Spark's short helpers, does not."""
    try:
        return str(spark_connect.SERVER_FILE) in process.cmdline()
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSpark]:
    settings = own_settings(tmp_path_factory.mktemp("connect"))
    (settings.home / "lake").mkdir()  # a job creates it
    talkative = {
        **settings.spark_conf,
        "spark.log.level": "INFO",  # it logs each class that it generates
        "spark.connect.session.manager.defaultSessionTimeout": "30s",
        "spark.connect.session.manager.maintenanceInterval": "5s",
    }
    with OwnSpark(settings.model_copy(update={"spark_conf": talkative})) as started:
        yield started


@pytest.mark.parametrize("token", ["", "another"])
def test_no_client_connects_without_the_token(server: OwnSpark, token: str) -> None:
    code = "from pyspark.sql import SparkSession; print(SparkSession.builder.getOrCreate().sql('SELECT 42').collect())"
    assert "42" in client(server, sys.executable, "-c", code).stdout
    refused = client(server, sys.executable, "-c", code, SPARK_CONNECT_AUTHENTICATE_TOKEN=token)
    assert refused.returncode != 0
    assert "42" not in refused.stdout
    assert "UNAUTHENTICATED" in refused.stderr, refused.stderr[-2000:]


def test_its_secret_is_the_users_alone(server: OwnSpark) -> None:
    token = connect.client_environment(server.settings)["SPARK_CONNECT_AUTHENTICATE_TOKEN"]
    holding = [
        path for path in server.settings.home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()
    ]
    assert {path.name for path in holding} == {"spark-connect.token", "spark-connect.properties"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    assert not any(token in word for word in server.watched.cmdline())
    listening = {one.laddr.ip for one in server.watched.net_connections() if one.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_refused_publication_is_recognized_on_it_too(server: OwnSpark) -> None:
    done = client(server, sys.executable, "-c", IS_REFUSED)
    assert "refused: replayed_records" in done.stdout, done.stderr[-3000:]


def test_code_generated_for_one_client_serves_the_next(server: OwnSpark) -> None:
    generated = []
    for _ in range(2):
        assert "49995000" in client(server, sys.executable, "-c", SUM).stdout
        generated.append(server.log.read_text(encoding="utf-8").count("CodeGenerator: Code generated in"))
    assert 0 < generated[0] == generated[1]


def test_the_work_of_a_killed_client_is_given_up(server: OwnSpark) -> None:
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, env=server.environment(), cwd=server.settings.home) as asking:
        until(lambda: is_at_work(server), "the statement at work", 60)
        os.kill(asking.pid, signal.SIGKILL)
    until(lambda: not is_at_work(server), "the end of its statement", 60)


def test_the_cached_data_of_a_killed_client_is_dropped(server: OwnSpark) -> None:
    command = [sys.executable, "-c", CACHES]
    with subprocess.Popen(
        command,
        env=server.environment(),
        cwd=server.settings.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "10000\n"
        assert "dropped the cached data" not in server.log.read_text(encoding="utf-8")
        os.kill(asking.pid, signal.SIGKILL)
    until(lambda: "dropped the cached data" in server.log.read_text(encoding="utf-8"), "its data is dropped", 120)


def test_a_killed_jvm_leaves_no_process_and_its_step_reports_it(tmp_path: Path) -> None:
    settings, summary = own_settings(tmp_path), tmp_path / "summary.json"
    step = [sys.executable, "-c", STEP, "--day", "2026-05-03", "--run-id", "lost", "--summary", str(summary)]
    with (
        OwnSpark(settings) as started,
        subprocess.Popen(step, env=started.environment(), cwd=tmp_path, stderr=subprocess.DEVNULL) as asking,
    ):
        # for longer than the start of its session takes
        until(lambda: all(is_at_work(started) for _ in range(3)), "the step at work", 60)
        others = started.watched.children(recursive=True)
        assert any(runs_its_main(one) for one in others)
        started.watched.kill()
        _, left = psutil.wait_procs(others, timeout=30)
        assert left == []
        # the server stays away for longer than the client tries
        assert asking.wait(200) == 1
    failure = json.loads(summary.read_text(encoding="utf-8"))
    assert failure["error"].startswith("land_events 2026-05-03: the Spark server ended while this step ran")
    assert failure["try_again"] is True
