"""``python -m benchmarks.answers``: every answer of a day by three engines, and reads of years of stored answers.

The first part asks all answers over one day of the lake's ``events``, warm: by a client of the stack's Spark server
with Daybook's view, by DuckDB with Daybook's own statements over the same Parquet files, and by Polars with statements
written by hand. Each engine ends with the rows in this process' memory as Arrow. The second part reads a history of
days in a lake with weekly maintenance: all rows of an answer of all days, one day's rows, and the answers across days.
It compares the functions behind ``daybook query`` and ``daybook answer`` with DuckDB and Polars, which get the Parquet
files. A time counts only after the rows were compared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from rich.table import Table

from benchmarks.day import DAY, DaybookDay, in_kafka
from benchmarks.history import add_history
from benchmarks.measure import ROUNDS, Contestant, Goal, TreeWatch, at_most, keep, parser, print_tables, take_turns
from benchmarks.whole_day import Row, Rows
from daybook.jobs import connect
from daybook.lake.answers import answer_rows
from daybook.lake.catalog import load
from daybook.lake.duckdb_engine import fetch, in_duckdb
from daybook.lake.ledger import read_ledger
from daybook.lake.query import query_rows
from daybook.lake.tables import EVENTS
from daybook.settings import Settings
from daybook.sql.answers import ACROSS_DAYS, Answer, answers
from tests.integration.own_spark import OwnSpark

CORES = 2
"""Number of cores for each engine, as Daybook's Spark uses by default."""
SPARK, DUCKDB, POLARS = "Spark, as Daybook runs it", "DuckDB, Daybook's statements", "Polars, by hand"
DAYBOOK = "Daybook's readers"
DUCKDB_FILES, POLARS_FILES = "DuckDB, given the files", "Polars, given the files"
TIMES_DUCKDB = 6
LONGEST_READ_SECONDS = 1.0
BOUND = {"first_day": DAY, "last_day": DAY}

Asked = Callable[[], Any]
"""Asks one question; returns its rows as an Arrow table or as dictionaries."""


class Engine:
    """An engine that answers questions, and the rows of its last answers.

    Args:
        asked: question -> the function that asks it.
    """

    def __init__(self, asked: Mapping[str, Asked]) -> None:
        self._asked = asked
        self._found: dict[str, Any] = {}

    def run(self) -> dict[str, float]:
        """Ask all questions; return total ``seconds``, ``cpu_seconds`` with those of Spark, and ``QUESTION s``."""
        watch = TreeWatch(os.getpid())
        watch.look()
        before = watch.cpu_seconds
        figures: dict[str, float] = {}
        for name, ask in self._asked.items():
            began = time.perf_counter()
            self._found[name] = ask()
            figures[f"{name} s"] = time.perf_counter() - began
        watch.look()
        return {"seconds": sum(figures.values()), "cpu_seconds": watch.cpu_seconds - before, **figures}

    def rows(self) -> dict[str, list[Row]]:
        """Question -> its rows."""
        return {name: found if isinstance(found, list) else found.to_pylist() for name, found in self._found.items()}


@contextmanager
def in_spark(settings: Settings) -> Iterator[dict[str, Asked]]:
    """A session of the Spark server with the view that ``answer_questions`` has, but of published events.

    Args:
        settings: of the lake and of the running server.
    """
    from daybook_spark.answering import ask
    from daybook_spark.session import spark_session
    from daybook_spark.staging import at_snapshot, on_dates

    os.environ.update(connect.client_environment(settings))  # the stack sets this for the jobs too
    spark = spark_session("benchmark", settings)
    try:
        pinned = read_ledger(settings).of(str(DAY)).snapshots[EVENTS]
        at_snapshot(spark, EVENTS, pinned).where(on_dates([DAY])).createOrReplaceTempView(EVENTS)

        def asked(answer: Answer) -> Any:
            return ask(spark, answer, [DAY]).toArrow()

        yield {name: partial(asked, answer) for name, answer in answers().items()}
    finally:
        spark.stop()


def files_of(settings: Settings, name: str) -> list[str]:
    """Return the current Parquet files of a table."""
    table = load(settings, name)
    assert table is not None, f"the lake has no table {name}"
    return sorted(task.file.file_path.removeprefix("file://") for task in table.scan().plan_files())


def duckdb_over(tables: Mapping[str, Sequence[str]]) -> Any:
    """Return a connection of DuckDB, in UTC, that reads Parquet files directly.

    Args:
        tables: name of a view -> its Parquet files.
    """
    import duckdb

    connection = duckdb.connect(config={"threads": str(CORES)})
    connection.execute("SET TimeZone = 'UTC'")
    for name, files in tables.items():
        listed = ", ".join(f"'{file}'" for file in files)
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")
    return connection


