"""``daybook plan``: show what a backfill of some days would do, before it is started. Changes nothing.

:mod:`daybook.pipeline.due` decides what a run builds; the runs themselves use the same rule. The plan applies it to
what the lake has and what Kafka has beyond it. The first run of a backfill lands all of that, whatever its day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any

from daybook import airflow_client
from daybook.airflow_client import DAG, seconds_of
from daybook.days import day_bounds, parse_day
from daybook.errors import BadInput, DaybookError
from daybook.pipeline.manifest import read_manifest
from daybook.pipeline.not_landed import NotLanded, Show, read_not_landed
from daybook.settings import Settings

if TYPE_CHECKING:
    from daybook.airflow_client import AirflowApi
    from daybook.pipeline.due import LakeDays

MAX_DAYS = 3_660
"""Days of one plan: ten years."""
BASIS_RUNS = 20
"""Number of finished runs that the estimate is based on; each costs one call of Airflow's API."""

PUBLISHED = "published"
RESTATED = "published, would be restated"
ONLY_RAW = "only in raw"
ONLY_KAFKA = "only in Kafka"
MAYBE_KAFKA = "maybe in Kafka"
GENERATED = "generated"
EMPTY = "empty"
NOTHING_KNOWN = "nothing known"
NOT_OVER = "not over yet"

FINISHED = frozenset({"success", "failed"})
"""States of a run that `airflow backfill create --reprocess-behavior completed` runs again."""
WAITING_STEPS = frozenset({"generate_events", "wait_for_offsets"})
"""Steps whose duration does not predict that of another day."""
PAGE = 100
"""Page size of Airflow's API, in runs."""


@dataclass(frozen=True)
class Pace:
    """How long Airflow's last runs took, in seconds, without waiting for the day and without generating it."""

    builds: Sequence[float] = ()
    """For each run that published: its Spark steps and the report."""
    landings: Sequence[float] = ()
    """For each run: its step ``land_events``, the only step that a run with nothing to build spends time on."""


@dataclass(frozen=True)
class RunsSoFar:
    """Airflow's information on the DAG's runs."""

    ran: Mapping[date, str] = field(default_factory=dict)
    """Day -> state of its existing run."""
    pace: Pace = field(default_factory=Pace)
    paused: bool | None = None
    """Whether the DAG is paused: runs of a backfill wait until it is not. None if Airflow was not asked."""


@dataclass(frozen=True)
class DayPlan:
    """One day of the plan."""

    day: str
    state: str
    records: int
    """Raw records in the lake."""
    on_page: int | None
    """Raw records that its published revision counts; None if the day is not published."""
    not_landed: int | None
    """Records in Kafka that are not landed yet; None if Kafka was not read."""
    generated: int | None
    """Events for which the generator has an acknowledgement; None for a day that it has not generated."""
    revision: int | None
    does: str
    """What the backfill would do with the day, in words."""


def generated_days(settings: Settings, days: Sequence[date]) -> dict[date, int]:
    """Return, for each completely generated day, the number of events that were acknowledged to the generator.

    Raises:
        DaybookError: a manifest cannot be read.
    """
    manifests = {day: read_manifest(settings, day) for day in days}
    return {day: manifest.accepted for day, manifest in manifests.items() if manifest is not None}


