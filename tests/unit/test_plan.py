"""The plan of a backfill: it uses the same rule as the runs, without a run, a broker or Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from daybook import airflow_client
from daybook.cli.main import cli
from daybook.errors import BadInput, DaybookError
from daybook.kafka.offsets import TopicState
from daybook.lake.catalog import load
from daybook.lake.tables import RAW_EVENTS
from daybook.operations.plan import MAX_DAYS, Outlook, Pace, ask_airflow, days_between, estimate
from daybook.pipeline.due import lake_days, rules_version
from daybook.pipeline.losses import Loss
from daybook.pipeline.not_landed import NotLanded, read_not_landed
from daybook.pipeline.position import Position
from daybook.providers import map_version
from daybook.settings import Settings
from daybook.sql.answers import answers_version
from event_generator.manifest import Request, write_manifest
from tests.unit.manifests import a_manifest
from tests.unit.small_lake import TAKEN_AT, SmallLake

DAY = date(2026, 5, 3)
NEXT = date(2026, 5, 4)
BEFORE = date(2026, 5, 2)
NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
AS_NOW: dict[str, Any] = {"provider_map_version": map_version(), "answers_version": answers_version()}
"""Versions of a revision that would be built the same way today."""


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    return SmallLake(own_settings)


@pytest.fixture
def kafka_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Settings) -> TopicState:
        raise DaybookError("Kafka at 127.0.0.1:9092 does not answer (timed out); nothing was changed. Clear the task")

    monkeypatch.setattr("daybook.pipeline.not_landed.topic_state", away)


MakeOutlook = Callable[..., Outlook]


@pytest.fixture
def outlook(lake: SmallLake) -> MakeOutlook:
    def of(first: date, last: date, kafka: dict[date | None, int] | None, **others: Any) -> Outlook:
        known = lake_days(lake.settings, load(lake.settings, RAW_EVENTS))
        waiting = NotLanded(kafka, NOW if kafka else None) if kafka is not None else None
        days = days_between(str(first), str(last))
        return Outlook(**{"known": known, "waiting": waiting, "days": days, "now": NOW, **others})

    return of


def states(plan: Outlook) -> list[str]:
    return [row.state for row in plan.rows()]


def test_each_day_is_in_the_state_that_its_records_are_in(lake: SmallLake, outlook: MakeOutlook) -> None:
    lake.publish(DAY, {}, **AS_NOW)
    lake.publish(NEXT, {}, revision=2, **AS_NOW)
    raw = date(2026, 5, 5)
    lake.land({DAY: 12, NEXT: 12, raw: 4})
    plan = outlook(BEFORE, date(2026, 5, 10), {NEXT: 3, raw: 2, date(2026, 5, 6): 7})
    assert [(row.day[-2:], row.state, row.records, row.on_page, row.not_landed) for row in plan.rows()] == [
        ("02", "nothing known", 0, None, 0),
        ("03", "published", 12, 12, 0),
        ("04", "published, would be restated", 12, 12, 3),
        ("05", "only in raw", 4, None, 2),
        ("06", "only in Kafka", 0, None, 7),
        ("07", "empty", 0, None, 0),
        ("08", "empty", 0, None, 0),
        ("09", "empty", 0, None, 0),
        ("10", "not over yet", 0, None, 0),
    ]
    does = [row.does for row in plan.rows()]
    assert does[0] == "does not publish the day: no record of it has arrived, and no record of any day before its end"
    assert does[1] == "stays at revision 1: no new records; its run ends after land_events"
    assert does[2] == "the first run, for 2026-05-02, restates it: 3 more records"
    assert does[3] == "publishes its first revision, with 6 records"
    assert does[4] == "publishes its first revision, with 7 records"
    assert does[5].startswith("publishes the day with zero events")
    assert does[8] == "no run: the day ends on 2026-05-11 at 00:00 UTC, and Airflow skips it"
    # the first run has no day to build and restates another one
    assert (len(plan.runs), plan.builds) == (8, 6)


def test_the_first_record_decides_which_days_are_known_to_be_empty(lake: SmallLake, outlook: MakeOutlook) -> None:
    assert states(outlook(BEFORE, DAY, {})) == ["nothing known", "nothing known"]
    # nothing is landed yet, and Kafka received its first record after these days had ended
    assert states(outlook(BEFORE, DAY, {NEXT: 1})) == ["nothing known", "nothing known"]
    # records that are only in Kafka count too: they are landed before the rule is applied
    assert states(outlook(BEFORE, DAY, {}, waiting=NotLanded({NEXT: 1}, TAKEN_AT))) == ["nothing known", "empty"]
    lake.land({NEXT: 1}, taken_at=datetime(2026, 5, 3, 23, 59, 59, tzinfo=UTC))
    assert states(outlook(BEFORE, DAY, {})) == ["nothing known", "empty"]


def test_another_provider_map_or_other_answers_build_a_day_again_by_its_own_run_alone(
    lake: SmallLake, outlook: MakeOutlook
) -> None:
    lake.publish(DAY, {}, **{**AS_NOW, "answers_version": "former"})
    lake.publish(BEFORE, {}, **{**AS_NOW, "provider_map_version": "former"})
    lake.land({DAY: 12, BEFORE: 12})
    plan = outlook(DAY, DAY, {})
    assert states(plan) == ["published, would be restated"]
    assert "another provider map, other answers or other settings" in plan.rows()[0].does
    assert plan.also_restated == []
    assert plan.builds == 1


def test_the_first_run_also_restates_other_days_within_the_lateness_window(
    lake: SmallLake, outlook: MakeOutlook
) -> None:
    far, near = DAY - timedelta(days=31), DAY - timedelta(days=30)
    for day in (far, near, DAY, NEXT):
        lake.publish(day, {}, **AS_NOW)
        lake.land({day: 12})
    plan = outlook(DAY, DAY, {far: 1, near: 2, NEXT: 3})
    assert plan.also_restated == [{"day": str(near), "records": 2}, {"day": str(NEXT), "records": 3}]
    assert states(plan) == ["published"]
    assert plan.builds == 1
    # a day of the backfill itself is reported in its own row
    assert outlook(DAY, NEXT, {near: 2, NEXT: 3}).also_restated == [{"day": str(near), "records": 2}]


def test_without_kafka_the_lake_still_has_its_say(lake: SmallLake, outlook: MakeOutlook) -> None:
    lake.publish(DAY, {}, **AS_NOW)
    lake.land({DAY: 13, NEXT: 2})
    plan = outlook(BEFORE, date(2026, 5, 5), None)
    assert states(plan) == ["maybe in Kafka", "published, would be restated", "only in raw", "maybe in Kafka"]
    assert [row.not_landed for row in plan.rows()] == [None] * 4
    assert "without any, does not publish the day" in plan.rows()[0].does
    assert "without any, publishes the day with zero events" in plan.rows()[3].does


def test_records_that_name_no_day_make_the_first_run_build(lake: SmallLake, outlook: MakeOutlook) -> None:
    lake.publish(DAY, {}, **AS_NOW)
    lake.land({DAY: 12})
    assert outlook(DAY, DAY, {}).builds == 0
    assert outlook(DAY, DAY, {None: 1}).builds == 1


def test_a_generated_day_is_compared_with_what_exists_of_it(lake: SmallLake, outlook: MakeOutlook) -> None:
    lake.land({BEFORE: 1}, taken_at=TAKEN_AT)
    plan = outlook(DAY, NEXT, {NEXT: 20}, generated={DAY: 20, NEXT: 20})
    assert states(plan) == ["generated", "only in Kafka"]
    lost, there = plan.rows()
    assert (
        lost.does
        == "fails: 20 events were acknowledged to the generator, but the lake and Kafka have no record of them"
    )
    assert there.does == "publishes its first revision, with 20 records; 20 were acknowledged to the generator"
    assert (lost.generated, there.generated) == (20, 20)


def test_runs_that_generate_play_a_day_that_was_not_played(lake: SmallLake, outlook: MakeOutlook) -> None:
    plan = outlook(DAY, NEXT, {NEXT: 20}, generated={NEXT: 20}, plays=500)
    assert plan.rows()[0].does == "generates 500 events of the day and publishes it"
    assert plan.rows()[1].does.startswith("publishes its first revision")
    assert plan.builds == 2


def test_runs_that_generate_leave_a_day_alone_that_has_events_of_its_own(lake: SmallLake, outlook: MakeOutlook) -> None:
    lake.publish(BEFORE, {}, **AS_NOW)
    lake.land({BEFORE: 12, DAY: 2})
    plan = outlook(BEFORE, NEXT, {NEXT: 1}, plays=500)
    assert not [row.does for row in plan.rows() if "generates" in row.does]
    begun = outlook(BEFORE, NEXT, {NEXT: 1}, plays=500, goes_on=lambda day: day == NEXT)
    assert [row.day for row in begun.rows() if row.does.startswith("generates 500")] == [str(NEXT)]


def test_lost_offsets_hold_every_run_up(lake: SmallLake, outlook: MakeOutlook) -> None:
    waiting = NotLanded({DAY: 1}, NOW, Loss("4 records lost", 4, {0: 4}))
    plan = outlook(DAY, DAY, {}, waiting=waiting)
    assert (
        plan.rows()[0].does == "nothing until `daybook accept-loss`, then: publishes its first revision, with 1 records"
    )


def test_a_day_that_has_just_ended_waits_until_it_closes(lake: SmallLake, outlook: MakeOutlook) -> None:
    now = datetime(2026, 5, 4, 0, 5, tzinfo=UTC)
    plan = outlook(DAY, NEXT, {DAY: 1}, now=now, grace=timedelta(minutes=15))
    assert plan.rows()[0].does.endswith("; waits until 2026-05-04 00:15 UTC, when the day closes")
    assert states(plan)[1] == "not over yet"
    at_midnight = outlook(DAY, DAY, {DAY: 1}, now=datetime(2026, 5, 4, tzinfo=UTC))
    assert (states(at_midnight), at_midnight.runs) == (["not over yet"], [])


def test_a_day_whose_raw_records_are_gone_stays_and_its_neighbours_cannot_be_built(
    lake: SmallLake, outlook: MakeOutlook
) -> None:
    lake.settings = lake.settings.model_copy(update={"raw_retention_days": 90})
    lake.publish(DAY, {}, **AS_NOW)
    lake.land({NEXT: 3})
    gone, neighbour = outlook(DAY, NEXT, {}).rows()
    assert gone.state == "published"
    assert gone.does.startswith("stays at revision 1: raw records that it was built from were removed")
    assert neighbour.does.startswith("fails: 2026-05-04 cannot be built: DAYBOOK_RAW_RETENTION_DAYS removed")
    # an equal number of new records does not replace the removed ones
    [again] = outlook(DAY, DAY, {DAY: 20}).rows()
    assert again.does.startswith(
        "fails: 2026-05-03 is published as revision 1 and cannot be built again: 0 of its 12 raw"
    )


@pytest.mark.parametrize(
    ("retention_days", "why"),
    [(0, "is 0, so nothing may have removed the others"), (9999, "and later, so it has not removed the others")],
)
def test_raw_records_that_no_retention_removed_fail_the_runs_that_need_them(
    lake: SmallLake, outlook: MakeOutlook, retention_days: int, why: str
) -> None:
    lake.settings = lake.settings.model_copy(update={"raw_retention_days": retention_days})
    lake.publish(DAY, {}, **AS_NOW)
    lake.land({NEXT: 3})
    plan = outlook(DAY, NEXT, {})
    assert plan.known.is_due(DAY, DAY), "so that its run fails, and is not skipped"
    assert not plan.known.is_due(DAY, NEXT), "a run of another day does not build it"
    gone, neighbour = (row.does for row in plan.rows())
    assert gone.startswith("fails: 2026-05-03 cannot be built again: 0 of its 12 raw records are left")
    assert why in gone
    assert "`daybook verify --day 2026-05-03`" in gone
    assert neighbour.startswith("fails: 2026-05-04 cannot be built: raw records of 2026-05-03 are missing")


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"lateness_days": 20}, "published, would be restated"),
        ({"future_tolerance_minutes": 5}, "published"),
    ],
    ids=["lateness", "tolerance, which decides a record's day when it is landed"],
)
def test_a_change_of_a_setting_that_decides_rows_makes_days_stale(
    lake: SmallLake, outlook: MakeOutlook, settings: dict[str, int], state: str
) -> None:
    for day, rules in ((BEFORE, None), (DAY, rules_version(lake.settings))):
        lake.publish(day, {}, **AS_NOW, rules_version=rules)
    lake.land({BEFORE: 12, DAY: 12})
    assert states(outlook(BEFORE, DAY, {})) == ["published", "published"]
    lake.settings = lake.settings.model_copy(update=settings)
    assert states(outlook(BEFORE, DAY, {})) == ["published", state], "an older revision does not name its rules"


def test_a_day_that_airflow_has_run_is_run_again_only_if_it_has_to_be_built(
    lake: SmallLake, outlook: MakeOutlook
) -> None:
    lake.publish(DAY, {}, **AS_NOW)
    lake.land({DAY: 12})
    ran = {DAY: "success", NEXT: "failed"}
    quiet = outlook(DAY, DAY, {}, ran=ran)
    assert (quiet.runs, quiet.reprocess) == ([], False)
    assert quiet.rows()[0].does == "no run: Airflow already has one for this day, in state success"
    again = outlook(DAY, NEXT, {NEXT: 1}, ran=ran)
    assert (again.runs, again.reprocess, again.builds) == ([DAY, NEXT], True, 1)
    under_way = outlook(DAY, NEXT, {NEXT: 1}, ran={**ran, NEXT: "running"})
    assert (under_way.runs, under_way.reprocess) == ([], False)
    # another day's run restates the day, so its own run need not be repeated
    late = outlook(DAY, NEXT, {DAY: 1}, ran={DAY: "success"})
    assert (late.runs, late.reprocess) == ([NEXT], False)
    assert late.rows()[0].does.endswith("; the first run, for 2026-05-04, restates it: 1 more records")


def test_an_estimate_names_what_it_rests_on() -> None:
    seconds, basis = estimate(5, 2, Pace([30.0, 20.0, 40.0], [8.0, 10.0, 9.0, 9.0]))
    assert seconds == 2 * 30 + 3 * 9
    assert basis.startswith(
        "2 runs that publish at 30 s each, the median of the last 3; "
        "3 runs that only land records (land_events) at 9 s each, the median of the last 4"
    )
    _, basis = estimate(2, 1, Pace([30.0], [9.0]))
    assert basis.startswith(
        "1 run that publishes at 30 s each, the median of the last 1; 1 run that only lands records (land_events)"
    )
    assert estimate(1, 1, Pace([], [9.0])) == (None, "no estimate: no run of this kind has succeeded yet")
    assert estimate(0, 0, Pace())[0] == 0


class Airflow:
    """Airflow's API with two runs of backfilled days, one manual one, and their steps."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def call(self, method: str, path: str) -> Any:
        assert method == "GET"
        self.calls.append(path)
        if path.endswith("/taskInstances"):
            ends = {"wait_for_offsets": 600, "land_events": 8, "publish_day": 12, "write_report": 2}
            state = "skipped" if "/quiet/" in path else "success"
            return {"task_instances": [_step(name, 8 if state == "success" else 9, seconds, state)
                                       for name, seconds in ends.items()]}  # fmt: skip
        if path == "/dags/game_events_daily":
            return {"is_paused": True}
        if "logical_date_gte" not in path:
            return {"dag_runs": [{"dag_run_id": "quiet"}, {"dag_run_id": "busy"}]}
        offset = int(path.rpartition("=")[2])
        runs = [
            {"logical_date": "2026-05-03T00:00:00Z", "state": "success"},
            {"logical_date": "2026-05-03T09:30:00Z", "state": "failed"},
            {"logical_date": "2026-05-04T00:00:00Z", "state": "running"},
        ]
        return {"dag_runs": runs[offset : offset + 2], "total_entries": 3}