def in_duckdb_over(files: Sequence[str]) -> dict[str, Asked]:
    """The answers' own statements, translated to DuckDB's dialect."""
    connection = duckdb_over({EVENTS: files})

    def asked(statement: str) -> Any:
        return connection.sql(statement, params=BOUND).to_arrow_table()

    return {name: partial(asked, in_duckdb(answer.statement)) for name, answer in answers().items()}


def in_polars(files: Sequence[str]) -> dict[str, Asked]:
    """The same questions written by hand."""
    import polars as pl

    from benchmarks.polars_answers import OF_A_DAY, Query

    def asked(query: Query) -> Any:
        events = pl.scan_parquet(list(files), hive_partitioning=False).filter(pl.col("event_date") == DAY)
        return query(events).collect().to_arrow()

    return {name: partial(asked, OF_A_DAY[name]) for name in answers()}


def of_a_day(settings: Settings, rows: Rows, rounds: int) -> list[Contestant]:
    """Ask every answer of the day with each engine; the first execution does not count.

    Args:
        settings: of the lake.
        rows: the expected rows of the answers.
        rounds: executions that count.
    """
    files = files_of(settings, EVENTS)
    with in_spark(settings) as spark:
        contestants = []
        for name, asked in ((SPARK, spark), (DUCKDB, in_duckdb_over(files)), (POLARS, in_polars(files))):
            engine = Engine(asked)
            contestants.append(Contestant(name, engine.run, partial(_wrong, rows, engine)))
        take_turns(contestants, rounds, warm_up=1)
    return contestants


def _wrong(rows: Rows, engine: Engine) -> str:
    return rows.wrong(engine.rows())


class SameRows:
    """Compares the rows of several readers, question by question."""

    def __init__(self) -> None:
        self._first: dict[str, list[list[Any]]] = {}

    def wrong(self, engine: Engine) -> str:
        """Name the questions whose rows differ from those of the first reader; an empty text if all are equal."""
        different = []
        for name, rows in engine.rows().items():
            shown = sorted(([_plain(row[column]) for column in sorted(row)] for row in rows), key=repr)
            if shown != self._first.setdefault(name, shown):
                different.append(f"{name}: other rows")
        return "; ".join(different)


def _plain(value: Any) -> Any:
    """Return a cell in a form that is equal for all readers: fractions to nine digits, days and times as text."""
    if value is None or isinstance(value, str | int):
        return value
    return float(f"{value:.9g}") if isinstance(value, float) else str(value)


def daybook_reads(settings: Settings) -> dict[str, Asked]:
    """The reads of a history with Daybook's functions. Every one reads the ledger, as every command does."""

    def of_newest(name: str) -> Any:
        return answer_rows(read_ledger(settings), name, str(DAY))

    return {
        **{f"{name}, all days": partial(query_rows, settings, f"SELECT * FROM {name}") for name in answers()},
        **{f"{name}, one day": partial(of_newest, name) for name in answers()},
        **{name: partial(of_newest, name) for name in answers(ACROSS_DAYS)},
    }


def duckdb_reads(files: Mapping[str, Sequence[str]]) -> dict[str, Asked]:
    """The same reads with DuckDB on the given files.

    Args:
        files: answer -> the Parquet files of its table.
    """
    connection = duckdb_over(files)

    def asked(sql: str, **values: Any) -> list[Row]:
        return fetch(connection, sql, values)

    of_day = f"SELECT * EXCLUDE (event_date) FROM {{}} WHERE event_date = '{DAY}'"
    return {
        **{f"{name}, all days": partial(asked, f"SELECT * FROM {name}") for name in answers()},
        **{f"{name}, one day": partial(asked, of_day.format(name)) for name in answers()},
        **{
            name: partial(
                asked,
                in_duckdb(answer.statement),
                first_day=DAY - timedelta(days=answer.days - 1),
                last_day=DAY,
            )
            for name, answer in answers(ACROSS_DAYS).items()
        },
    }


def polars_reads(files: Mapping[str, Sequence[str]]) -> dict[str, Asked]:
    """The same reads with Polars, except the one question across days without a hand-written statement."""
    import polars as pl

    from benchmarks.polars_answers import new_users

    def scanned(name: str) -> pl.LazyFrame:
        return pl.scan_parquet(list(files[name]), hive_partitioning=False)

    def all_days(name: str) -> list[Row]:
        return scanned(name).collect().to_dicts()

    def one_day(name: str) -> list[Row]:
        return scanned(name).filter(pl.col("event_date") == DAY).drop("event_date").collect().to_dicts()

    def across() -> list[Row]:
        days = answers(ACROSS_DAYS)["new_users"].days
        return new_users(scanned("user_activity"), DAY, days).collect().to_dicts()

    return {
        **{f"{name}, all days": partial(all_days, name) for name in answers()},
        **{f"{name}, one day": partial(one_day, name) for name in answers()},
        "new_users": across,
    }


