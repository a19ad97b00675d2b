"""One Spark session with a lake of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from daybook.java import java_home
from daybook.lake_names import CATALOG, NAMESPACE
from daybook.settings import Settings
from daybook_spark.pages import create_tables
from daybook_spark.session import spark_session
from tests.spark.topic_records import Topic


@pytest.fixture(scope="session")
def lake_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("lake")
    (home / "lake").mkdir()
    return Settings(home=home, spark_driver_memory="1g")


@pytest.fixture(scope="session")
def spark(lake_settings: Settings) -> Iterator[SparkSession]:
    os.environ["JAVA_HOME"] = str(java_home())  # as the stack sets it for the jobs
    session = spark_session("tests", lake_settings)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture
def lake(spark: SparkSession, lake_settings: Settings) -> Settings:
    """An empty lake with its tables; the settings that find it."""
    create_tables(spark)
    for row in spark.sql(f"SHOW TABLES IN {CATALOG}.{NAMESPACE}").collect():
        if not row.isTemporary:
            spark.sql(f"DROP TABLE {CATALOG}.{NAMESPACE}.{row.tableName} PURGE")
    create_tables(spark)
    return lake_settings


@pytest.fixture
def topic(spark: SparkSession) -> Topic:
    return Topic(spark)