def _step(name: str, hour: int, seconds: int, state: str) -> dict[str, Any]:
    start = datetime(2026, 5, 4, hour, tzinfo=UTC)
    is_skipped = state == "skipped" and name != "land_events"
    end = start if is_skipped else start + timedelta(seconds=seconds)
    return {"task_id": name, "state": state, "start_date": start.isoformat(), "end_date": end.isoformat()}


def test_airflow_lists_the_days_it_has_run_and_how_long_runs_take() -> None:
    so_far = ask_airflow(Airflow(), DAY, NEXT)  # type: ignore[arg-type]  # only the part that is called
    assert so_far.ran == {DAY: "success", NEXT: "running"}
    assert so_far.pace == Pace(builds=[22.0], landings=[8.0, 8.0])
    assert so_far.paused is True


def test_the_backfill_of_a_paused_dag_is_reported_as_waiting(
    lake: SmallLake, kafka_away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.land({DAY: 3})
    airflow_client.password_file(lake.settings).parent.mkdir(parents=True)
    airflow_client.password_file(lake.settings).touch()
    monkeypatch.setattr(airflow_client, "api", lambda *_: Airflow())
    arguments = ["plan", "--from", "2026-05-05", "--to", "2026-05-06"]
    printed = CliRunner().invoke(cli, arguments).stdout
    assert "The DAG is paused, and its backfill waits until `airflow dags unpause game_events_daily`." in printed
    assert json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)["paused"] is True