def of_history(settings: Settings, rounds: int) -> list[Contestant]:
    """Ask each reader for its reads of a lake of many days.

    Args:
        settings: of the lake.
        rounds: of all questions.
    """
    files = {name: files_of(settings, name) for name in answers()}
    same = SameRows()
    contestants = []
    for name, asked in (
        (DAYBOOK, daybook_reads(settings)),
        (DUCKDB_FILES, duckdb_reads(files)),
        (POLARS_FILES, polars_reads(files)),
    ):
        engine = Engine(asked)
        contestants.append(Contestant(name, engine.run, partial(same.wrong, engine)))
    take_turns(contestants, rounds, warm_up=1)
    return contestants


def goals(day: Sequence[Contestant], history: Sequence[Contestant]) -> list[Goal]:
    """The stage's goals."""
    spark, duck, _ = day
    times = spark.middle("seconds") / duck.middle("seconds")
    found = [at_most("all answers of a day, warm: Spark's time, times DuckDB's", times, TIMES_DUCKDB, spark, duck)]
    reader = history[0]
    longest = max(reader.middle(name) for name in reader.figures if name.endswith(" s"))
    text = f"{reader.name}: the slowest question to all days, seconds"
    return [*found, at_most(text, longest, LONGEST_READ_SECONDS, reader)]


def in_milliseconds(title: str, contestants: Sequence[Contestant]) -> Table:
    """The contestants' medians as a table in milliseconds: a line for each question, and the total."""
    table = Table(title=title)
    table.add_column("milliseconds")
    for one in contestants:
        table.add_column(one.name, justify="right")
    for name in contestants[0].figures:
        if name != "cpu_seconds":
            cells = [f"{one.middle(name) * 1000:,.0f}" if name in one.figures else "-" for one in contestants]
            table.add_row("all questions" if name == "seconds" else name.removesuffix(" s"), *cells)
    table.add_row("rows", *(f"WRONG: {'; '.join(one.problems)}" if one.problems else "right" for one in contestants))
    return table


def measure(events: int, days: int, history_events: int, rounds: int, *, quick: bool) -> None:
    """Make the lake, ask all questions, and store the measured times.

    Args:
        events: of the day that is queried.
        days: of the history.
        history_events: of each of its days.
        rounds: that count.
        quick: see :func:`benchmarks.measure.keep`.
    """
    with in_kafka(events) as kafka:
        settings = kafka.settings.model_copy(update={"home": kafka.folder / "daybook"})
        settings.home.mkdir()
        with OwnSpark(settings) as server:
            made = DaybookDay(settings, DAY, kafka.ends, server)
            made.answer_and_publish(made.land())
            day = of_a_day(settings, Rows(kafka.truth.answers), rounds)
        add_history(settings, days, history_events, upkeep=True)
        history = of_history(settings, rounds)
    reached = goals(day, history)
    title = f"Answers of a day of {events:,} events, warm, {CORES} cores each"
    of_days = f"Reads of {days:,} days of {history_events:,} events, looked after each week, and one of {events:,}"
    keep(
        "answers",
        title,
        day,
        reached,
        quick=quick,
        history={
            "title": of_days,
            "contestants": [{"name": one.name, "rounds": one.rounds, "wrong": one.problems} for one in history],
        },
    )
    print_tables([in_milliseconds(title, day), in_milliseconds(of_days, history)], reached)


def main() -> None:
    """Run the stage from the command line."""
    line = parser(__doc__, "a small day, a short history, one round, 2 minutes")
    line.add_argument("--events", type=int, default=1_000_000, help="events of the day")
    line.add_argument("--days", type=int, default=1_000, help="days of history")
    line.add_argument("--history-events", type=int, default=2_000, help="events of each day of history")
    line.add_argument("--rounds", type=int, default=ROUNDS)
    args = line.parse_args()
    if args.quick:
        measure(20_000, 50, 500, 1, quick=True)
    else:
        measure(args.events, args.days, args.history_events, args.rounds, quick=False)


if __name__ == "__main__":
    os.environ["POLARS_MAX_THREADS"] = str(CORES)  # Polars reads it when it is imported
    main()
