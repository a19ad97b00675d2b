"""``make bench-sizing``: the cost of a million events in each part, and from that the needs of days of any size.

A producer writes a generated day into a separate broker, with the bytes of the intake. Then each step of the day runs
as its own Spark driver, as Airflow runs it. For each step, the processor time of its whole process tree and its largest
resident memory are measured: elapsed time depends more on what else the machine does. Two sizes give a fixed part and a
part for each million. The figures go to ``docs/sizing.json``, and from there into the tables of ``docs/sizing.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks.day import DAY, DaybookDay, driver_memory, produce
from benchmarks.measure import TreeWatch, end_cleanly
from daybook.kafka.admin import kafka_admin
from daybook.kafka.offsets import topic_offsets
from daybook.lake.tables import EVENTS, RAW_EVENTS
from daybook.settings import REPOSITORY
from event_generator.day import HOUR_WEIGHTS
from event_generator.manifest import Request
from event_generator.play import Load, play_day
from tests.integration.own_broker import OwnBroker, OwnIntake, own_settings, until

SIZES = (100_000, 1_000_000)
FIGURES = REPOSITORY / "docs" / "sizing.json"
PAGE = REPOSITORY / "docs" / "sizing.md"
INTAKE_SINGLE, INTAKE_BATCHED, BATCH = 4_000, 60_000, 200
"""Events sent to the intake one by one, and in batches."""
DAYS_A_DAY = (1, 10, 100, 1000)
"""Rows of the table, in millions of events a day."""
PER_MILLION = 1_000_000
KAFKA_DAYS, REPLICAS = 30, 3


def cpu_seconds_of(pid: int) -> float:
    """Return the processor time so far of a process tree that is still running."""
    tree = TreeWatch(pid)
    tree.look()
    return tree.cpu_seconds


def bytes_below(folder: Path, pattern: str = "*") -> int:
    """Return the size in bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def measured_day(events: int) -> dict[str, Any]:
    """Run a day of this many events through every step; return the figures."""
    with tempfile.TemporaryDirectory(prefix="daybook-sizing-") as folder:
        settings = own_settings(Path(folder)).model_copy(update={"spark_driver_memory": driver_memory(events)})
        with OwnBroker(settings) as broker:
            assert broker.process is not None
            before = cpu_seconds_of(broker.process.pid)
            produce(settings, DAY, events)
            kafka_bytes = sum(bytes_below(path, "*.log") for path in (settings.home / "kafka").glob("events-*"))
            day = DaybookDay(settings, DAY, topic_offsets(kafka_admin(settings), settings.kafka_topic))
            stage = day.land()
            broker_cpu = cpu_seconds_of(broker.process.pid) - before
            day.answer_and_publish(stage)
        game = settings.home / "lake" / "warehouse" / "game"
        lake = {path.name: bytes_below(path / "data", "*.parquet") for path in game.iterdir()}
        answers = sum(size for name, size in lake.items() if name not in {RAW_EVENTS, EVENTS})
        return {
            "events": events,
            "steps": {name: vars(one) for name, one in day.costs.items()},
            "broker_cpu_seconds": broker_cpu,
            "kafka_bytes": kafka_bytes,
            "raw_bytes": lake[RAW_EVENTS],
            "events_bytes": lake[EVENTS],
            "answers_bytes": answers,
            "metadata_bytes": sum(bytes_below(path / "metadata") for path in game.iterdir()),
        }


def measured_intake() -> dict[str, float]:
    """Events that the intake accepts for each second of processor time: one by one, and in batches."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="daybook-sizing-") as folder:
        settings = own_settings(Path(folder))
        with OwnBroker(settings), OwnIntake(settings) as intake:
            until(lambda: intake.status("/health/ready") == 200, "ready")
            assert intake.process is not None
            day = datetime.now(UTC).date() - timedelta(days=3)
            for name, events, batch in (("single", INTAKE_SINGLE, 1), ("batched", INTAKE_BATCHED, BATCH)):
                before = cpu_seconds_of(intake.process.pid)
                play_day(Request(day, events, 1), settings, Load(connections=8, batch=batch))
                found[name] = events / (cpu_seconds_of(intake.process.pid) - before)
                day -= timedelta(days=1)
    return found


def per_million(figures: dict[str, Any], value: Callable[[dict[str, Any]], float]) -> tuple[float, float]:
    """Return a figure's fixed part and its part for each million events, from the two sizes."""
    small, large = figures["days"]
    slope = (value(large) - value(small)) / (large["events"] - small["events"]) * PER_MILLION
    return max(0.0, value(small) - slope * small["events"] / PER_MILLION), slope


