"""Notifications for a failed try and for a late day, and their recipients.

Messages go to a real web server on this machine.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.contextvars import clear_contextvars, get_contextvars
from structlog.testing import capture_logs

from daybook.errors import BadInput, DaybookError, NonRetryableError, NotNow
from daybook.settings import REPOSITORY, Settings, load_settings
from daybook_airflow.deadline import notify_late
from daybook_airflow.log_context import bind_log_context
from daybook_airflow.messages import send
from daybook_airflow.notifier import FailureNotifier, failure_text
from daybook_airflow.refused import RefusedRun
from daybook_airflow.run_notes import on_dag_run_running
from tests.unit.small_lake import SmallLake
from tests.webhook import Webhook

SAFE = "Readers see what they saw before."


def a_failure(exception: BaseException | str | None, **run: Any) -> dict[str, Any]:
    """Airflow's context of a failed try."""
    fields = {
        "dag_id": "game_events_daily",
        "run_id": "scheduled__2026-05-04",
        "run_type": "scheduled",
        "logical_date": datetime(2026, 5, 3, tzinfo=UTC),
        "run_after": datetime(2026, 5, 4, tzinfo=UTC),
        "conf": {},
    }
    return {
        "task": SimpleNamespace(),
        "ti": SimpleNamespace(task_id="land_events", try_number=2),
        "dag_run": SimpleNamespace(**{**fields, **run}),
        "params": {},
        "exception": exception,
    }


def test_a_failure_names_what_happened_what_is_safe_and_the_next_command() -> None:
    text = failure_text(a_failure(ValueError("2026-05-03: Kafka is\naway")), SAFE, tries_again=False)
    assert text == (
        "2026-05-03: land_events failed at try 2: Kafka is away. Readers see what they saw before. After fixing "
        """the cause: `airflow dags trigger game_events_daily -c '{"day": "2026-05-03"}'`, or clear the task."""
    )


def test_the_next_command_asks_for_what_the_failed_run_was_asked_for() -> None:
    conf = {"day": "2026-05-02", "events": 20, "seed": 3}
    context = a_failure("no", conf=conf, run_type="manual", logical_date=None)
    context["params"] = conf
    text = failure_text(context, SAFE, tries_again=False)
    assert text.startswith("2026-05-02: ")
    assert json.dumps(conf) in text
    quoted = failure_text(a_failure("no", conf={"note": "it's"}), SAFE, tries_again=False)
    command = shlex.split(quoted.split("`")[1])
    assert json.loads(command[-1]) == {"note": "it's", "day": "2026-05-03"}, "a shell takes it as it is printed"
    upkeep = a_failure("no", dag_id="lake_maintenance")
    assert "`airflow dags trigger lake_maintenance`" in failure_text(upkeep, SAFE, tries_again=False)


def test_a_try_that_is_repeated_asks_nothing_of_anybody() -> None:
    text = failure_text(a_failure(None), SAFE, tries_again=True)
    assert text.endswith("its process ended. Readers see what they saw before. Airflow will retry it.")
    assert "airflow dags trigger" not in text


@pytest.mark.parametrize("error", [RefusedRun("no; ask for x"), BadInput("no; ask for x")])
def test_a_command_that_would_fail_again_is_not_advised(error: Exception) -> None:
    text = failure_text(a_failure(error, conf={"evnts": 5}), SAFE, tries_again=False)
    assert text == f"2026-05-03: land_events failed at try 2: no; ask for x. {SAFE}"


@pytest.mark.parametrize("error", [NonRetryableError("no"), NotNow("no"), DaybookError("no"), KeyError("no")])
def test_advice_for_a_temporary_failure_names_the_command(error: Exception) -> None:
    assert "`airflow dags trigger" in failure_text(a_failure(error), SAFE, tries_again=False)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch, own_settings: Settings) -> Iterator[Webhook]:
    """A web server that ``DAYBOOK_NOTIFY_URLS`` names."""
    with Webhook() as running:
        monkeypatch.setenv("DAYBOOK_NOTIFY_URLS", running.url)
        load_settings.cache_clear()
        yield running


