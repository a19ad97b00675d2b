"""Write, audit, publish: adds rows to the lake without readers ever seeing half of them.

A commit is staged under a wap id: it is in the table's metadata, but readers do not see it. It is read back by its
snapshot id, checked, and published by a metadata swap. Iceberg rejects the swap if the id was published before. For an
overwrite of a day, it also rejects it if another run has published that day since.

The swap is Apache Iceberg's procedure ``cherrypick_snapshot``. ``publish_changes`` does the same by wap id, but uses
the first snapshot that it finds if two runs staged under one id. Metadata is read through PyIceberg, so inspecting a
snapshot needs no Spark job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from uuid import uuid4

from py4j.protocol import Py4JJavaError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from daybook.lake.catalog import load
from daybook.lake.snapshots import partition_counts, property_of, published
from daybook.lake.tables import CATALOG, NAMESPACE, spark_name
from daybook.settings import Settings

WAP_ID = "wap.id"
_TOKEN = "daybook.staged-as"
"""Snapshot property: distinguishes an append from one that another run has staged under the same wap id."""

TABLE_PROPERTIES = {
    "write.wap.enabled": "true",
    "write.parquet.compression-codec": "zstd",
    # Values that repeat (types, items, providers) fit many times. Ids, players and hosts do not. With Parquet's
    # default dictionary of up to 2 MB, looking them up took 10 of the 109 s of landing five million records, and saved
    # 1 % of the bytes
    "write.parquet.dict-size-bytes": "65536",
    # a day's rows are few and come from few tasks: no shuffle before the write, and no sort by partition either
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
}


class PublishRefused(Exception):
    """The lake has changed since the rows were staged; they were not published, and nothing changed for readers."""


def create_table(
    spark: SparkSession, settings: Settings, table: str, columns: str, *, by_day: bool = True
) -> Table | None:
    """Create the table if it does not exist: the columns of a DDL text, partitioned by ``event_date`` if ``by_day``.

    An existing table gets missing properties; properties that somebody has set are not changed.

    PyIceberg checks for the table: a CREATE statement for an existing table costs the driver a tenth of a second, on
    every day but the first.

    Returns:
        The table if it existed already, else None.
    """
    if (known := load(settings, table)) is not None:
        _add_properties(spark, known, table)
        return known
    properties = ", ".join(f"'{key}' = '{value}'" for key, value in TABLE_PROPERTIES.items())
    partitions = "PARTITIONED BY (event_date)" if by_day else ""
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {spark_name(table)} ({columns}) USING iceberg {partitions} "
        f"TBLPROPERTIES ('format-version' = '2', {properties})"
    )
    return None


def add_columns(spark: SparkSession, known: Table, table: str, columns: str) -> None:
    """Add the columns of a DDL text that the existing table lacks; old rows read as null."""
    there = set(known.schema().column_names)
    if lacking := [field for field in struct(columns) if field.name not in there]:
        added = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in lacking)
        spark.sql(f"ALTER TABLE {spark_name(table)} ADD COLUMNS ({added})")


def _add_properties(spark: SparkSession, known: Table, table: str) -> None:
    if lacking := TABLE_PROPERTIES.keys() - known.properties.keys():
        added = ", ".join(f"'{key}' = '{TABLE_PROPERTIES[key]}'" for key in sorted(lacking))
        spark.sql(f"ALTER TABLE {spark_name(table)} SET TBLPROPERTIES ({added})")


def _with_all_columns(spark: SparkSession, rows: DataFrame, table: str) -> DataFrame:
    """Add null columns to the rows for table columns that a newer Daybook has added and this one does not know."""
    unknown = [field for field in spark.table(spark_name(table)).schema if field.name not in rows.columns]
    return rows.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in unknown))


def create_namespace(spark: SparkSession) -> None:
    """Create the lake's namespace if it does not exist."""
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {CATALOG}.{NAMESPACE}")


def staged_under(table: Table | None, wap_id: str) -> list[Snapshot]:
    """Return the snapshots staged under a wap id, published or not, oldest first."""
    if table is None:
        return []
    found = [one for one in table.metadata.snapshots if property_of(one, WAP_ID) == wap_id]
    return sorted(found, key=lambda one: one.sequence_number or 0)


def is_published(table: Table | None, snapshot_id: int) -> bool:
    """Whether the rows staged as this snapshot are published."""
    return any(one.snapshot_id == snapshot_id for one in published(table))


