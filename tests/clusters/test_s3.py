"""A warehouse in an S3-compatible bucket: a day, its readers, maintenance, and a driver killed before its commit."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daybook.jobs.environment import stack_environment
from daybook.jobs.jars import S3_SPARK_LIB_DIR
from daybook.jobs.java import java_home
from daybook.jobs.submit import submit_command
from daybook.lake.catalog import load
from daybook.lake.tables import EVENTS, RAW_EVENTS
from daybook.settings import REPOSITORY
from daybook_spark.erasing import forget
from daybook_spark.maintenance import STEPS
from daybook_spark.rebuilding import rebuild
from daybook_spark.session import spark_session
from tests.clusters import in_full
from tests.clusters.published import compare_days
from tests.clusters.s3_store import S3Store, built
from tests.faults.day_lab import Commits, DayLab, audit, kill, lab_on
from tests.figures import Figures
from tests.integration.own_broker import own_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_500), in_full]

DAY = datetime.now(UTC).date() - timedelta(days=60)
USER = "user7"


class BucketLab(DayLab):
    """A test lab whose files are in a bucket."""

    store: S3Store

    @property
    def warehouse(self) -> Path:
        """The bucket's objects, as the server stores them."""
        return self.store.bucket


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """Run the server; this process and its children sign with its keys, from the SDKs' environment variables."""
    if not S3_SPARK_LIB_DIR.exists():
        pytest.fail("no jar for S3; run `make setup-s3`")
    program = built(REPOSITORY / ".venv" / "s3-server")
    with pytest.MonkeyPatch.context() as patch, S3Store(program, tmp_path_factory.mktemp("s3")) as running:
        for name, value in running.keys.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DayLab]:
    """Broker, intake, and a lake in a folder; the lake in the bucket must be equal to it."""
    settings = own_settings(tmp_path_factory.mktemp("local"))
    with lab_on(settings) as made:
        yield made


@pytest.fixture(scope="module")
def lab(local: DayLab, store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> BucketLab:
    """The same broker and intake, with a lake in the bucket."""
    home = tmp_path_factory.mktemp("bucket")
    there = {"home": home, "lake_warehouse": store.warehouse, "s3_endpoint": store.endpoint}
    made = BucketLab(local.settings.model_copy(update=there), local.broker, local.intake)
    made.store = store
    return made


def moments(day: date, count: int) -> list[str]:
    """Return this many moments of a day."""
    return [f"{day}T{number // 60:02}:{number % 60:02}:00Z" for number in range(count)]


def send(labs: tuple[DayLab, ...], day: date, count: int) -> None:
    """Send events of a day once, and add them to the oracles of all labs."""
    first, *others = labs
    first.send(*moments(day, count))
    for other in others:
        other.accepted |= first.accepted


def test_a_day_in_a_bucket_is_that_of_a_folder(local: DayLab, lab: BucketLab, figures: Figures) -> None:
    send((local, lab), DAY, 300)
    for one in (local, lab):
        one.run_day(DAY)
    assert compare_days(local.settings, lab.settings) == 1
    assert audit(lab.settings, lab.accepted).is_clean
    assert not list((lab.settings.home / "lake").rglob("*.parquet"))
    figures(
        {"objects": len(objects(lab)), "steps' seconds": {name: round(took, 1) for name, took in lab.seconds.items()}}
    )


def test_readers_go_to_the_bucket(lab: BucketLab) -> None:
    assert "sword" in lab.daybook("answer", "event_popularity", "--day", str(DAY))
    assert "300" in lab.daybook("query", f"SELECT COUNT(*) AS n FROM events WHERE event_date = '{DAY}'", "--csv")
    lab.daybook("verify", "--day", str(DAY))
    lab.daybook("trace", "event_popularity", "--day", str(DAY), "--where", "item = 'sword'")


def test_a_driver_killed_before_its_commit_and_the_upkeep_that_clears_up(lab: BucketLab, figures: Figures) -> None:
    lab.send(*moments(DAY, 40))

    left_behind: set[Path] = set()

    def kill_before_the_commit(driver: subprocess.Popen[bytes]) -> None:
        known = objects(lab)
        lab.injected += bool(Commits(lab).before_the_next(driver, partial(kill, driver)))
        left_behind.update(objects(lab) - known)

    lab.run_day(DAY, {"land_events": [kill_before_the_commit]})
    assert lab.injected == 1
    assert {path.suffix for path in left_behind} == {".parquet", ".avro", ".json"}
    assert audit(lab.settings, lab.accepted).is_clean
    before = objects(lab)
    os.environ["JAVA_HOME"] = str(java_home())  # the stack sets this for the jobs too
    spark = spark_session("upkeep", lab.settings)
    try:
        now = datetime.now(UTC)
        later = now + timedelta(days=lab.settings.snapshot_retention_days + 3)
        # Iceberg deletes no orphan younger than a day, whatever time it is given: make the objects older
        for path in objects(lab):
            os.utime(path, (now.timestamp() - 30 * 86_400,) * 2)
        times = dict.fromkeys(STEPS, later) | {"remove_orphan_files": now}
        done = {name: step(spark, lab.settings, times[name]) for name, step in STEPS.items()}
        assert done["expire_snapshots"][RAW_EVENTS] > 0
        # only the killed driver's objects and those of the expired snapshots
        gone = before - objects(lab)
        assert left_behind <= gone
        assert len(gone) == sum(done["remove_orphan_files"].values())
        assert STEPS["remove_orphan_files"](spark, lab.settings, now) == {}
        assert audit(lab.settings, lab.accepted).is_clean
        lab.daybook("verify", "--day", str(DAY))
        figures({"objects before": len(before), "after": len(objects(lab)), **done})

        assert rebuild(spark, lab.settings, DAY, DAY, "rebuilt", dry_run=False)[0]["day"] == str(DAY)
        assert audit(lab.settings, lab.accepted).is_clean
        forget(spark, lab.settings, USER, "forgotten", "")
    finally:
        spark.stop()
    # neither in a row that readers get, nor in an object that remains
    table = load(lab.settings, EVENTS)
    assert table is not None
    assert table.scan(row_filter=f"user_id = '{USER}'").to_arrow().num_rows == 0
    assert table.scan().to_arrow().num_rows > 0
    left = [path for path in objects(lab) if path.suffix == ".parquet" and "game/events/data" in path.as_posix()]
    assert left
    for path in left:
        assert USER not in pq.read_table(path, columns=["user_id"])["user_id"].to_pylist()
    lab.daybook("verify", "--day", str(DAY))


def objects(lab: BucketLab) -> set[Path]:
    """Return the bucket's objects."""
    return {path for path in lab.warehouse.rglob("*") if path.is_file()}


def test_no_key_of_the_bucket_is_in_a_command_a_log_or_the_environment(lab: BucketLab, store: S3Store) -> None:
    secret = store.keys["AWS_SECRET_ACCESS_KEY"]
    assert secret not in " ".join(submit_command(lab.settings, "land_events", []))
    assert secret not in lab.log.read_text(encoding="utf-8")
    assert secret not in json.dumps(stack_environment(lab.settings))