def test_a_failed_task_is_reported_to_the_webhook_and_a_repeated_try_is_not(webhook: Webhook) -> None:
    FailureNotifier(safe=SAFE, tries_again=True)(a_failure("no"))
    assert webhook.received == []
    FailureNotifier(safe=SAFE)(a_failure("no"))
    [message] = webhook.received
    assert message["message"].startswith("2026-05-03: land_events failed at try 2: no.")
    assert (message["title"], message["type"]) == ("Daybook", "failure")


def test_by_default_no_notification_is_sent_and_no_error_is_logged(own_settings: Settings) -> None:
    assert load_settings().notify_urls.get_secret_value() == ""
    with capture_logs() as logged:
        send("a failure")
    assert logged == []


@pytest.mark.parametrize("url", ["json://token@127.0.0.1:1/alerts", "nosuchthing://token", "token"])
def test_somebody_who_cannot_be_reached_fails_nothing_and_no_secret_is_logged(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    reached = load_settings().notify_urls.get_secret_value()
    monkeypatch.setenv("DAYBOOK_NOTIFY_URLS", f"{url} {reached}")
    load_settings.cache_clear()
    with capture_logs() as logged:
        send("a failure")
    assert webhook.texts == ["a failure"]
    [line] = logged
    assert "DAYBOOK_NOTIFY_URLS" in line["event"]
    assert "token" not in line["event"]


LATE = {
    "dag_run": {
        "dag_id": "game_events_daily",
        "dag_run_id": "scheduled__2026-05-04",
        "state": "running",
        "data_interval_start": "2026-05-03T00:00:00Z",
    },
    "deadline": {},
}


def test_a_late_day_is_reported_with_its_run(webhook: Webhook) -> None:
    with capture_logs() as logged:
        asyncio.run(notify_late(LATE))
    [text], [line] = webhook.texts, logged
    assert text == line["event"]
    assert line["event"].startswith("2026-05-03 is not published 6 hours after its end: run scheduled__2026-05-04 is")
    assert (line["day"], line["log_level"]) == ("2026-05-03", "error")


def test_a_late_run_of_a_published_day_sends_no_notification(webhook: Webhook, own_settings: Settings) -> None:
    SmallLake(own_settings).publish(date(2026, 5, 3), {})
    asyncio.run(notify_late(LATE))
    assert webhook.received == []


def test_a_late_day_is_reported_even_if_the_lake_cannot_be_read(
    webhook: Webhook, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_LAKE_CATALOG_URI", "jdbc:postgresql://127.0.0.1:1/lake?user=lake")
    load_settings.cache_clear()
    asyncio.run(notify_late(LATE))
    [text] = webhook.texts
    assert text.startswith("2026-05-03: the lake cannot be read (")
    assert "so it is unknown whether the day is published 6 hours after its end" in text
    assert "/runs/scheduled__2026-05-04" in text


def test_the_plugin_of_runs_loads_nothing_heavy() -> None:
    """Every component of Airflow executes it, including each task's process."""
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1]);"
        "print(*sorted({'apprise', 'confluent_kafka', 'numpy', 'pandas', 'pyiceberg', 'pyspark'} & set(sys.modules)))"
    )
    plugin = str(REPOSITORY / "plugins" / "daybook_runs.py")
    loaded = subprocess.run([sys.executable, "-c", code, plugin], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []


def test_every_line_of_a_tasks_log_carries_the_day_and_the_offsets() -> None:
    context = a_failure(None)
    clear_contextvars()
    bind_log_context(context)
    assert get_contextvars() == {"day": "2026-05-03"}
    context["task"] = SimpleNamespace(day="2026-05-02", offsets='{"0": 13}')
    bind_log_context(context)
    assert get_contextvars() == {"day": "2026-05-02", "offsets": '{"0": 13}'}
    clear_contextvars()


def test_the_note_of_a_run_is_its_day_unless_somebody_wrote_one() -> None:
    run = SimpleNamespace(**vars(a_failure(None)["dag_run"]), note=None)
    on_dag_run_running(run, "")  # type: ignore[arg-type]
    assert run.note == "day 2026-05-03"
    run.note = "after the outage"
    on_dag_run_running(run, "")  # type: ignore[arg-type]
    assert run.note == "after the outage"
    upkeep = SimpleNamespace(**{**vars(run), "dag_id": "lake_maintenance", "note": None})
    on_dag_run_running(upkeep, "")  # type: ignore[arg-type]
    assert upkeep.note is None