def on_dates(dates: list[date | None]) -> Column:
    """Return a filter for rows of these dates; None means the rows without a date."""
    chosen = F.col("event_date").isin([day for day in dates if day is not None])
    return (chosen | F.col("event_date").isNull()) if None in dates else chosen


@contextmanager
def _wap_id(spark: SparkSession, wap_id: str) -> Iterator[None]:
    spark.conf.set("spark.wap.id", wap_id)
    try:
        yield
    finally:
        spark.conf.unset("spark.wap.id")


def stage_append(
    spark: SparkSession, settings: Settings, rows: DataFrame, table: str, wap_id: str, properties: Mapping[str, str]
) -> Snapshot:
    """Stage rows to append to the table; returns this run's snapshot even if others stage under the same id."""
    token = uuid4().hex
    with _wap_id(spark, wap_id):
        writer = _with_all_columns(spark, rows, table).writeTo(spark_name(table))
        for key, value in {**properties, _TOKEN: token}.items():
            writer = writer.option(f"snapshot-property.{key}", value)
        writer.append()
    found = [one for one in staged_under(load(settings, table), wap_id) if property_of(one, _TOKEN) == token]
    if not found:
        raise RuntimeError(f"{table}: nothing was staged under {wap_id}")
    return found[0]


def stage_dates(
    spark: SparkSession, settings: Settings, rows: DataFrame, table: str, wap_id: str, dates: list[date | None]
) -> int | None:
    """Stage rows as the complete content of some dates of the table.

    Args:
        spark: the session.
        settings: where the lake is.
        rows: the rows of these dates and of no others.
        table: table name, without the namespace.
        wap_id: identifies this staging; never used before in this table.
        dates: the dates to replace; None for the rows without a date.

    Returns:
        Id of the staged snapshot; None if these dates have neither staged nor published rows.
    """
    rows = _with_all_columns(spark, rows, table)
    with _wap_id(spark, wap_id):
        rows.writeTo(spark_name(table)).overwritePartitions()
        current = load(settings, table)
        snapshot = next(iter(staged_under(current, wap_id)), None)
        # overwritePartitions does not change a date for which it has no rows. If such a date has published rows, the
        # dates are replaced by a filter instead; Iceberg publishes that only if the table has not changed meanwhile
        had = {day for day in dates if partition_counts(current).get(day)}
        has = partition_counts(current, snapshot.snapshot_id) if snapshot else {}
        if had - has.keys():
            spark.conf.set("spark.wap.id", f"{wap_id}:all")
            rows.writeTo(spark_name(table)).overwrite(on_dates(dates))
            snapshot = next(iter(staged_under(load(settings, table), f"{wap_id}:all")), None)
    return snapshot.snapshot_id if snapshot else None


def at_snapshot(spark: SparkSession, table: str, snapshot_id: int | None) -> DataFrame:
    """Read the table at a snapshot, staged or published; the published state if no snapshot is given."""
    if snapshot_id is None:
        return spark.table(spark_name(table))
    return spark.read.option("versionAsOf", snapshot_id).table(spark_name(table))


def publish(spark: SparkSession, settings: Settings, table: str, snapshot_id: int) -> None:
    """Publish a staged snapshot; does nothing if it is published already.

    Raises:
        PublishRefused: another run has published the same dates, or the same wap id, since it was staged.
    """
    metadata = load(settings, table)
    snapshot = metadata.snapshot_by_id(snapshot_id) if metadata else None
    if snapshot is None:
        raise PublishRefused(f"{table}: the staged snapshot {snapshot_id} no longer exists")
    if is_published(metadata, snapshot_id):
        return
    try:
        spark.sql(
            f"CALL {CATALOG}.system.cherrypick_snapshot(table => :table, snapshot_id => :snapshot_id)",
            args={"table": spark_name(table), "snapshot_id": snapshot_id},
        ).collect()
    except (Py4JJavaError, PySparkException) as error:
        if not any(sign in str(error) for sign in _REFUSALS):
            raise
        raise PublishRefused(f"{table}: {str(error).splitlines()[0]}") from error


_REFUSALS = (
    "DuplicateWAPCommitException",
    "Duplicate request to cherry pick wap id",
    "Cannot cherry-pick",
    "CherrypickAncestorCommitException",
    "ValidationException",
    "CommitFailedException",
)
"""Iceberg's errors if the table has changed since the snapshot was staged."""


def struct(ddl: str) -> StructType:
    """Parse the columns of a DDL text; uses the parser of the running session."""
    parsed = StructType.fromDDL(ddl)
    if not isinstance(parsed, StructType):
        raise TypeError(f"not a list of columns: {ddl}")
    return parsed