@dataclass(frozen=True)
class Outlook:
    """Everything that decides what a backfill of some days does."""

    known: LakeDays
    """What the lake knows now."""
    waiting: NotLanded | None
    """Records in Kafka that are not in the lake; None if Kafka was not read."""
    days: Sequence[date]
    """The days of the backfill, in order."""
    now: datetime
    """The present moment, UTC."""
    ran: Mapping[date, str] = field(default_factory=dict)
    """Day -> state of the run that Airflow already has."""
    generated: Mapping[date, int] = field(default_factory=dict)
    """From :func:`generated_days`."""
    plays: int = 0
    """Events that each run generates for a day without events of its own; 0 = live traffic."""
    goes_on: Callable[[date], bool] = lambda _day: False
    """Whether the existing records of an incompletely generated day come from the generator."""
    grace: timedelta = timedelta(0)
    """How long after its end a day of live traffic stays open."""

    @cached_property
    def after(self) -> LakeDays:
        """What the lake will know once everything that waits in Kafka has landed."""
        if self.waiting is None or self.waiting.first_taken_at is None:
            return self.known
        return self.known.with_landed(self.waiting.per_day, self.waiting.first_taken_at)

    def is_built(self, day: date) -> bool:
        """Return whether a run of the day would have something to build for the day itself."""
        return self.after.is_due(day, day) or self.is_played(day)

    def is_played(self, day: date) -> bool:
        """Return whether a run of the day generates events: the rule of :mod:`event_generator.by_default`."""
        if not self.plays or day in self.generated or day in self.known.published:
            return False
        return not self.after.raw.get(day) or self.goes_on(day)

    @cached_property
    def reprocess(self) -> bool:
        """Whether a day that has to be built was run before, so that Airflow must be asked to run it again."""
        fresh = next((day for day in self._over if day not in self.ran), None)
        again = (day for day in self._over if self.ran.get(day) in FINISHED and self.is_built(day))
        # any run within the lateness window restates a published day to which records were added
        return any(
            fresh is None or day not in self.known.published or not self.after.is_due(day, fresh) for day in again
        )

    @cached_property
    def _over(self) -> list[date]:
        return [day for day in self.days if day_bounds(day)[1] < self.now]

    @cached_property
    def runs(self) -> list[date]:
        """The days that Airflow would create a run for, or clear the run of."""
        return [day for day in self._over if day not in self.ran or (self.reprocess and self.ran[day] in FINISHED)]

    @cached_property
    def restated(self) -> list[date]:
        """The published days that the first run restates in addition to its own."""
        first = self.runs[0] if self.runs else None
        return [one for one in sorted(self.after.published) if first and one != first and self.after.is_due(one, first)]

    @property
    def also_restated(self) -> list[dict[str, Any]]:
        """Restated days outside the plan: ``day``, and ``records`` that its published revision does not include."""
        inside = set(self.days)
        outside = [one for one in self.restated if one not in inside]
        return [{"day": one.isoformat(), "records": self._new(one)} for one in outside]

    @property
    def builds(self) -> int:
        """How many of the runs build something."""
        restated = set(self.restated)
        building = {day for day in self.runs if day not in restated and self.is_built(day)}
        return len(building | set(self.runs[:1] if restated or self.after.undated_are_due else []))

    def rows(self) -> list[DayPlan]:
        """Return the days, each with what is known about it and what would be done."""
        waiting = self.waiting.per_day if self.waiting else None
        published = self.known.published
        return [
            DayPlan(
                day=day.isoformat(),
                state=self.state(day),
                records=self.known.raw.get(day, 0),
                on_page=published[day].landed if day in published else None,
                not_landed=waiting.get(day, 0) if waiting is not None else None,
                generated=self.generated.get(day),
                revision=published[day].revision if day in published else None,
                does=self.does(day),
            )
            for day in self.days
        ]

    def state(self, day: date) -> str:
        """Describe where the records of a day are now, or that it has no records."""
        if day_bounds(day)[1] >= self.now:
            return NOT_OVER
        if day in self.known.published:
            return RESTATED if self.after.is_due(day, day) else PUBLISHED
        if self.known.raw.get(day):
            return ONLY_RAW
        if self.waiting is None:
            return MAYBE_KAFKA
        if self.waiting.per_day.get(day):
            return ONLY_KAFKA
        if day in self.generated:
            return GENERATED
        return EMPTY if self.after.is_due(day, day) else NOTHING_KNOWN

    def does(self, day: date) -> str:
        """Describe what the backfill does with a day."""
        if self.state(day) == NOT_OVER:
            return f"no run: the day ends on {day + timedelta(days=1)} at 00:00 UTC, and Airflow skips it"
        if day not in self._run_days:
            text = f"no run: Airflow already has one for this day, in state {self.ran[day]}"
            return f"{text}; {self._work(day)}" if day in self.restated else text
        closes_at = day_bounds(day)[1] + self.grace
        blocked = "nothing until `daybook accept-loss`, then: " if self.waiting and self.waiting.loss else ""
        wait = f"; waits until {closes_at:%Y-%m-%d %H:%M} UTC, when the day closes" if self.now < closes_at else ""
        return f"{blocked}{self._refused(day) or self._work(day)}{wait}"

    @cached_property
    def _run_days(self) -> frozenset[date]:
        return frozenset(self.runs)

    def _new(self, day: date) -> int:
        return self.after.raw.get(day, 0) - self.after.published[day].landed

    def _refused(self, day: date) -> str | None:
        """Return why the run of a day would fail: the input of its build is missing."""
        from daybook.pipeline.due import why_refused

        if not self.known.near:
            return None
        first = day - timedelta(days=self.after.lateness_days)
        dates = [one for one in {day, *self.restated} if one >= first and self.after.is_due(one, day)]
        left = {one: count for one, count in self.known.raw.items() if one is not None}
        reason = why_refused(self.after, left, sorted(dates))
        return f"fails: {reason}" if reason else None

    def _work(self, day: date) -> str:
        state, count, acknowledged = self.state(day), self.after.raw.get(day, 0), self.generated.get(day)
        empty = (
            "publishes the day with zero events: records had arrived before it ended, but no record of this day"
            if self.after.is_due(day, day)
            else "does not publish the day: no record of it has arrived, and no record of any day before its end"
        )
        if self.is_played(day):
            return f"generates {self.plays} events of the day and publishes it"
        if state == PUBLISHED:
            why = "raw records that it was built from were removed" if self._new(day) else "no new records"
            return f"stays at revision {self.known.published[day].revision}: {why}; its run ends after land_events"
        if state == RESTATED and self._new(day) > 0:
            by = "its run" if day == self.runs[0] else f"the first run, for {self.runs[0]},"
            return f"{by} restates it: {self._new(day)} more records"
        if state == RESTATED:
            return "builds it again: it was published with another provider map, other answers or other settings"
        if state in (ONLY_RAW, ONLY_KAFKA):
            generated = f"; {acknowledged} were acknowledged to the generator" if acknowledged is not None else ""
            return f"publishes its first revision, with {count} records{generated}"
        if state == MAYBE_KAFKA:
            return f"lands its records from Kafka; without any, {empty}"
        if state == GENERATED and self.after.is_due(day, day):
            return (
                f"fails: {acknowledged} events were acknowledged to the generator, but the lake and Kafka have no "
                "record of them"
            )
        return empty


