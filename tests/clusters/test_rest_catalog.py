"""An Iceberg REST catalog, Nessie, with a bucket: a day is landed, published, restated and read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybook.errors import BadInput
from daybook.jobs.java import java_home
from daybook.lake.catalog import load
from daybook.lake.ledger import read_ledger
from daybook.lake.tables import RAW_EVENTS
from daybook.settings import REPOSITORY, Settings
from daybook_spark.building import create_tables
from daybook_spark.session import spark_session
from tests.clusters import in_full
from tests.clusters.published import days
from tests.clusters.rest_catalog import WAREHOUSE, RestCatalog, fetched
from tests.clusters.s3_store import S3Store, built
from tests.integration.own_broker import free_ports
from tests.spark.lake_run import DAY, Run, an_id
from tests.spark.topic_records import Topic

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return settings for a lake with this catalog and this bucket."""
    folder = tmp_path_factory.mktemp("rest")
    jar = fetched(REPOSITORY / ".venv" / "rest-catalog")
    with pytest.MonkeyPatch.context() as patch, S3Store(built(REPOSITORY / ".venv" / "s3-server"), folder) as store:
        for name, value in store.keys.items():
            patch.setenv(name, value)
        patch.setenv("JAVA_HOME", str(java_home()))
        with RestCatalog(jar, store, folder) as running:
            yield Settings(
                home=folder / "home",
                lake_catalog_uri=running.uri,
                lake_warehouse=WAREHOUSE,
                s3_endpoint=store.endpoint,
            )


@in_full
def test_a_day_of_a_rest_catalog(catalogued: Settings) -> None:
    catalogued.home.mkdir()
    assert load(catalogued, RAW_EVENTS) is None, "nobody has made its tables yet"
    spark = spark_session("rest", catalogued)
    try:
        create_tables(spark, catalogued)
        topic = Topic(spark)
        for number, items in enumerate((20, 5)):
            for one in range(items):
                topic.event(event_id=an_id(100 * number + one), occurred_at=f"{DAY}T10:00:00Z")
            run = Run(spark, catalogued, f"run-{number}")
            run.land(topic)
            run.build().publish()
    finally:
        spark.stop()
    # through PyIceberg
    assert read_ledger(catalogued).of(str(DAY)).revision == 2
    [day] = days(catalogued).values()
    assert (day["landed"], day["events"], day["balanced"]) == (25, 25, True)
    assert sum(row["events"] for row in day["answers"]["event_popularity"]) == 25
    assert not os.path.exists(catalogued.home / "lake"), "nothing of the lake is on this machine's disk"


def test_an_unavailable_rest_catalog_is_reported_in_one_line(tmp_path: Path) -> None:
    [port] = free_ports(1)
    away = Settings(home=tmp_path, lake_catalog_uri=f"http://127.0.0.1:{port}/iceberg", lake_warehouse="lake")
    with pytest.raises(BadInput, match=r"catalog does not answer \(.*DAYBOOK_LAKE_CATALOG_URI is correct") as refused:
        load(away, RAW_EVENTS)
    assert "\n" not in str(refused.value)
