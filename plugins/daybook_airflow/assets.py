"""The lake's tables as Airflow assets, so that other DAGs can be scheduled by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset

from daybook.lake.tables import CATALOG, EVENTS, NAMESPACE
from daybook.sql.answers import answer_files


def table_assets() -> dict[str, Asset]:
    """Return table -> asset, for ``events`` and every answer; a new ``.sql`` file is a new asset."""
    return {
        table: Asset(name=f"{NAMESPACE}.{table}", uri=f"iceberg://{CATALOG}/{NAMESPACE}/{table}", group="daybook")
        for table in (EVENTS, *answer_files())
    }


def published_extra(table: str, published: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the extra of a table's asset event: ``{"days": {"2026-05-03": {"revision": 2, "rows": 13}}}``.

    Args:
        table: the table.
        published: the days that a run published, as returned by ``publish_day``.
    """
    return {"days": {one["day"]: {"revision": one["revision"], "rows": one["rows"].get(table, 0)} for one in published}}
