"""The benchmarks' ground truth detects every fault that lands other rows than the generator intended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.day import DAY, SEED, Truth, wrong_events
from benchmarks.whole_day import Rows
from daybook.contract import client_event
from daybook.providers import resolve
from daybook.settings import Settings
from event_generator.day import build_day

EVENTS = 300
Row = dict[str, Any]


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(build_day(DAY, EVENTS, SEED, Settings().items))


@pytest.fixture
def rows(truth: Truth) -> list[Row]:
    """The rows that a correct candidate lands."""
    events = [client_event.validate_python(event) for event in truth.plan.at(range(EVENTS))]
    return [
        {
            "event_id": str(event.event_id),
            "event_type": event.event_type,
            "item": getattr(event, "item", None),
            "provider": resolve(event.host or "").provider,
            "occurred_at": event.occurred_at,
        }
        for event in events
    ]


def wrong(rows: list[Row], truth: Truth, folder: Path) -> str:
    file = folder / f"event_date={DAY}" / "part.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return wrong_events([str(file)], truth)


def test_right_rows_are_right(rows: list[Row], truth: Truth, tmp_path: Path) -> None:
    assert wrong(rows, truth, tmp_path) == ""


def _with(rows: list[Row], **changes: Any) -> list[Row]:
    return [{**rows[0], **changes}, *rows[1:]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [*rows, rows[0]], "301 rows of 300"),
        (lambda rows: rows[1:], "299 rows of 300"),
        (lambda rows: [rows[1], *rows[1:]], "299 distinct event ids of 300"),
        (lambda rows: _with(rows, provider="nobody"), "other counts of providers"),
        (lambda rows: _with(rows, item="spoon"), "other counts of event types and items"),
        (lambda rows: _with(rows, occurred_at=rows[0]["occurred_at"] + timedelta(hours=1)), "other times"),
    ],
    ids=["one twice", "one lost", "one lost, one twice", "provider", "item", "an hour late"],
)
def test_other_rows_are_reported(
    rows: list[Row], truth: Truth, tmp_path: Path, spoil: Callable[[list[Row]], list[Row]], message: str
) -> None:
    assert message in wrong(spoil(rows), truth, tmp_path)


def test_nothing_is_wrong_too(truth: Truth) -> None:
    assert wrong_events([], truth) == "nothing was written"


def test_answers_are_compared_with_the_generators(truth: Truth) -> None:
    found = {**truth.answers, "user_activity": []}
    assert Rows(truth.answers).wrong(found) == ""
    usage = found["provider_usage"]
    lost = {**found, "provider_usage": usage[1:]}
    assert "provider_usage" in Rows(truth.answers).wrong(lost)
    other = {**found, "provider_usage": [{**usage[0], "share": usage[0]["share"] + 1e-6}, *usage[1:]]}
    assert Rows(truth.answers).wrong(other) == "provider_usage: other rows"
