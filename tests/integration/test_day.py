"""The day end to end, as a user runs it: Airflow's own command triggers it, the reading commands read it."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from daybook.airflow_client import AirflowRefused
from daybook.kafka.config import librdkafka_conf
from daybook.sql.answers import AREAS
from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = pytest.mark.integration

DAY = datetime.now(UTC).date() - timedelta(days=20)
"""A day for this module alone, far from the days of other tests and of the schedule."""
EVENTS = 3_000

MAINTENANCE = "/dags/lake_maintenance/dagRuns"

STEPS = (
    "generate_events",
    "wait_for_offsets",
    "land_events",
    "user_behaviour",
    "host_providers",
    "publish_day",
    "write_report",
)


@pytest.fixture(scope="module")
def published(stack: Stack) -> dict[str, str]:
    """Publish the day with a real run; return the states of its tasks."""
    return stack.trigger("first", day=DAY.isoformat(), events=EVENTS, seed=7)


def send(stack: Stack, *events: dict[str, object]) -> None:
    """Send events as a game does; fail unless all are accepted."""
    request = urllib.request.Request(
        f"{stack.settings.intake_url}/events",
        data=json.dumps(events).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201


def an_event(day: date, **fields: object) -> dict[str, object]:
    return {
        "event_id": str(uuid4()),
        "event_type": "purchase_item",
        "item": "knife",
        "user_id": "late-player",
        "host": "late-player.cox.com",
        "occurred_at": f"{day}T12:00:00Z",
        **fields,
    }


def test_a_triggered_day_runs_through_every_step(published: dict[str, str]) -> None:
    assert published == dict.fromkeys(STEPS, "success")


def test_its_run_is_named_by_the_day_and_its_log_lines_by_day_run_and_offsets(
    stack: Stack, published: dict[str, str]
) -> None:
    assert stack.api().call("GET", f"/dags/{DAG_ID}/dagRuns/first")["note"] == f"day {DAY}"
    lines = stack.log_lines("first", "publish_day")
    logged = next(line for line in lines if line["event"].startswith(f"published: {DAY} r1"))
    assert (logged["day"], logged["run_id"]) == (DAY.isoformat(), "first")
    assert sum(json.loads(logged["offsets"]).values()) >= EVENTS
    message = [line["event"] for line in lines if line["event"].startswith(("WARN", "ERROR"))]
    assert message == [], "a quiet day has a quiet log"


def test_every_spark_step_of_a_day_is_a_client_of_the_warm_server(stack: Stack, published: dict[str, str]) -> None:
    """Guards the cost of a small day: each driver takes ten seconds."""
    assert published["publish_day"] == "success"
    drivers, clients = (
        [
            task
            for task in ("land_events", *AREAS, "publish_day")
            if any(word in line["event"] for line in stack.log_lines("first", task))
        ]
        for word in ("Spark was up", "a session of the Spark server")
    )
    assert (drivers, clients) == ([], ["land_events", *AREAS, "publish_day"])


def test_its_tables_are_assets_that_say_what_was_published(stack: Stack, published: dict[str, str]) -> None:
    events = stack.api().call("GET", "/assets/events?source_dag_id=game_events_daily&limit=100")["asset_events"]
    recorded = {one["name"]: one["extra"]["days"] for one in events if one["source_run_id"] == "first"}
    expected = stack.manifest(DAY)["expected"]
    answers = {name: len(rows) for name, rows in expected.items()}
    answers["user_activity"] = expected["daily_activity"][0]["users"]  # one row per player; it is in no manifest
    rows = {"game.events": EVENTS, **{f"game.{name}": count for name, count in answers.items()}}
    assert recorded == {name: {DAY.isoformat(): {"revision": 1, "rows": count}} for name, count in rows.items()}


def test_its_ledger_balances(stack: Stack, published: dict[str, str]) -> None:
    row, manifest = stack.ledger_row(DAY), stack.manifest(DAY)
    assert (manifest["sent"], manifest["accepted"], manifest["refused"]) == (EVENTS, EVENTS, 0)
    assert {name: row[name] for name in row if name != "published_at"} == {
        "day": DAY.isoformat(),
        "revision": 1,
        "sent": EVENTS,
        "accepted": EVENTS,
        "refused": 0,
        "other_days": 0,
        "landed": EVENTS,
        "events": EVENTS,
        "duplicates": 0,
        "rejected": 0,
        "late": 0,
        "balanced": True,
    }


def test_every_answer_is_what_the_generator_expects(stack: Stack, published: dict[str, str]) -> None:
    expected = stack.manifest(DAY)["expected"]
    assert len(expected) >= 4
    assert sum(row["events"] for row in expected["event_popularity"]) == EVENTS
    assert {name: stack.json("answer", name, "--day", DAY.isoformat()) for name in expected} == expected
    assert stack.answers(DAY) == expected


def test_its_report_is_written(stack: Stack, published: dict[str, str]) -> None:
    page = (stack.settings.reports_dir / f"{DAY}.html").read_text(encoding="utf-8")
    assert DAY.isoformat() in page
    assert f"{EVENTS:,}" in page


def test_a_plan_shows_a_backfill_before_it_is_started(stack: Stack, published: dict[str, str]) -> None:
    row, sent, tomorrow = stack.ledger_row(DAY), DAY - timedelta(days=60), datetime.now(UTC).date() + timedelta(days=1)
    before = sent - timedelta(days=1)
    send(stack, an_event(sent, user_id="planned-player"))

    plan = stack.json("plan", "--from", str(before), "--to", str(tomorrow))

    days = {row["day"]: row for row in plan["days"]}
    expected = {before: "nothing known", sent: "only in Kafka", DAY: "published", tomorrow: "not over yet"}
    assert {day: days[str(day)]["state"] for day in expected} == expected
    assert (days[str(sent)]["records"], days[str(sent)]["not_landed"]) == (0, 1)
    assert (days[str(DAY)]["generated"], days[str(DAY)]["on_page"]) == (EVENTS, EVENTS)
    assert (plan["kafka"], plan["airflow"], plan["lost"], plan["also_restated"]) == (None, None, None, [])
    assert plan["estimate_seconds"] > 0
    assert f"airflow backfill create --dag-id game_events_daily --from-date {before} --to-date" in plan["command"]
    assert stack.ledger_row(DAY) == row


@pytest.mark.long
def test_a_second_trigger_of_the_day_changes_nothing(stack: Stack, published: dict[str, str]) -> None:
    before, row = stack.answers(DAY), stack.ledger_row(DAY)
    states = stack.trigger("second", day=DAY.isoformat(), events=EVENTS, seed=7)
    assert states["land_events"] == "skipped"
    assert "is up to date at revision 1" in stack.task_log("second", "land_events")
    assert stack.answers(DAY) == before
    assert stack.ledger_row(DAY) == row


@pytest.mark.long
def test_late_repeated_and_invalid_records_restate_the_day(stack: Stack, published: dict[str, str]) -> None:
    """The run is for another day: it lands everything, and restates the published days."""
    late = an_event(DAY)
    send(stack, late, late)
    producer = Producer(librdkafka_conf(stack.settings))
    broken = json.dumps({**an_event(DAY), "event_type": "dance"})
    producer.produce(stack.settings.kafka_topic, broken.encode(), partition=0)
    producer.produce(stack.settings.kafka_topic, b"\x00\xff not an event", partition=0)
    assert producer.flush(30) == 0

    other = DAY + timedelta(days=1)
    states = stack.trigger("other", day=other.isoformat(), events=500, seed=7)

    assert set(states.values()) == {"success"}
    assert stack.answers(other) == stack.manifest(other)["expected"]
    row = stack.ledger_row(DAY)
    assert (row["revision"], row["landed"]) == (2, EVENTS + 3)
    assert (row["events"], row["duplicates"], row["rejected"], row["late"]) == (EVENTS + 1, 1, 1, 1)
    knives = {
        row["provider"]: row["events"]
        for row in stack.json("answer", "provider_event_popularity", "--day", DAY.isoformat())
        if row["item"] == "knife"
    }
    expected = {
        row["provider"]: row["events"]
        for row in stack.manifest(DAY)["expected"]["provider_event_popularity"]
        if row["item"] == "knife"
    }
    assert knives == {**expected, "cox": expected["cox"] + 1}


@pytest.mark.long
def test_a_rejected_record_that_was_repaired_is_replayed_once_and_restates_its_day(
    stack: Stack, published: dict[str, str]
) -> None:
    day, before = DAY.isoformat(), stack.ledger_row(DAY)
    [broken] = stack.json("rejected", "--day", day)
    assert (broken["reason"], broken["event"]["event_type"]) == ("unknown_type", "dance")
    assert [one["reason"] for one in stack.json("rejected", "--no-day")] == ["not_utf8"]
    as_it_is = stack.daybook("replay", "--day", day).stdout
    assert "0 accepted now, 1 need to be repaired by hand" in as_it_is
    assert "event_type is not one of purchase_item, join_guild" in as_it_is
    file = stack.settings.home / "repaired.json"
    file.write_text(json.dumps([{**broken, "event": {**broken["event"], "event_type": "purchase_item"}}]))

    assert "1 accepted now" in stack.daybook("replay", "--day", day, "--repaired", str(file)).stdout

    row = stack.ledger_row(DAY)
    assert (row["revision"], row["events"]) == (before["revision"] + 1, before["events"] + 1)
    assert (row["landed"], row["rejected"]) == (before["landed"] + 1, 1)
    again = stack.daybook("replay", "--day", day, "--repaired", str(file)).stdout
    assert "1 replayed before, 0 accepted now" in again
    assert stack.ledger_row(DAY) == row
    receipts = stack.json("receipts", "--day", day)
    assert [one["revision"] for one in receipts] == list(range(1, row["revision"] + 1))
    assert receipts[-1]["changes"]["event_popularity"]["changed"] > 0
    assert receipts[-1]["receipt"] in stack.daybook("status").stdout
    assert receipts[-1]["receipt"] in (stack.settings.reports_dir / f"{day}.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_past_days_are_rebuilt_without_kafka_and_a_player_is_forgotten(stack: Stack, published: dict[str, str]) -> None:
    day, before = DAY.isoformat(), stack.ledger_row(DAY)
    looked = stack.daybook("rebuild", "--from", day, "--to", day, "--dry-run").stdout
    assert f"{day} r{before['revision']}: unchanged" in looked
    assert "0 of 1 days would change" in looked
    refused = stack.daybook("rebuild", "--from", "2019-01-01", "--to", "2019-01-02", check=False)
    assert (refused.returncode, "no day from 2019-01-01 to 2019-01-02 is published" in refused.stderr) == (2, True)

    done = stack.daybook("forget-user", "late-player", "--yes", "--note", "asked by letter").stdout
    assert "4 records removed" in done
    row = stack.ledger_row(DAY)
    assert (row["revision"], row["events"]) == (before["revision"] + 1, EVENTS)
    assert stack.answers(DAY) == stack.manifest(DAY)["expected"]


@pytest.mark.long
def test_the_lakes_upkeep_runs_and_what_readers_see_stays(stack: Stack, published: dict[str, str]) -> None:
    before = stack.answers(DAY)
    assert set(stack.trigger("upkeep", dag_id="lake_maintenance").values()) == {"success"}
    assert stack.answers(DAY) == before


@pytest.mark.long
def test_maintenance_that_is_asked_for_something_fails_before_it_changes_anything(
    stack: Stack, published: dict[str, str]
) -> None:
    states = stack.trigger("upkeep-asked", dag_id="lake_maintenance", retention=3)
    assert states == dict.fromkeys(states, "upstream_failed") | {"expire_snapshots": "failed"}
    [failed] = stack.api().call("GET", f"{MAINTENANCE}/upkeep-asked/taskInstances?state=failed")["task_instances"]
    assert failed["try_number"] == 1
    log = stack.api().call("GET", f"{MAINTENANCE}/upkeep-asked/taskInstances/expire_snapshots/logs/1")["content"]
    refusal = "names 'retention', which is not a parameter; the DAG has no parameters. Nothing was changed"
    assert refusal in json.dumps(log)


@pytest.mark.long
def test_a_day_of_badly_behaved_clients_balances_and_answers_as_it_should(stack: Stack) -> None:
    day = DAY - timedelta(days=200)  # its late events reach another month back
    shares: dict[str, Any] = {"duplicates": 0.02, "late": 0.03, "invalid": 0.01}
    states = stack.trigger("mischief", day=day.isoformat(), events=EVENTS, seed=5, **shares)
    assert states == dict.fromkeys(STEPS, "success")
    manifest, row = stack.manifest(day), stack.ledger_row(day)
    late = sum(manifest["injected"]["late"].values())
    assert late > 0
    assert (manifest["injected"]["duplicates"], sum(manifest["injected"]["invalid"].values())) == (60, 30)
    assert (row["sent"], row["accepted"]) == (EVENTS + 60 + 30, EVENTS + 60)
    assert row["events"] == EVENTS - late
    # a duplicate of a late event is late too
    assert 0 < row["duplicates"] <= 60
    assert row["landed"] == row["events"] + row["duplicates"]
    assert stack.answers(day) == manifest["expected"]


def test_a_day_that_does_not_balance_fails_saying_so_and_is_not_published(stack: Stack) -> None:
    """The generator's manifest has an id that never reached Kafka, as if an accepted event were lost."""
    day = DAY + timedelta(days=2)
    stack.daybook("generate", "--day", day.isoformat(), "--events", "200", "--seed", "3")
    ids = stack.settings.manifests_dir / f"{day}.ids"
    lost = [*ids.read_text(encoding="utf-8").splitlines()[1:], str(uuid4())]
    ids.write_text("".join(f"{one}\n" for one in sorted(lost)), encoding="utf-8")

    run_id = "unbalanced"
    states = stack.trigger(run_id, day=day.isoformat(), events=0)

    assert (states["publish_day"], states["write_report"]) == ("failed", "upstream_failed")
    assert "acknowledged ids found in raw_events: 199 against 200 (-1)" in stack.task_log(run_id, "publish_day")
    assert stack.tries(run_id, "publish_day") == 1, "a second try would find the same"
    last = [line["event"] for line in stack.log_lines(run_id, "publish_day") if not line["event"].startswith("::")][-1]
    assert last.startswith(f"{day}: publish_day failed at try 1: ")
    assert "Readers see what they saw before" in last
    assert "`airflow dags trigger game_events_daily -c " in last
    assert last in stack.webhook.texts, "a failed task is reported to every address in DAYBOOK_NOTIFY_URLS"
    assert day.isoformat() not in {one["day"] for one in stack.json("status")}
    refused = stack.daybook("answer", "event_popularity", "--day", day.isoformat(), "--json", check=False)
    assert refused.returncode == 2