def test_unlanded_records_are_counted_by_the_day_on_which_they_happened(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Message:
        def __init__(self, value: bytes) -> None:
            self._value = value

        def value(self) -> bytes:
            return self._value

        def timestamp(self) -> tuple[int, int]:
            return 1, int(NOW.timestamp() * 1000)

    asked = []

    def committed(_: Settings, partition: int, start: int, end: int) -> list[Message]:
        asked.append((partition, start, end))
        return [Message(b'{"occurred_at": "2026-05-03T12:00:00Z"}'), Message(b"\xff")]

    topic = TopicState("topic", first={0: 0, 1: 5, 2: 0}, end={0: 7, 1: 9, 2: 0}, retention_ms=-1)
    monkeypatch.setattr("daybook.pipeline.not_landed.topic_state", lambda _: topic)
    monkeypatch.setattr("daybook.pipeline.not_landed.committed", committed)
    start = Position({0: 5, 1: 3}, 1, "topic")
    found = read_not_landed(lake.settings, start, lambda done, of: None)
    # after the lost records, the rest is read: it would be landed once the loss is accepted
    assert asked == [(0, 5, 7), (1, 5, 9)]
    assert found.loss is not None
    assert "2 records lost, offsets 3..4 of partition 1" in found.loss.text
    assert found.per_day == {DAY: 2, None: 2}
    assert found.first_taken_at == NOW


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2026-13-01", "2026-05-03", "'2026-13-01' is not a day"),
        ("2026-05-04", "2026-05-03", "2026-05-04 is after 2026-05-03"),
        ("2000-01-01", "2026-05-03", f"a plan covers at most {MAX_DAYS} days"),
    ],
)
def test_bad_input_is_reported(own_settings: Settings, first: str, last: str, message: str) -> None:
    error = CliRunner().invoke(cli, ["plan", "--from", first, "--to", last]).exception
    assert isinstance(error, BadInput)
    assert message in str(error)


