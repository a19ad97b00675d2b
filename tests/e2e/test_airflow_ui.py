"""The three ways to use the UI in a real browser: the form, the backfill, the report in the run's tab.

``make test-all`` runs one day of it. ``make test-e2e`` runs all of it, and updates the screenshots of ``docs/images``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.e2e.airflow_page import DAG_ID, AirflowPage
from tests.e2e.report_page import DESKTOP, PHONE, opened
from tests.integration.running_stack import Stack

DAY = datetime.now(UTC).date() - timedelta(days=100)
"""A day for this module with the ten days before it, far from those of other modules."""
EVENTS = 500
RUN = "by-the-form"

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_a_past_day_is_asked_for_by_the_form_watched_and_read_in_its_tab(stack: Stack, ui: AirflowPage) -> None:
    stack.api().call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": True})  # the initial state
    ui.unpause()
    ui.trigger(DAY, EVENTS, 5, RUN)
    ui.watch(RUN)
    assert stack.answers(DAY) == stack.manifest(DAY)["expected"]

    report = ui.report_tab(RUN)
    expect(report.get_by_role("heading", level=1)).to_have_text(DAY.isoformat())
    expect(report.get_by_text("Balanced").first).to_be_visible()
    expect(report.locator("dl").first).to_contain_text(f"{EVENTS:,}")
    ui.picture("report-tab")
    row = ui.overview().get_by_role("row").filter(has_text=DAY.isoformat()).first  # answers across days contain it too
    expect(row).to_contain_text(f"{EVENTS:,}")
    row.get_by_role("link", name=DAY.isoformat()).click()
    expect(report.get_by_role("heading", level=1)).to_have_text(DAY.isoformat())
    assert ui.errors == []
    assert ui.outside == [], "the UI and the report ask no other server"


def test_the_report_is_read_on_a_phone_and_in_the_dark(stack: Stack, ui: AirflowPage) -> None:
    assert ui.page.context.browser is not None
    phone = ui.page.context.browser.new_context(
        storage_state=ui.page.context.storage_state(),
        viewport={"width": 390, "height": 844},
        has_touch=True,
        color_scheme="null",  # a colour scheme set by Playwright would reach the frame whatever Airflow's theme is
    )
    phone.add_init_script("localStorage.setItem('theme', 'dark')")  # as Airflow's own switch does
    page = AirflowPage(phone.new_page(), stack.settings, ui.pictures)
    report = page.report_tab(RUN)
    expect(report.get_by_role("heading", level=1)).to_have_text(DAY.isoformat())
    shown = report.locator("body")
    red, green, blue = re.findall(r"\d+", shown.evaluate("body => getComputedStyle(body).backgroundColor"))[:3]
    assert max(int(red), int(green), int(blue)) < 64, "dark in a dark UI"

    page.go(f"/daybook/{DAY}.html")
    wide = page.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, "the page itself does not scroll sideways, its tables do"
    for table in page.page.get_by_role("table").all():
        assert table.locator("caption").count() == 1, "a screen reader says what a table holds"
    assert page.page.get_by_role("main").count() == 1
    assert page.page.get_by_role("heading", level=1).count() == 1
    assert page.errors == []
    phone.close()


def test_the_file_is_self_contained_and_accessible(stack: Stack, ui: AirflowPage) -> None:
    """From the disk: without Airflow, without a network, on a desktop and on a phone."""
    assert ui.page.context.browser is not None
    for name, pictures in ((f"{DAY}.html", 4), ("index.html", 1)):
        for size in (DESKTOP, PHONE):
            with opened(ui.page.context.browser, stack.settings.reports_dir / name, size) as page:
                page.check(pictures)