@pytest.mark.parametrize("conf", [{"day": "2026-5-3"}, {"events": -1}, {"seed": "one"}, {"late": 2}, {"force": "yes"}])
def test_values_that_cannot_be_are_refused_before_a_run_starts(stack: Stack, conf: dict[str, Any]) -> None:
    """As the form sends them, through the API, and with the command."""
    body = {"dag_run_id": "refused", "logical_date": None, "conf": conf}
    with pytest.raises(AirflowRefused) as refused:
        stack.api().call("POST", f"/dags/{DAG_ID}/dagRuns", body)
    assert refused.value.status in (400, 422)
    assert next(iter(conf)) in str(refused.value)
    with pytest.raises(AirflowRefused, match="404"):
        stack.api().call("GET", f"/dags/{DAG_ID}/dagRuns/refused")


@pytest.mark.long
def test_the_command_refuses_such_values_too_and_a_day_to_come_is_refused_by_the_first_task(stack: Stack) -> None:
    done = stack.airflow("dags", "trigger", DAG_ID, "--run-id", "refused", "--conf", '{"events": -1}', check=False)
    assert done.returncode != 0
    assert "events" in done.stdout + done.stderr
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    states = stack.trigger("tomorrow", day=tomorrow.isoformat(), events=0)
    assert (states["generate_events"], states["land_events"]) == ("failed", "upstream_failed")
    assert stack.tries("tomorrow", "generate_events") == 1
    assert "has not begun (UTC); nothing was generated or landed" in stack.task_log("tomorrow", "generate_events")


