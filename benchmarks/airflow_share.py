"""``python -m benchmarks.airflow_share``: the time that Airflow adds to a day's own work, and what a backfill saves.

A separate embedded stack runs small days one after the other, in turns with an empty DAG of the same shape. A task's
own work is the time of its ``execute`` in the task's log, between the groups of lines that Airflow writes before and
after it: the Spark driver from its launch to its end, or the Python function. The rest of the run's duration, in which
no task does its own work, is Airflow's share: scheduling, the start of each task's process, the transfer of values.
Then the same number of days is backfilled at once.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.day import DAY, PEERS_DIR, SEED
from benchmarks.measure import Contestant, Goal, at_most, conclude, parser, take_turns
from daybook import airflow_client
from daybook.airflow_client import AirflowApi
from daybook.lake.ledger import read_ledger
from daybook.settings import Settings
from daybook.stack import airflow
from daybook.stack.lifecycle import bring_up, take_down
from tests.integration.own_broker import own_settings, until
from tests.integration.running_stack import DAG_ID, RUN_TIMEOUT_SECONDS

EMPTY_DAG_ID = "empty_day"
EVENTS = 2_000
RUNS = 10
MOST_OVER_SECONDS = 10.0
MOST_OF_SINGLE_RUNS = 0.5
ENDED = ("success", "failed")
BEFORE_EXECUTE_ENDS, AFTER_EXECUTE = "::endgroup::", "::group::Post Execute"
"""Markers in a task's log around the run of its ``execute``."""


def own_work(lines: Sequence[Any]) -> tuple[datetime, datetime]:
    """Return when a task's ``execute`` began and ended, from its log.

    Args:
        lines: from Airflow's API: objects with ``event``, and a ``timestamp`` if the task wrote them.

    >>> began, ended = own_work([
    ...     {"event": "::endgroup::"},
    ...     {"event": "::endgroup::", "timestamp": "2026-05-03T00:00:01Z"},
    ...     {"event": "::group::Post Execute", "timestamp": "2026-05-03T00:00:03.5Z"},
    ...     {"event": "::endgroup::", "timestamp": "2026-05-03T00:00:04Z"},
    ... ])
    >>> (ended - began).total_seconds()
    2.5
    """
    written = [line for line in lines if isinstance(line, dict) and "timestamp" in line]
    began, ended = (
        next(datetime.fromisoformat(line["timestamp"]) for line in written if line["event"] == event)
        for event in (BEFORE_EXECUTE_ENDS, AFTER_EXECUTE)
    )
    return began, ended


