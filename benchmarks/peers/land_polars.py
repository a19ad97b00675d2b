"""Polars lands a day: the records as an Arrow table, then expressions."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from benchmarks.peers.land_rules import REQUIRED
from benchmarks.peers.topic import providers, table
from daybook.contract import RECORD_FIELDS
from daybook.settings import Settings, load_settings

TYPES: dict[str, type[pl.DataType]] = {"string": pl.String, "int": pl.Int32, "timestamp": pl.String}
"""Spark's types -> Polars' types for JSON."""


def land(settings: Settings, folder: Path) -> None:
    """Write the events below the folder."""
    records = pl.DataFrame(table(settings)).select(pl.col("value").cast(pl.String))
    structure = pl.Struct({name: TYPES[kind] for name, kind in RECORD_FIELDS})
    times = [
        pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)
        for name, kind in RECORD_FIELDS
        if kind == "timestamp"
    ]
    parsed = (
        # json_decode fails at the first invalid JSON, json_path_match gives null
        records.filter(pl.col("value").str.json_path_match("$.event_id").is_not_null())
        .select(pl.col("value").str.json_decode(structure).alias("event"))
        .unnest("event")
        .with_columns(times)
        .filter(pl.all_horizontal(pl.col(name).is_not_null() for name in REQUIRED))
        .unique("event_id", keep="any")
    )
    known = pl.DataFrame(providers(parsed["host"].unique().to_list()))
    rows = parsed.join(known, on="host", how="left").with_columns(event_date=pl.col("occurred_at").dt.date())
    rows.lazy().sink_parquet(
        pl.PartitionBy(folder / "events", key="event_date", include_key=False), compression="zstd", mkdir=True
    )


if __name__ == "__main__":
    land(load_settings(), Path(sys.argv[1]))
