"""A published day as analysts read it: with the commands, and with the examples of docs/tasks.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from daybook.settings import REPOSITORY
from tests.integration.running_stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.long]

DAY = datetime.now(UTC).date() - timedelta(days=24)
"""A day for this module alone."""
EVENTS = 1_500
TASKS = (REPOSITORY / "docs" / "tasks.md").read_text(encoding="utf-8")
EXAMPLES = {text.split(":")[0].lstrip("# "): text for text in re.findall(r"```python\n(.+?)```", TASKS, re.DOTALL)}


@pytest.fixture(scope="module")
def day(stack: Stack) -> date:
    """A day on which clients sent some events twice, and some invalid ones."""
    states = stack.trigger("read", day=DAY.isoformat(), events=EVENTS, seed=11, duplicates=0.05, invalid=0.05)
    assert states["publish_day"] == "success"
    return DAY


def test_a_second_engine_the_generator_and_kafka_agree_with_the_day(stack: Stack, day: date) -> None:
    verdicts = stack.json("verify", "--day", day.isoformat())
    assert {one["verdict"] for one in verdicts} == {"equal"}
    lines = [one["line"] for one in verdicts]
    assert any(line.startswith("user_activity: ") and "recounted by DuckDB" in line for line in lines)
    assert any(line.startswith(f"generator (runs for {day}): {EVENTS:,} acknowledged ids") for line in lines)
    compared = sum(int(re.findall(r"([\d,]+) records", line)[0].replace(",", "")) for line in lines if "Kafka" in line)
    assert compared == stack.ledger_row(day)["landed"] == EVENTS + round(EVENTS * 0.05)


def test_a_number_is_traced_to_what_kafka_holds(stack: Stack, day: date) -> None:
    from daybook.kafka.offsets import committed

    rows = stack.json("answer", "provider_event_popularity", "--day", day.isoformat())
    count = next(row["events"] for row in rows if row["provider"] == "cox" and row["item"] == "knife")
    where = 'provider = "cox" and item = "knife"'
    trace = stack.json("trace", "provider_event_popularity", "--day", day.isoformat(), "--where", where)
    assert len(trace["events"]) == count
    one = trace["events"][0]
    [record] = committed(stack.settings, one["kafka_partition"], one["kafka_offset"], one["kafka_offset"] + 1)
    value = json.loads(record.value() or b"")
    assert (value["event_id"], value["item"], value["host"]) == (one["event_id"], "knife", one["host"])
    assert one["host"].endswith(".cox.com")


def test_an_export_is_plain_partitions(stack: Stack, day: date, tmp_path: Path) -> None:
    import pandas as pd

    stack.daybook("export", "--day", day.isoformat(), "--to", str(tmp_path))
    stack.daybook("export", "--day", day.isoformat(), "--to", str(tmp_path))  # the second export replaces the first
    files = list((tmp_path / "events").rglob("*"))
    assert files == [tmp_path / "events" / f"event_date={day}", tmp_path / "events" / f"event_date={day}/part.parquet"]
    events = pd.read_parquet(tmp_path / "events")
    assert len(events) == events["event_id"].nunique() == EVENTS
    popular = pd.read_parquet(tmp_path / "event_popularity" / f"event_date={day}" / "part.parquet")
    assert popular["events"].sum() == EVENTS


@pytest.mark.parametrize("reader", ["pandas", "PyIceberg", "DuckDB", "Polars", "Spark"])
def test_the_readmes_example_runs_unchanged(stack: Stack, day: date, reader: str, tmp_path: Path) -> None:
    text = EXAMPLES[reader].replace("2026-05-03", day.isoformat())
    if "daybook export" in text:
        stack.daybook("export", "--day", day.isoformat(), "--to", str(tmp_path / "exported"))
    env = {**stack.env, "POLARS_FMT_MAX_ROWS": "30"}
    done = subprocess.run(
        [sys.executable, "-c", text], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = stack.json("answer", "provider_usage", "--day", day.isoformat())
    popular = stack.json("answer", "event_popularity", "--day", day.isoformat())
    shown = {row["item"]: row["events"] for row in popular} if reader in ("pandas", "DuckDB") else {}
    shown = shown or {row["provider"]: row["events"] for row in rows}
    for name, count in list(shown.items())[:3]:
        assert str(name or "") in done.stdout
        assert str(count) in done.stdout.replace(",", "")


def test_the_readme_has_an_example_for_each_of_the_five() -> None:
    assert list(EXAMPLES) == ["pandas", "PyIceberg", "DuckDB", "Polars", "Spark"]
