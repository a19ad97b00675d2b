"""``python -m benchmarks.landing``: from Kafka to a day's Parquet, by Daybook and by its alternatives.

All land the same topic: each event once, with its provider, in Parquet (zstd) by date. Daybook's part is the unchanged
task ``land_events``, which also stores every raw record and every rejected one. It only stages the events: they become
visible after the answers, which :mod:`benchmarks.whole_day` measures.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.day import (
    DAY,
    DaybookDay,
    InKafka,
    emptied,
    in_kafka,
    run_stage,
    written,
    wrong_events,
)
from benchmarks.measure import Contestant, Cost, Goal, Run, at_least, at_most, figures_of, race
from daybook.lake.catalog import load
from daybook.lake.tables import EVENTS

SPARK, AS_IT_COMES = "plain Spark", "plain Spark, its own settings"
RDD, DUCKDB = "the job of 2019 (RDD)", "DuckDB"


class DaybookLands:
    """Daybook as a contestant: it runs ``land_events`` in a new lake each round."""

    def __init__(self, kafka: InKafka) -> None:
        self._kafka = kafka
        self._settings = kafka.settings.model_copy(update={"home": kafka.folder / "daybook"})
        self._events_snapshot_id = 0

    def run(self) -> dict[str, float]:
        """Land once; return the figures."""
        shutil.rmtree(self._settings.home, ignore_errors=True)
        day = DaybookDay(self._settings, DAY, self._kafka.ends)
        self._events_snapshot_id = day.land()["events_snapshot_id"]
        return {**figures_of(day.cost), **written(self._settings.home / "lake")}

    def wrong(self) -> str:
        """Return what is wrong with the staged events."""
        table = load(self._settings, EVENTS)
        if table is None:
            return "nothing was written"
        staged = table.scan(snapshot_id=self._events_snapshot_id).plan_files()
        return wrong_events([task.file.file_path for task in staged], self._kafka.truth)


def peer(kafka: InKafka, label: str, name: str, program: Callable[..., Cost]) -> Contestant:
    """A program of ``benchmarks/peers`` as a contestant.

    Args:
        kafka: the day.
        label: its name in the results.
        name: its module.
        program: runs it.
    """
    folder = kafka.folder / name

    def run() -> dict[str, float]:
        cost = program(name, emptied(folder))
        return {**figures_of(cost), **written(folder)}

    return Contestant(label, run, lambda: wrong_events(landed(folder), kafka.truth))


def landed(folder: Path) -> list[str]:
    """Return the Parquet files of events that a peer wrote below its folder."""
    return [str(path) for path in (folder / "events").glob("event_date=*/*.parquet")]


def goals(contestants: list[Contestant], events: int) -> list[Goal]:
    """The goals for this size."""
    if events < 1_000_000:
        return []
    ours, by_name = contestants[0], {one.name: one for one in contestants}
    duck = by_name[DUCKDB]
    cpu, rate = "cpu_seconds", duck.middle("seconds") / ours.middle("seconds")

    def part_of(name: str, limit: float) -> Goal:
        other = by_name[name]
        text = f"processor time, as part of that of {name}"
        return at_most(text, ours.middle(cpu) / other.middle(cpu), limit, ours, other)

    found = [
        part_of(SPARK, 1 / 2),
        part_of(AS_IT_COMES, 1 / 2),
        part_of(RDD, 1 / 3),
        at_least("events a second, as part of DuckDB's", rate, 0.25, ours, duck),
    ]
    if events >= 5_000_000:
        found.append(at_most("MB resident", ours.middle("rss_mb"), 4_000, ours))
    return found


def measure(events: int, how: Run) -> None:
    """Land a day of this many events with all contestants, and store the measured times."""
    with in_kafka(events) as kafka:
        ours = DaybookLands(kafka)
        contestants = [
            Contestant("Daybook: land_events, staged", ours.run, ours.wrong),
            peer(kafka, RDD, "land_rdd", kafka.spark_program),
            peer(kafka, SPARK, "land_spark", kafka.spark_program),
            peer(kafka, AS_IT_COMES, "land_spark", kafka.plain_spark_program),
            peer(kafka, "Spark Structured Streaming", "land_streaming", kafka.spark_program),
            peer(kafka, DUCKDB, "land_duckdb", kafka.program),
            peer(kafka, "Polars", "land_polars", kafka.program),
            peer(kafka, "a loop in Python, PyArrow", "land_pyarrow", kafka.program),
        ]
        title = f"From Kafka to a day's Parquet, {events:,} events"
        race(f"landing_{events}", title, contestants, lambda: goals(contestants, events), how)


if __name__ == "__main__":
    run_stage(__doc__, measure)