def test_a_scheduled_day_that_is_late_is_reported(stack: Stack, published: dict[str, str]) -> None:
    """Unpausing started yesterday's run; on this stack a day is late as soon as it ends unpublished."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    until(lambda: any(text.startswith(f"{yesterday} is not published") for text in stack.webhook.texts), "alert", 180)
    late = [text for text in stack.webhook.texts if "is not published" in text]
    assert len(late) == 1, "other runs have no deadline"
    assert f"/dags/{DAG_ID}/runs/scheduled__" in late[0]


def test_the_lake_is_read_by_others_with_what_env_prints(stack: Stack, published: dict[str, str]) -> None:
    from pyiceberg.catalog import load_catalog

    lines = [line for line in stack.daybook("env").stdout.splitlines() if line.startswith("export ")]
    printed = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    prefix = "PYICEBERG_CATALOG__LAKE__"
    properties = {
        name.removeprefix(prefix).lower(): value.strip("'")
        for name, value in printed.items()
        if name.startswith(prefix)
    }
    table = load_catalog("lake", **properties).load_table("game.event_popularity")
    rows = table.scan(row_filter=f"event_date = '{DAY}'").to_arrow()
    assert sum(rows["events"].to_pylist()) == stack.ledger_row(DAY)["events"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("answer", "no_such_answer", "--day", "2026-05-03"), "no_such_answer"),
        (("answer", "event_popularity", "--day", "yesterday"), "'yesterday' is not a day"),
        (("generate", "--day", "2026-02-30", "--events", "5"), "'2026-02-30' is not a day"),
        (("generate", "--day", "2026-05-03", "--events", "0"), "events"),
        (("generate", "--day", "2999-01-01", "--events", "5"), "2999-01-01"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(stack: Stack, arguments: tuple[str, ...], message: str) -> None:
    done = stack.daybook(*arguments, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
