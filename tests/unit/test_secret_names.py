"""Secrets are recognized by kind, in every spelling of stores, clusters and shells."""

from __future__ import annotations

import json

import pytest

from daybook.errors import BadInput
from daybook.secret_names import holds_a_secret, names_a_secret
from daybook.settings import Settings, load_settings

SECRETS = [
    "spark.executorEnv.AWS_SECRET_ACCESS_KEY",
    "spark.hadoop.fs.azure.account.key.acct.dfs.core.windows.net",
    "spark.hadoop.fs.gs.auth.service.account.private.key",
    "spark.sql.catalog.X.token",
    "spark.sql.catalog.X.credential",
    "spark.hadoop.fs.azure.sas.cont.acct.blob.core.windows.net",
    "spark.hadoop.fs.azure.sas.fixed.token.acct",
    "spark.ssl.keyPassword",
    "spark.ssl.key-password",
    "spark.ssl.KEY_PASSWORD",
    "spark.hadoop.fs.s3a.secret.key",
    "spark.hadoop.fs.s3a.access.key",
    "spark.hadoop.fs.s3a.session.token",
    "spark.kubernetes.authenticate.submission.oauthToken",
    "spark.kubernetes.driverEnv.API_TOKEN",
    "spark.hadoop.javax.jdo.option.ConnectionPassword",
    "spark.executorEnv.PGPASSWORD",
    "spark.executorEnv.DB_PASS",
    "spark.authenticate.secret",
    "spark.hadoop.fs.azure.account.oauth2.client.secret.acct.dfs.core.windows.net",
    "spark.sql.catalog.X.header.Authorization",
    "spark.sql.catalog.X.oauth2.client-secret",
    "spark.executorEnv.AZURE_STORAGE_ACCOUNT_KEY",
    "spark.executorEnv.AZURE_STORAGE_CONNECTION_STRING",
    "spark.sql.catalog.X.s3.secret-access-key",
    "spark.sql.catalog.X.s3.session-token",
    "spark.sql.catalog.x.jdbc.password",
    "spark.sql.catalog.X.adls.sas-token.acct",
    "spark.sql.catalog.X.gcs.oauth2.token",
    "spark.hadoop.fs.s3a.encryption.key",
    "spark.executorEnv.GITHUB_TOKEN",
    "spark.kafka.sasl.jaas.config",
    "spark.kafka.clusters.c.ssl.truststore.password",
    "spark.executorEnv.OPENAI_API_KEY",
    "spark.executorEnv.apikey",
    "spark.hadoop.fs.cosn.userinfo.secretKey",
    "spark.hadoop.fs.oss.accessKeySecret",
]
ORDINARY = [
    "spark.sql.adaptive.enabled",
    "spark.kerberos.keytab",
    "spark.kerberos.principal",
    "spark.hadoop.fs.s3a.aws.credentials.provider",
    "spark.kubernetes.driver.secretKeyRef.PW",
    "spark.kubernetes.executor.secrets.my-secret",
    "spark.yarn.tokens.hive.enabled",
    "spark.authenticate",
    "spark.authenticate.secret.file",
    "spark.authenticate.secret.driver.file",
    "spark.sql.catalog.x.token-refresh-enabled",
    "spark.sql.catalog.x.token-expires-in-ms",
    "spark.hadoop.hadoop.security.credential.provider.path",
    "spark.executorEnv.TOKENIZERS_PARALLELISM",
    "spark.kubernetes.authenticate.submission.oauthTokenFile",
    "spark.security.credentials.hive.enabled",
    "spark.ssl.keyStore",
    "spark.ssl.keyAlias",
    "spark.io.encryption.keySizeBits",
    "spark.io.encryption.enabled",
    "spark.sql.maxTokens",
    "spark.maxTokens",
    "spark.executor.memory",
    "spark.redaction.regex",
    "spark.sql.redaction.options.regex",
    "spark.kafka.clusters.c.sasl.token.mechanism",
    "spark.kubernetes.driver.secretKeyRef.AWS_SECRET_ACCESS_KEY",
    "spark.sql.shuffle.partitions",
    "spark.hadoop.fs.s3a.connection.ssl.enabled",
    "spark.history.fs.driverlog.cleaner.interval",
    "spark.sql.bypassMerge",
    "spark.compass",
    "spark.hadoop.fs.azure.account.auth.type.acct",
    "spark.hadoop.fs.azure.account.oauth2.client.endpoint",
    "spark.security.credentials.renewalRatio",
    "spark.kerberos.renewal.credentials",
    "spark.sql.orc.columnarReaderBatchSize",
    "spark.sql.catalog.X.s3.signer",
    "spark.sql.hive.metastore.sharedPrefixes",
    "spark.executor.extraJavaOptions",
    "spark.sql.passThrough",
]
HOLDING = [
    "jdbc:postgresql://u:p@h/d",
    "http://user:pw@h",
    "-Djavax.net.ssl.trustStorePassword=x",
    "-Xmx1g -Dapi.token=abc",
    "jdbc:sqlserver://h;user=a;password=b",
    "https://acct.blob.core.windows.net/c?sv=1&sig=abc",
    "//u:p@h",
    "s3://key:secret@bucket",
    "jdbc:postgresql://h/d?sslpassword=x",
    "jdbc:postgresql://h/d?PASSWORD=x",
]
HOLDING_NONE = [
    "jdbc:postgresql://postgres:5432/lake?user=lake",
    "http://game_api:5000",
    "http://127.0.0.1:5000",
    "a:9092,b:9092",
    "-XX:+UseG1GC",
    "-Duser.language=en -Djava.security.auth.login.config=/etc/jaas.conf",
    "https://u@h/",
    "s3://bucket/path",
    "jdbc:sqlite:/x y/catalog.db",
    "http://h:80/a@b",
    "-Dspark.authenticate.secret.file=/x",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_refused_by_its_name(name: str, own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names_a_secret(name)
    monkeypatch.setenv("DAYBOOK_SPARK_CONF", json.dumps({name: "hush"}))
    load_settings.cache_clear()
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert f"{name} is a secret" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_ordinary_settings_are_taken(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name in ORDINARY if names_a_secret(name)] == []
    monkeypatch.setenv("DAYBOOK_SPARK_CONF", json.dumps(dict.fromkeys(ORDINARY, "1")))
    load_settings.cache_clear()
    assert list(load_settings().spark_conf) == ORDINARY


@pytest.mark.parametrize("text", HOLDING)
@pytest.mark.parametrize(
    "name",
    ["API_URL", "AIRFLOW_SERVER_URL", "LAKE_CATALOG_URI", "LAKE_WAREHOUSE", "S3_ENDPOINT", "SPARK_DRIVER_JAVA_OPTIONS"],
)
def test_a_text_that_holds_a_secret_is_refused(
    name: str, text: str, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert holds_a_secret(text)
    monkeypatch.setenv(f"DAYBOOK_{name}", text)
    load_settings.cache_clear()
    with pytest.raises(BadInput, match=f"DAYBOOK_{name} contains a") as refused:
        load_settings()
    assert text not in str(refused.value)


@pytest.mark.parametrize("text", HOLDING)
def test_one_in_a_value_for_spark_is_refused(
    text: str, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_SPARK_CONF", json.dumps({"spark.executor.extraJavaOptions": text}))
    load_settings.cache_clear()
    with pytest.raises(BadInput, match=r"spark\.executor\.extraJavaOptions contains a secret"):
        load_settings()


@pytest.mark.parametrize("text", HOLDING_NONE)
def test_a_text_without_one_is_taken(text: str) -> None:
    assert not holds_a_secret(text)
