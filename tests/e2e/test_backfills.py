"""Backfills in all of Airflow's ways: ten days each, published once each, equal to their manifests."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from statistics import mean
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.airflow_page import AirflowPage
from tests.e2e.backfills import Backfills, days, print_figure
from tests.integration.own_broker import until
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.environ.get("DAYBOOK_E2E") != "full", reason="`make test-e2e`: half an hour"),
    pytest.mark.timeout(3_600),
]

LAST = datetime.now(UTC).date() - timedelta(days=101)
FIRST = LAST - timedelta(days=9)
BACKWARDS = days(FIRST - timedelta(days=40), 10)
AT_ONCE = days(FIRST - timedelta(days=80), 10)
EVENTS = 2_000


@pytest.fixture(scope="module")
def backfills(stack: Stack) -> Backfills:
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    return Backfills(stack)


def check_published_once(stack: Stack, wanted: list[date]) -> None:
    """Check that each day has its first revision, balances, and has its manifest's expected answers."""
    pages = {page["day"]: page for page in stack.json("status")}
    for day in wanted:
        page = pages[day.isoformat()]
        assert (page["revision"], page["balanced"], page["sent"]) == (1, True, EVENTS), day
        assert stack.answers(day) == stack.manifest(day)["expected"], day


def test_ten_days_by_the_backfill_form_then_a_published_one_is_cleared(
    stack: Stack,
    ui: AirflowPage,
    backfills: Backfills,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = days(FIRST, 10)
    for day in wanted:
        stack.daybook("generate", "--day", str(day), "--events", str(EVENTS), "--seed", "9")

    ui.backfill(FIRST, LAST, max_active_runs=3)
    seconds = backfills.wait(backfills.newest())

    check_published_once(stack, wanted)
    runs = backfills.runs(FIRST, LAST)
    assert {day: run["state"] for day, run in runs.items()} == dict.fromkeys(wanted, "success")
    assert {run["note"] for run in runs.values()} == {f"day {day}" for day in wanted}
    starts = backfills.spark_start_seconds(runs)
    print_figure(
        capsys,
        f"10 days, 3 at once: {seconds:.0f} s; Spark was started {len(starts)} times, {mean(starts):.1f} s each, "
        f"{sum(starts) / seconds:.0%} of the time",
    )
    shown = ui.overview()
    for day in wanted:
        expect(shown.get_by_role("link", name=day.isoformat())).to_be_visible()

    before = stack.json("status")
    ui.clear_run(runs[LAST]["dag_run_id"])
    path = f"/dags/{DAG_ID}/dagRuns/{runs[LAST]['dag_run_id']}"
    until(lambda: stack.api().call("GET", path)["state"] not in ("success", "failed"), "it runs again", 60)
    ui.watch(runs[LAST]["dag_run_id"])
    assert stack.json("status") == before
    check_published_once(stack, wanted)


def test_ten_days_backwards_one_at_a_time_cancelled_then_asked_for_again(
    stack: Stack, backfills: Backfills, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = BACKWARDS[0], BACKWARDS[-1]
    asked = backfills.create(first, last, max_active_runs=1, backwards=True, events=EVENTS, seed=9)

    def states() -> list[str]:
        return [run["state"] for _, run in sorted(backfills.runs(first, last).items())]

    until(lambda: states()[-1:] == ["success"] and "running" in states(), "the newest day is done", 300)
    backfills.cancel(asked)
    until(lambda: not {"running", "queued"} & set(states()), "what ran has ended", 300)
    done = [day for day, run in sorted(backfills.runs(first, last).items()) if run["state"] == "success"]
    assert done == BACKWARDS[-len(done) :]
    assert 0 < len(done) < 10
    check_published_once(stack, done)
    assert not {str(day) for day in BACKWARDS if day not in done} & {page["day"] for page in stack.json("status")}

    again = backfills.create(first, last, max_active_runs=1, reprocess="failed", backwards=True, events=EVENTS, seed=9)
    seconds = backfills.wait(again)
    check_published_once(stack, BACKWARDS)
    print_figure(capsys, f"{10 - len(done)} days, 1 at a time, backwards, after a cancelled backfill: {seconds:.0f} s")


def test_ten_days_at_once_with_one_that_fails_then_what_each_reprocess_behaviour_does(
    stack: Stack, backfills: Backfills, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last, failing = AT_ONCE[0], AT_ONCE[-1], AT_ONCE[4]
    stack.daybook("generate", "--day", str(failing), "--events", str(EVENTS), "--seed", "9")
    ids = stack.settings.manifests_dir / f"{failing}.ids"
    accepted = ids.read_text(encoding="utf-8")
    ids.write_text("".join(sorted([*accepted.splitlines(keepends=True)[1:], f"{uuid4()}\n"])), encoding="utf-8")

    seconds = backfills.wait(backfills.create(first, last, max_active_runs=10, events=EVENTS, seed=9))

    others = [day for day in AT_ONCE if day != failing]
    check_published_once(stack, others)
    assert backfills.runs(first, last)[failing]["state"] == "failed"
    assert str(failing) not in {page["day"] for page in stack.json("status")}
    print_figure(capsys, f"10 days, 10 at once, one of them not to be published: {seconds:.0f} s")

    ids.write_text(accepted, encoding="utf-8")
    pages, runs = stack.json("status"), backfills.runs(first, last)
    assert backfills.wait(backfills.create(first, last, reprocess="none", events=EVENTS, seed=9)) < 60
    assert (stack.json("status"), backfills.runs(first, last)) == (pages, runs), "every day has a run: nothing is done"

    backfills.wait(backfills.create(first, last, reprocess="failed", events=EVENTS, seed=9))
    check_published_once(stack, AT_ONCE)
    after = backfills.runs(first, last)
    assert [day for day in AT_ONCE if after[day]["start_date"] != runs[day]["start_date"]] == [failing]

    pages = stack.json("status")
    seconds = backfills.wait(backfills.create(first, last, reprocess="completed", events=EVENTS, seed=9))
    assert stack.json("status") == pages, "days that are published already stay as they are"
    after_all = backfills.runs(first, last)
    assert [day for day in AT_ONCE if after_all[day]["start_date"] == after[day]["start_date"]] == []
    print_figure(capsys, f"10 published days asked for again: {seconds:.0f} s, no page changed")