def estimate(runs: int, builds: int, pace: Pace) -> tuple[float | None, str]:
    """Return how many seconds the runs take one after the other, and the basis of that estimate in words.

    Landings share a pool of one slot, so overlapping runs save little time. A stack with a Spark server answers one day
    while the next is landed, which saves up to a third.

    Args:
        runs: runs that Airflow creates.
        builds: how many of them build a day.
        pace: how long the last runs took.
    """
    if not runs:
        return 0.0, "no runs to create"
    if not pace.landings or (builds and not pace.builds):
        return None, "no estimate: no run of this kind has succeeded yet"
    seconds, basis = 0.0, []
    for count, took, what in (
        (builds, pace.builds, ("that publishes", "that publish")),
        (
            runs - builds,
            pace.landings,
            ("that only lands records (land_events)", "that only land records (land_events)"),
        ),
    ):
        if count:
            seconds += count * median(took)
            basis.append(
                f"{runs_text(count)} {what[count > 1]} at {median(took):.0f} s each, the median of the last {len(took)}"
            )
    caveat = "without waiting or generating. Overlapping runs take less time; days of another size take more or less"
    return seconds, f"{'; '.join(basis)}; {caveat}"


def ask_airflow(client: AirflowApi, first: date, last: date) -> RunsSoFar:
    """Return Airflow's runs for a range of days, and how long its last runs took.

    Raises:
        DaybookError: Airflow does not answer, or rejects the request.
    """
    ran: dict[date, str] = {}
    seen = 0
    while True:
        span = f"logical_date_gte={first}T00:00:00Z&logical_date_lte={last}T00:00:00Z"
        page = client.call("GET", f"/dags/{DAG}/dagRuns?{span}&order_by=logical_date&limit={PAGE}&offset={seen}")
        for run in page["dag_runs"]:
            moment = datetime.fromisoformat(run["logical_date"]).astimezone(UTC)
            if moment == day_bounds(moment.date())[0]:  # a run triggered for another moment is not part of a backfill
                ran[moment.date()] = str(run["state"])
        seen += len(page["dag_runs"])
        if not page["dag_runs"] or seen >= page["total_entries"]:
            break
    builds, landings = [], []
    newest = client.call("GET", f"/dags/{DAG}/dagRuns?state=success&order_by=-start_date&limit={BASIS_RUNS}")
    for run in newest["dag_runs"]:
        tasks = client.call("GET", f"/dags/{DAG}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]
        steps = {step["task_id"]: step for step in tasks if step["task_id"] not in WAITING_STEPS}
        landings.append(seconds_of(steps["land_events"]))
        if steps["publish_day"]["state"] == "success":
            builds.append(sum(map(seconds_of, steps.values())))
    return RunsSoFar(ran, Pace(builds, landings), bool(client.call("GET", f"/dags/{DAG}")["is_paused"]))


def days_between(first: str, last: str) -> list[date]:
    """Return the days from the first to the last, both included.

    Raises:
        BadInput: not days, in the wrong order, or more than :data:`MAX_DAYS`.
    """
    start, end = parse_day(first), parse_day(last)
    if start > end:
        raise BadInput(f"{first} is after {last}; nothing was changed")
    count = (end - start).days + 1
    if count > MAX_DAYS:
        raise BadInput(f"{first} to {last} is {count} days; a plan covers at most {MAX_DAYS} days")
    return [start + timedelta(days=number) for number in range(count)]


def plan_of(settings: Settings, days: Sequence[date], now: datetime, show: Show) -> dict[str, Any]:
    """Return the plan as ``daybook plan --json`` prints it.

    A source that does not answer is left out and reported: ``kafka`` and ``airflow`` hold the reason, or None.

    Raises:
        BadInput: the lake's catalog does not answer.
        DaybookError: a manifest cannot be read.
    """
    from daybook.lake.catalog import load
    from daybook.lake.tables import RAW_EVENTS
    from daybook.pipeline.due import lake_days
    from daybook.pipeline.position import position
    from event_generator.by_default import sent_late_events_of
    from event_generator.progress import begun_before

    raw = load(settings, RAW_EVENTS)
    known = lake_days(settings, raw)
    waiting, no_kafka = None, None
    try:
        waiting = read_not_landed(settings, position(settings, raw), show)
    except DaybookError as error:
        # the rest of the message is advice for a task
        no_kafka = (
            f"{str(error).partition(';')[0]}: the plan covers only the lake; records that are not landed are left out"
        )
    so_far, no_airflow = RunsSoFar(), None
    try:
        if not airflow_client.password_file(settings).exists():
            raise DaybookError("this Daybook's Airflow was never started")
        so_far = ask_airflow(airflow_client.api(settings, 5), days[0], days[-1])
    except DaybookError as error:
        no_airflow = f"{error}: it is unknown which of these days were run before, and there is no estimate"
    outlook = Outlook(
        known,
        waiting,
        days,
        now,
        so_far.ran,
        generated_days(settings, days),
        settings.events_of_a_run,
        lambda day: bool(begun_before(settings, day)) or sent_late_events_of(settings, day),
        timedelta(minutes=settings.day_grace_minutes),
    )
    runs, builds = len(outlook.runs), outlook.builds
    seconds, basis = (None, no_airflow) if no_airflow else estimate(runs, builds, so_far.pace)
    command = (
        f"airflow backfill create --dag-id {DAG} --from-date {outlook.runs[0]} --to-date {outlook.runs[-1]}"
        f"{' --reprocess-behavior completed' if outlook.reprocess else ''}"
        if builds or (runs and waiting is None)
        else None
    )
    return {
        "days": [asdict(row) for row in outlook.rows()],
        "also_restated": outlook.also_restated,
        "not_landed": sum(waiting.per_day.values()) if waiting else None,
        "hidden": waiting.hidden if waiting else None,
        "lost": waiting.loss.text if waiting and waiting.loss else None,
        "unfit": waiting.unfit if waiting else None,
        "kafka": no_kafka,
        "airflow": no_airflow,
        "paused": so_far.paused,
        "runs": runs,
        "builds": builds,
        "estimate_seconds": round(seconds, 1) if seconds is not None else None,
        "basis": basis,
        "command": command,
    }


def runs_text(count: int) -> str:
    """Return a number of runs, in words."""
    return "1 run" if count == 1 else f"{count} runs"
