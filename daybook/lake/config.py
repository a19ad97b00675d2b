"""How to reach the lake's catalog and its storage: the properties for Spark and for PyIceberg.

A catalog is SQLite, PostgreSQL or an Iceberg REST catalog; a warehouse is a folder, a bucket of an S3-compatible store
or HDFS. Spark's properties contain no secret, because they appear on a command line. The database's password comes
from libpq's ``PGPASSFILE``, the bucket's keys from the AWS SDKs' own chain, a REST catalog's token from the
environment. Opens no connection.
"""

from __future__ import annotations

from daybook.errors import BadInput
from daybook.settings import SQLITE, Settings

POSTGRESQL = "jdbc:postgresql:"

TOKEN = "token"
CREDENTIAL = "credential"
SECRETS = (TOKEN, CREDENTIAL)
"""The keys of :func:`pyiceberg_properties` whose values are secrets."""


def sqlalchemy_uri(jdbc_uri: str) -> str:
    """Return the SQLAlchemy form of a JDBC catalog URI, for PyIceberg.

    Raises:
        BadInput: neither SQLite nor PostgreSQL.

    >>> sqlalchemy_uri("jdbc:sqlite:/data/catalog.db")
    'sqlite:////data/catalog.db'
    >>> sqlalchemy_uri("jdbc:sqlite:/data/50%20/catalog.db")
    'sqlite:////data/50%2520/catalog.db'
    >>> sqlalchemy_uri("jdbc:postgresql://db:5432/lake?user=daybook")
    'postgresql+psycopg2://db:5432/lake?user=daybook'
    """
    if jdbc_uri.startswith(SQLITE):
        from sqlalchemy import URL

        # SQLAlchemy unquotes the path of a URI, JDBC does not
        return URL.create("sqlite", database=jdbc_uri.removeprefix(SQLITE)).render_as_string()
    if jdbc_uri.startswith(POSTGRESQL):
        return f"postgresql+psycopg2:{jdbc_uri.removeprefix(POSTGRESQL)}"
    raise BadInput(
        f"DAYBOOK_LAKE_CATALOG_URI is {jdbc_uri!r}; write jdbc:sqlite:FILE, jdbc:postgresql://HOST/DATABASE or "
        "https://HOST/PATH of an Iceberg REST catalog"
    )


def spark_properties(settings: Settings) -> dict[str, str]:
    """Properties of Spark's catalog, each below ``spark.sql.catalog.<name>``; they contain no secret."""
    if settings.has_rest_catalog:
        # Iceberg replaces env:NAME with the driver's environment variable, so no command line contains the secret
        secrets = {name: f"env:DAYBOOK_LAKE_CATALOG_{name.upper()}" for name in _rest_secrets(settings)}
        catalog = {"type": "rest", "uri": settings.catalog_uri, **secrets}
    else:
        # the schema that PyIceberg reads too
        catalog = {"type": "jdbc", "uri": settings.catalog_uri, "jdbc.schema-version": "V1"}
    return {
        **catalog,
        "warehouse": settings.warehouse,
        **(_s3_for_spark(settings) if settings.is_on_s3 else {}),
        # another run may have published since: every access loads the table afresh
        "cache-enabled": "false",
    }


def _s3_for_spark(settings: Settings) -> dict[str, str]:
    # path style: a self-hosted store has no DNS name for each bucket
    endpoint = {"s3.endpoint": settings.s3_endpoint, "s3.path-style-access": "true"} if settings.s3_endpoint else {}
    return {"io-impl": "org.apache.iceberg.aws.s3.S3FileIO", "client.region": settings.s3_region, **endpoint}


def pyiceberg_properties(settings: Settings) -> dict[str, str]:
    """Properties of PyIceberg's catalog; secrets are under :data:`SECRETS`."""
    if settings.has_rest_catalog:
        catalog = {"type": "rest", "uri": settings.catalog_uri, **_rest_secrets(settings)}
    else:
        catalog = {"type": "sql", "uri": sqlalchemy_uri(settings.catalog_uri)}
    storage = {"s3.region": settings.s3_region} if settings.is_on_s3 else {}
    storage |= {"s3.endpoint": settings.s3_endpoint} if settings.s3_endpoint else {}
    return {**catalog, "warehouse": settings.warehouse, **storage}


def _rest_secrets(settings: Settings) -> dict[str, str]:
    values = {
        TOKEN: settings.lake_catalog_token.get_secret_value(),
        CREDENTIAL: settings.lake_catalog_credential.get_secret_value(),
    }
    return {name: value for name, value in values.items() if value}
