"""The three ways in, as people use them: the form, the backfill, the report in the run's tab, in a real browser.

``make test`` plays one day of it. ``make test-e2e`` plays all of it, and writes the pictures of ``docs/images`` anew.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.e2e.airflow_page import DAG_ID, AirflowPage
from tests.integration.running_stack import Stack

DAY = datetime.now(UTC).date() - timedelta(days=100)
"""A day of its own, with the ten before it, far from those of other modules."""
EVENTS = 500
RUN = "by-the-form"

pytestmark = pytest.mark.e2e


def test_a_past_day_is_asked_for_by_the_form_watched_and_read_in_its_tab(stack: Stack, ui: AirflowPage) -> None:
    stack.api().call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": True})  # as it is at first
    ui.unpause()
    ui.trigger(DAY, EVENTS, 5, RUN)
    ui.watch(RUN)
    assert stack.answers(DAY) == stack.manifest(DAY)["expected"]

    report = ui.report_tab(RUN)
    expect(report.get_by_role("heading", level=1)).to_have_text(DAY.isoformat())
    expect(report.get_by_text("Balanced").first).to_be_visible()
    expect(report.locator("dl")).to_contain_text(f"{EVENTS:,}")
    ui.picture("report-tab")
    row = ui.overview().get_by_role("row").filter(has_text=DAY.isoformat())
    expect(row).to_contain_text(f"{EVENTS:,}")
    row.get_by_role("link", name=DAY.isoformat()).click()
    expect(report.get_by_role("heading", level=1)).to_have_text(DAY.isoformat())
    assert ui.errors == []
    assert ui.outside == [], "the UI and the report ask no other server"