def tables(figures: dict[str, Any]) -> dict[str, str]:
    """Return the tables of the page, by the names of their marks."""
    days = figures["days"]
    head = (
        "| step | "
        + " | ".join(f"{one['events']:,} events: CPU s, wall s, MB" for one in days)
        + " | fixed CPU s | CPU s per million |"
    )
    lines = [head, "|---" * (len(days) + 3) + "|"]
    for name in days[0]["steps"]:
        fixed, slope = per_million(figures, lambda one, name=name: one["steps"][name]["cpu_seconds"])  # type: ignore[misc]
        cells = [
            f"{(cost := one['steps'][name])['cpu_seconds']:.0f}, {cost['seconds']:.0f}, {cost['rss_mb']:,.0f}"
            for one in days
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {fixed:.0f} | {slope:.1f} |")
    broker = per_million(figures, lambda one: one["broker_cpu_seconds"])
    cells = [f"{one['broker_cpu_seconds']:.0f}" for one in days]
    lines.append(f"| the broker, written and read once | {' | '.join(cells)} | {broker[0]:.0f} | {broker[1]:.1f} |")
    sizes = [
        "| bytes per event | " + " | ".join(f"{one['events']:,} events" for one in days) + " |",
        "|---" * (len(days) + 1) + "|",
    ]
    for title, name in (
        ("on Kafka, one replica, not compressed", "kafka_bytes"),
        ("`raw_events`", "raw_bytes"),
        ("`events`", "events_bytes"),
        ("all answers", "answers_bytes"),
        ("metadata of the first revision", "metadata_bytes"),
    ):
        sizes.append(f"| {title} | " + " | ".join(f"{one[name] / one['events']:.1f}" for one in days) + " |")
    intake = figures["intake"]
    taken = (
        f"| the intake, by processor second | events |\n|---|---|\n| one event a request | {intake['single']:,.0f} |\n"
        f"| {BATCH} events a request | {intake['batched']:,.0f} |"
    )
    return {"steps": "\n".join(lines), "bytes": "\n".join(sizes), "intake": taken, "needs": _needs(figures)}


def _needs(figures: dict[str, Any]) -> str:
    """Calculate what days of several sizes need."""
    large = figures["days"][-1]
    spark = [
        per_million(figures, lambda one, name=name: one["steps"][name]["cpu_seconds"])  # type: ignore[misc]
        for name in large["steps"]
    ]
    peak_share = float(HOUR_WEIGHTS.max() / HOUR_WEIGHTS.sum())
    rows: dict[str, list[str]] = {
        "events a second in the busiest hour": [],
        "intake cores for twice that, single events": [],
        f"intake cores for twice that, {BATCH} a request": [],
        "Kafka, GB a day, one replica": [],
        f"Kafka, TB for {KAFKA_DAYS} days and {REPLICAS} replicas": [],
        "Spark and report, core hours a day (= cores to be done within an hour)": [],
        "lake, GB a day": [],
        "lake, TB a year, raw records retained": [],
    }
    for millions in DAYS_A_DAY:
        rate = millions * 1e6 * peak_share / 3600
        core_hours = sum(fixed + slope * millions for fixed, slope in spark) / 3600
        kafka = large["kafka_bytes"] / large["events"] * millions * 1e6 / 1e9
        lake = (
            sum(large[name] for name in ("raw_bytes", "events_bytes", "answers_bytes"))
            / large["events"]
            * millions
            * 1e6
            / 1e9
        )
        values = (
            rate,
            2 * rate / figures["intake"]["single"],
            2 * rate / figures["intake"]["batched"],
            kafka,
            kafka * KAFKA_DAYS * REPLICAS / 1e3,
            core_hours,
            lake,
            lake * 365 / 1e3,
        )
        for name, value in zip(rows, values, strict=True):
            rows[name].append(f"{value:,.0f}" if value >= 10 else f"{value:.2g}")
    lines = [
        "| events a day | " + " | ".join(f"{one} million" for one in DAYS_A_DAY) + " |",
        "|---" * (len(DAYS_A_DAY) + 1) + "|",
    ]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def page_with(text: str, figures: dict[str, Any]) -> str:
    """Return the page with its tables updated from the figures."""
    for name, table in tables(figures).items():
        mark = re.compile(rf"(<!-- {name} -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)
        if not mark.search(text):
            sys.exit(f"sizing: {PAGE} has no marker for the table {name}")
        text = mark.sub(lambda found, table=table: found[1] + table + "\n" + found[2], text)  # type: ignore[misc]
    return text


def main() -> None:
    """Measure, store the figures, and update the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, help="events of the two days")
    parser.add_argument("--only-page", action="store_true", help="write the tables from the stored figures")
    args = parser.parse_args()
    end_cleanly()
    if not args.only_page:
        figures = {
            "measured_at": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, {platform.machine()}",
            "intake": measured_intake(),
            "days": [measured_day(size) for size in args.sizes],
        }
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page_with(PAGE.read_text("utf-8"), json.loads(FIGURES.read_text("utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
