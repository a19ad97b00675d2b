"""Ten days of bad clients: verified by a second engine, and read in a browser from the files alone.

``make test-e2e`` runs them, and updates the report's screenshots in ``docs/images``.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.airflow_page import AirflowPage
from tests.e2e.backfills import Backfills, days, print_figure
from tests.e2e.report_page import DESKTOP, PHONE, SCHEMES, Scheme, opened
from tests.integration.running_stack import DAG_ID, Stack

pytestmark = [
    pytest.mark.e2e,
    # ten days of runs take too long for `make test`, which verifies one day (tests/integration/test_readers.py) and
    # reads one (test_airflow_ui.py)
    pytest.mark.skipif(os.environ.get("DAYBOOK_E2E") != "full", reason="`make test-e2e`: a quarter of an hour"),
    pytest.mark.timeout(3_600),
]

DAYS = days(datetime.now(UTC).date() - timedelta(days=250), 10)
EVENTS = 2_000
BAD_CLIENTS: dict[str, Any] = {"late": 0.05, "duplicates": 0.05, "invalid": 0.05}
TALL = 1_900
"""Height of a screenshot in pixels: the two questions, and whether the day is as usual."""


@pytest.fixture(scope="module")
def published(stack: Stack) -> list[date]:
    """Publish ten days with late, repeated and corrupted events; the late ones restate earlier days."""
    stack.airflow("dags", "unpause", DAG_ID, "-y")
    backfills = Backfills(stack)
    backfills.wait(backfills.create(DAYS[0], DAYS[-1], events=EVENTS, seed=21, **BAD_CLIENTS))
    states = {day: run["state"] for day, run in backfills.runs(DAYS[0], DAYS[-1]).items()}
    assert states == dict.fromkeys(DAYS, "success")
    # the last late events of days already published: one more run adds them
    assert stack.trigger("late", day=str(DAYS[-1]), force=True, events=0)["write_report"] == "success"
    return DAYS


def test_every_day_is_verified_and_restated_ones_among_them(
    stack: Stack, published: list[date], capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = stack.json("verify", *(word for day in published for word in ("--day", str(day))))
    found = Counter(one["verdict"] for one in verdicts)
    assert set(found) == {"equal"}, [one for one in verdicts if one["verdict"] != "equal"]
    plays = [one["line"] for one in verdicts if one["line"].startswith("generator (runs for ")]
    assert len(plays) == len(published)
    assert max(line.count(",") for line in plays) > 3, "late events of later plays are among what is expected"
    pages = {page["day"]: page for page in stack.json("status")}
    counts = Counter({name: 0 for name in ("sent", "accepted", "events", "duplicates", "late")})
    for day in published:
        counts.update({name: pages[str(day)][name] for name in counts})
    print_figure(capsys, f"verified {len(published)} days: {found['equal']} lines equal; {dict(counts)}")
    assert counts["sent"] > counts["accepted"], "what is no event was refused at the door"
    assert min(counts["duplicates"], counts["late"]) > 0
    assert max(pages[str(day)]["revision"] for day in published) > 1


def test_the_last_day_is_read_on_a_desk_on_a_phone_and_in_the_dark(
    stack: Stack, ui: AirflowPage, published: list[date]
) -> None:
    browser = ui.page.context.browser
    assert browser is not None
    file = stack.settings.reports_dir / f"{published[-1]}.html"
    for size in (DESKTOP, PHONE):
        for scheme in SCHEMES:
            with opened(browser, file, size, scheme) as page:
                page.check(pictures=6)
            with opened(browser, file.with_name("index.html"), size, scheme) as overview:
                overview.check(pictures=1)
    expect(ui.overview().get_by_role("link", name=str(published[-1]))).to_be_visible()
    ui.picture("overview")
    pictures: dict[str, tuple[int, Scheme]] = {
        "report-desktop": (DESKTOP[0], "light"),
        "report-phone": (PHONE[0], "light"),
        "report-dark": (DESKTOP[0], "dark"),
    }
    for name, (width, chosen) in pictures.items():
        with opened(browser, file, (width, TALL), chosen) as page:
            page.page.screenshot(path=ui.pictures / f"{name}.png")