def test_the_command_names_what_did_not_answer_and_the_next_step(lake: SmallLake, kafka_away: None) -> None:
    lake.publish(DAY, {}, **AS_NOW)
    lake.land({DAY: 12, NEXT: 2})
    write_manifest(lake.settings, a_manifest(Request(NEXT, 2, 1)), [])
    arguments = ["plan", "--from", "2026-05-03", "--to", "2026-05-04"]
    payload = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert [(row["state"], row["generated"]) for row in payload["days"]] == [("published", None), ("only in raw", 2)]
    assert (payload["not_landed"], payload["estimate_seconds"], payload["lost"]) == (None, None, None)
    assert payload["kafka"].startswith(
        "Kafka at 127.0.0.1:9092 does not answer (timed out): the plan covers only the lake"
    )
    assert "Clear the task" not in payload["kafka"]
    assert "there is no estimate" in payload["airflow"]
    command = "airflow backfill create --dag-id game_events_daily --from-date 2026-05-03 --to-date 2026-05-04"
    assert payload["command"] == command
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exit_code == 1, "the plan is made without what did not answer"
    printed = shown.stdout
    assert f"Next: {command}" in printed.splitlines()
    assert payload["kafka"] in printed


def test_records_hidden_by_an_open_transaction_are_not_reported_as_landed(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.land({DAY: 3}, end={0: 3})
    topic = TopicState("topic", first={0: 0}, end={0: 3}, retention_ms=-1, hidden={0: 30}, unfit="topic t is compacted")
    monkeypatch.setattr("daybook.pipeline.not_landed.topic_state", lambda _: topic)
    monkeypatch.setattr("daybook.pipeline.losses.overwritten", lambda *_: set())
    arguments = ["plan", "--from", str(DAY), "--to", str(DAY)]
    printed = CliRunner().invoke(cli, arguments).stdout
    assert "0 records in Kafka are not landed yet, and an open transaction hides up to 30 more" in printed
    assert "Every record in Kafka is landed" not in printed
    assert "Runs are refused: topic t is compacted." in printed
    payload = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert (payload["hidden"], payload["not_landed"]) == (30, 0)