def seconds_at_work(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Return the time during which at least one of the tasks worked; parallel work counts once.

    >>> at = [datetime(2026, 5, 3, 0, 0, second) for second in range(10)]
    >>> seconds_at_work([(at[5], at[8]), (at[0], at[2]), (at[1], at[4]), (at[6], at[7])])
    7.0
    """
    seconds, counted_to = 0.0, None
    for began, ended in sorted(spans):
        begin = max(began, counted_to) if counted_to else began
        counted_to = max(begin, ended)
        seconds += (counted_to - begin).total_seconds()
    return seconds


@dataclass
class OwnStack:
    """A running stack that has the empty DAG next to the product's DAG."""

    settings: Settings
    api: AirflowApi
    _numbers: Iterator[int] = field(default_factory=count)

    def run(self, dag_id: str, **conf: Any) -> dict[str, float]:
        """Trigger a run and wait until it has ended.

        Returns:
            ``seconds`` from the trigger to the end, ``run_seconds`` as Airflow's duration of the run, ``own_seconds``
            in which its tasks worked, ``over_seconds`` as the rest of the duration.
        """
        run_id = f"benchmark-{next(self._numbers)}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.api.call("POST", f"/dags/{dag_id}/dagRuns", body)
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        until(lambda: self.api.call("GET", path)["state"] in ENDED, run_id, RUN_TIMEOUT_SECONDS, 1)
        state = self.api.call("GET", path)
        assert state["state"] == "success", f"{dag_id} {run_id} {state['state']}; logs in {self.settings.logs_dir}"
        work = []
        for one in self.api.call("GET", f"{path}/taskInstances")["task_instances"]:
            log = f"{path}/taskInstances/{one['task_id']}/logs/{one['try_number']}"
            work.append(own_work(self.api.call("GET", log)["content"]))
        own = seconds_at_work(work)
        return {
            "seconds": _seconds(state["queued_at"], state["end_date"]),
            "run_seconds": state["duration"],
            "own_seconds": own,
            "over_seconds": state["duration"] - own,
        }

    def backfill(self, first: date, days: int) -> dict[str, float]:
        """Backfill some days and wait until all are done: ``seconds`` by Airflow's clock.

        The number of parallel runs is the default of ``airflow backfill create``.
        """
        body = {
            "dag_id": DAG_ID,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{first + timedelta(days=days - 1)}T00:00:00Z",
            "dag_run_conf": {"events": EVENTS, "seed": SEED},
        }
        path = f"/backfills/{self.api.call('POST', '/backfills', body)['id']}"
        until(lambda: bool(self.api.call("GET", path)["completed_at"]), "backfill", days * RUN_TIMEOUT_SECONDS, 1)
        backfill = self.api.call("GET", path)
        return {"seconds": _seconds(backfill["created_at"], backfill["completed_at"])}

    def unpublished(self, days: Sequence[date]) -> str:
        """Name the days that are not published with all their events; an empty text if all are."""
        published = {day: newest.events for day, newest in read_ledger(self.settings).newest.items()}
        missing = [str(day) for day in days if published.get(day) != EVENTS]
        return f"not published with {EVENTS:,} events: {', '.join(missing)}" if missing else ""

    def unpause(self) -> None:
        """Unpause both DAGs, and cancel the schedule's first run: it would occupy the drivers' pool."""
        for dag_id in (EMPTY_DAG_ID, DAG_ID):
            self.api.call("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        runs = f"/dags/{DAG_ID}/dagRuns"
        until(lambda: bool(self.api.call("GET", runs)["dag_runs"]), "scheduled run")
        for run in self.api.call("GET", runs)["dag_runs"]:
            self.api.call("PATCH", f"{runs}/{run['dag_run_id']}", {"state": "failed"})
        until(lambda: not self._tasks_at_work(), "scheduled run cancelled")

    def _tasks_at_work(self) -> int:
        found = self.api.call("GET", f"/dags/{DAG_ID}/dagRuns/~/taskInstances?state=running&state=queued")
        return int(found["total_entries"])


def _seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


@contextmanager
def own_stack() -> Iterator[OwnStack]:
    """Run the embedded stack on separate ports, with its own state folder and a DAG folder for the benchmark."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        # the schedule's own run, which is cancelled, generates nothing
        settings = own_settings(Path(folder)).model_copy(update={"generated_events": 0})
        product, dags = airflow.DAGS_DIR, Path(folder) / "dags"
        dags.mkdir()
        for file in (*product.glob("*.py"), PEERS_DIR / "empty_dag.py"):
            shutil.copy(file, dags / file.name)
        airflow.DAGS_DIR = dags  # there is no setting for this: only this benchmark adds a DAG to the product's
        try:
            bring_up(settings, print)
            stack = OwnStack(settings, airflow_client.api(settings))
            stack.unpause()
            yield stack
        finally:
            take_down(settings)
            airflow.DAGS_DIR = product


def measure(runs: int, *, quick: bool) -> None:
    """Trigger, backfill, and store the measured times.

    Args:
        runs: single runs of each DAG, and days of the backfill.
        quick: see :func:`benchmarks.measure.keep`.
    """
    with own_stack() as stack:
        singles = [DAY + timedelta(days=at) for at in range(runs)]
        waiting = iter(singles)
        ran: list[date] = []

        def single() -> dict[str, float]:
            ran.append(next(waiting))
            return stack.run(DAG_ID, day=str(ran[-1]), events=EVENTS, seed=SEED)

        ours = Contestant("a day of Daybook", single, lambda: stack.unpublished(ran))
        empty = Contestant("an empty DAG of the same shape", lambda: stack.run(EMPTY_DAG_ID))
        take_turns([ours, empty], runs)
        first = singles[-1] + timedelta(days=1)
        days = [first + timedelta(days=at) for at in range(runs)]
        backfill = Contestant(
            f"a backfill of {runs} days", lambda: stack.backfill(first, runs), lambda: stack.unpublished(days)
        )
        take_turns([backfill], 1)
    title = f"Days of {EVENTS:,} events through Airflow"
    conclude("airflow_share", title, [ours, empty, backfill], goals_of(ours, backfill), quick=quick)


def goals_of(ours: Contestant, backfill: Contestant) -> list[Goal]:
    """The stage's goals."""
    share = backfill.middle("seconds") / sum(one["seconds"] for one in ours.rounds)
    over = ours.middle("over_seconds")
    return [
        at_most("a run's duration over its tasks' own work, seconds", over, MOST_OVER_SECONDS, ours),
        at_most(f"{backfill.name}, as part of as many single runs", share, MOST_OF_SINGLE_RUNS, ours, backfill),
    ]


def main() -> None:
    """Run the stage from the command line."""
    line = parser(__doc__, "two of each, 9 minutes, most of them for Spark")
    line.add_argument("--runs", type=int, default=RUNS, help="number of single runs, and of days in the backfill")
    args = line.parse_args()
    measure(2 if args.quick else args.runs, quick=args.quick)


if __name__ == "__main__":
    main()
