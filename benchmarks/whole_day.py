"""``python -m benchmarks.whole_day``: from Kafka to a day's answers, by Daybook and by scripts without its safety.

Daybook's part is every task of a day, including its report. On its stack, the steps after landing are clients of a
Spark server that has run since the start (the areas in parallel). As on a cluster, each step starts its own driver. The
scripts land the day and answer the same questions in one process. They store no raw records, check nothing, overwrite
existing files and write no report. The Spark script runs twice: submitted like Daybook's jobs, so that the difference
is the price of the safety, and with Spark's own settings, as one would run a new script. All must have the same rows:
those that the generator expects. The generator has no rows of the answer that names players; there the first checked
contestant counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.day import DAY, DaybookDay, InKafka, emptied, forget_days, in_kafka, run_stage, written
from benchmarks.measure import Contestant, Cost, Goal, Run, at_most, figures_of, race
from daybook.lake.duckdb_engine import fetch
from daybook.lake.query import open_lake
from daybook.settings import Settings
from daybook.sql.answers import answers
from tests.integration.own_spark import OwnSpark

ON_STACK, BY_DRIVERS = "Daybook on its stack", "Daybook, a driver for each step"
SPARK, AS_IT_COMES, DUCKDB = "a Spark script", "a Spark script, its own settings", "a DuckDB script"
MOST_BY_DRIVERS = 1_000_000
"""Events of the largest day that also runs with a driver for each step: in a larger day a start does not matter."""
CLOSE = 1e-9
"""Largest relative difference of two numbers that count as equal."""

Row = dict[str, Any]


class Rows:
    """Answer -> the expected rows."""

    def __init__(self, expected: dict[str, list[Row]]) -> None:
        self._expected = {name: _sorted(name, rows) for name, rows in expected.items()}

    def wrong(self, found: dict[str, list[Row]]) -> str:
        """Return what is wrong with the rows of all answers, or an empty text."""
        return "; ".join(self._problems(found))

    def _problems(self, found: dict[str, list[Row]]) -> Iterator[str]:
        for name in answers():
            rows = _sorted(name, found[name])
            expected = self._expected.setdefault(name, rows)
            if len(rows) != len(expected):
                yield f"{name}: {len(rows):,} rows of {len(expected):,}"
            elif not all(map(_same, rows, expected)):
                yield f"{name}: other rows"


def _sorted(name: str, rows: list[Row]) -> list[list[Any]]:
    """The rows' values in the order of the answer's columns, sorted by its key; without the day, which all share."""
    answer = answers()[name]
    by_key = sorted(rows, key=lambda row: [(row[column] is None, row[column]) for column in answer.key])
    return [[row[column] for column in answer.columns] for row in by_key]


def _same(one: list[Any], other: list[Any]) -> bool:
    return all(
        math.isclose(left, right, rel_tol=CLOSE, abs_tol=CLOSE)
        if isinstance(left, float) and isinstance(right, float)
        else left == right
        for left, right in zip(one, other, strict=True)
    )


def daybook(kafka: InKafka, rows: Rows, label: str, server: OwnSpark | None) -> Contestant:
    """Daybook's own day, in a new lake each round.

    Args:
        kafka: the day.
        rows: the expected rows.
        label: its name in the results.
        server: see :class:`benchmarks.day.DaybookDay`.
    """
    settings = kafka.settings.model_copy(update={"home": kafka.folder / "daybook"})

    def run() -> dict[str, float]:
        forget_days(settings)
        day = DaybookDay(settings, DAY, kafka.ends, server)
        day.answer_and_publish(day.land())
        steps = {f"{name} s": cost.seconds for name, cost in day.costs.items()}
        return {**figures_of(day.cost), **written(settings.home / "lake"), **steps}

    return Contestant(label, run, lambda: rows.wrong(published(settings)))


def published(settings: Settings) -> dict[str, list[Row]]:
    """Answer -> rows, as Daybook's readers see them."""
    with open_lake(settings, {*answers()}) as lake:
        return {name: fetch(lake, f"SELECT * FROM {name}") for name in answers()}


def script(kafka: InKafka, rows: Rows, label: str, name: str, program: Callable[..., Cost]) -> Contestant:
    """A program of ``benchmarks/peers`` that does the whole day.

    Args:
        kafka: the day.
        rows: the expected rows.
        label: its name in the results.
        name: its module.
        program: runs it.
    """
    folder = kafka.folder / name

    def run() -> dict[str, float]:
        cost = program(name, emptied(folder), DAY)
        return {**figures_of(cost), **written(folder)}

    return Contestant(label, run, lambda: rows.wrong(answered(folder)))


def answered(folder: Path) -> dict[str, list[Row]]:
    """Answer -> rows that a script wrote below its folder."""
    import duckdb

    with duckdb.connect() as connection:
        return {
            name: fetch(connection, f"SELECT * FROM '{folder / 'answers' / name / '*.parquet'}'") for name in answers()
        }


def goals(contestants: list[Contestant], events: int) -> list[Goal]:
    """The goals for this size."""
    ours, spark, as_it_comes, duck, *_ = contestants
    found = []
    if events >= 1_000_000 or events == 20_000:
        limit = 0.7 if events >= 1_000_000 else 1.2
        for other in (spark, as_it_comes):
            part = ours.middle("seconds") / other.middle("seconds")
            found.append(at_most(f"time, as part of that of {other.name}", part, limit, ours, other))
    if events >= 5_000_000:
        times = ours.middle("seconds") / duck.middle("seconds")
        found.append(at_most("time, times the DuckDB script's", times, 3, ours, duck))
    return found


def measure(events: int, how: Run) -> None:
    """Run a day of this many events with all contestants, and store the measured times."""
    with in_kafka(events) as kafka, ExitStack() as stack:
        rows = Rows(kafka.truth.answers)
        home = kafka.folder / "daybook"
        server = stack.enter_context(OwnSpark(kafka.settings.model_copy(update={"home": home})))
        contestants = [
            daybook(kafka, rows, ON_STACK, server),
            script(kafka, rows, SPARK, "day_spark", kafka.spark_program),
            script(kafka, rows, AS_IT_COMES, "day_spark", kafka.plain_spark_program),
            script(kafka, rows, DUCKDB, "day_duckdb", kafka.program),
        ]
        if events <= MOST_BY_DRIVERS:
            contestants.append(daybook(kafka, rows, BY_DRIVERS, None))
        title = f"From Kafka to a day's answers, {events:,} events"
        race(f"whole_day_{events}", title, contestants, lambda: goals(contestants, events), how)


if __name__ == "__main__":
    run_stage(__doc__, measure)
