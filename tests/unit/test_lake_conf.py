"""Catalog and storage settings for Spark and PyIceberg: they agree, and no command line has a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybook.errors import BadInput, DaybookError
from daybook.jobs.config import jars
from daybook.jobs.environment import stack_environment
from daybook.jobs.submit import submit_command
from daybook.lake.config import pyiceberg_properties, spark_properties
from daybook.settings import Settings, load_settings


def chosen(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"DAYBOOK_{name.upper()}", value)
    load_settings.cache_clear()
    return load_settings()


def test_a_bucket_is_read_where_it_is_written(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = chosen(monkeypatch, lake_warehouse="s3://lake/day", s3_endpoint="http://store:9000", s3_region="here")
    spark, reader = spark_properties(lake), pyiceberg_properties(lake)
    assert spark["io-impl"] == "org.apache.iceberg.aws.s3.S3FileIO"
    assert spark["s3.endpoint"] == reader["s3.endpoint"] == "http://store:9000"
    assert spark["client.region"] == reader["s3.region"] == "here"
    assert spark["warehouse"] == reader["warehouse"] == "s3://lake/day"
    assert stack_environment(lake)["PYICEBERG_CATALOG__LAKE__S3__ENDPOINT"] == "http://store:9000"


def test_no_bucket_no_word_of_s3(own_settings: Settings) -> None:
    names = spark_properties(load_settings())
    assert not [name for name in names if "s3" in name or name in {"io-impl", "client.region"}]
    assert "iceberg-aws" not in jars(load_settings())


def test_without_the_jar_the_error_names_the_command(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daybook.jobs.config.S3_SPARK_LIB_DIR", tmp_path)
    lake = chosen(monkeypatch, lake_warehouse="s3://lake/day")
    with pytest.raises(DaybookError, match="make setup-s3"):
        jars(lake)
    (tmp_path / "aws.jar").touch()
    assert jars(lake).endswith("aws.jar")


def test_a_rest_catalog_gets_its_secrets_from_the_environment_alone(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = chosen(
        monkeypatch, lake_catalog_uri="https://catalog/iceberg", lake_warehouse="lake", lake_catalog_token="hush-hush"
    )
    assert spark_properties(lake)["type"] == "rest"
    assert spark_properties(lake)["token"] == "env:DAYBOOK_LAKE_CATALOG_TOKEN"
    assert pyiceberg_properties(lake) == {
        "type": "rest",
        "uri": "https://catalog/iceberg",
        "token": "hush-hush",
        "warehouse": "lake",
    }
    assert "hush-hush" not in " ".join(submit_command(lake, "land_events", []))
    assert "hush-hush" not in str(stack_environment(lake))
    assert "hush-hush" not in str(lake)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lake_catalog_uri": "jdbc:postgresql://db/lake?user=u&password=hush"}, "PGPASSFILE"),
        ({"lake_catalog_uri": "jdbc:postgresql://u:hush@db/lake"}, "PGPASSFILE"),
        ({"lake_catalog_uri": "https://u:hush@catalog"}, "DAYBOOK_LAKE_CATALOG_TOKEN"),
        ({"lake_catalog_token": "hush"}, "DAYBOOK_LAKE_CATALOG_URI is not the URI of one"),
        ({"s3_endpoint": "http://hush"}, "DAYBOOK_S3_ENDPOINT is set"),
        ({"spark_conf": '{"spark.hadoop.fs.s3a.secret.key": "hush"}'}, "spark.hadoop.fs.s3a.secret.key is a secret"),
        ({"spark_conf": '{"spark.ssl.keyPassword": "hush"}'}, "spark.ssl.keyPassword is a secret"),
        ({"spark_conf": '{"spark.authenticate.secret": "hush"}'}, "spark.authenticate.secret is a secret"),
    ],
)
def test_settings_that_show_a_secret_or_have_no_effect_are_refused(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput) as refused:
        chosen(monkeypatch, **values)
    assert message in str(refused.value)
    assert "hush" not in str(refused.value)


def test_the_name_of_a_secret_is_not_a_secret(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    named = '{"spark.kubernetes.executor.secretKeyRef.DB_PASSWORD": "lake:password"}'
    assert chosen(monkeypatch, spark_conf=named).spark_conf
