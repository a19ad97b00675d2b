"""Airflow's UI as a person uses it: actions on a real browser page."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from playwright.sync_api import FrameLocator, Locator, Page, expect

from daybook import airflow_client
from daybook.airflow_client import USER
from daybook.settings import Settings

DAG_ID = "game_events_daily"
expect.set_options(timeout=60_000)  # Airflow takes seconds to answer while a Spark driver uses both cores
RUN_TIMEOUT_MS = 10 * 60 * 1_000
"""A day takes a minute on a quiet machine."""


class AirflowPage:
    """A browser page with the actions of one person."""

    def __init__(self, page: Page, settings: Settings, pictures: Path) -> None:
        self.page = page
        self.settings = settings
        self.pictures = pictures
        self.errors: list[str] = []
        """Errors from the browser's console."""
        self.outside: list[str] = []
        """Requested URLs outside this Airflow."""
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((self.settings.airflow_url, "data:", "blob:")):
            self.outside.append(url)

    def picture(self, name: str) -> None:
        """Save a screenshot."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def go(self, path: str) -> None:
        """Open a page of this Airflow."""
        self.page.goto(self.settings.airflow_url + path)

    def log_in(self) -> None:
        """Log in with the form to which Airflow redirects a visitor."""
        self.go(f"/dags/{DAG_ID}")
        expect(self.page.get_by_label("Username")).to_be_visible()
        self.errors.clear()  # a 401 before the login is expected
        self.page.get_by_label("Username").fill(USER)
        self.page.get_by_label("Password").fill(airflow_client.password(self.settings))
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Trigger Dag")).to_be_visible()

    def unpause(self) -> None:
        """Unpause the DAG."""
        self.go(f"/dags/{DAG_ID}")
        switch = self.page.get_by_test_id("toggle-pause").first
        expect(switch).to_have_attribute("data-state", "unchecked")
        switch.click()
        expect(switch).to_have_attribute("data-state", "checked")

    def _number(self, dialog: Locator, label: str, value: int) -> None:
        field = dialog.get_by_role("spinbutton", name=label)
        field.fill(str(value))
        field.blur()

    def trigger(self, day: date, events: int, seed: int, run_id: str) -> None:
        """Fill in and submit the trigger form."""
        self.go(f"/dags/{DAG_ID}")
        self.page.get_by_role("button", name="Trigger Dag").click()
        dialog = self.page.get_by_role("dialog")
        dialog.locator("#element_day").fill(day.isoformat())
        self._number(dialog, "Generated events", events)
        self._number(dialog, "Seed", seed)
        self.picture("trigger-form")
        dialog.get_by_text("Advanced Options").click()
        dialog.locator("input[name=dagRunId]").fill(run_id)
        dialog.get_by_role("button", name="Trigger", exact=True).click()
        expect(dialog).to_be_hidden()

    def watch(self, run_id: str) -> None:
        """Watch a run until its badge shows success."""
        self.go(f"/dags/{DAG_ID}/runs/{run_id}")
        badge = self.page.get_by_role("heading", name=run_id).locator("..").get_by_test_id("state-badge")
        expect(badge).to_have_text(re.compile("Success|Failed"), timeout=RUN_TIMEOUT_MS)
        expect(badge).to_have_text("Success")

    def backfill(self, first: date, last: date, max_active_runs: int) -> None:
        """Fill in and submit the backfill form."""
        self.go(f"/dags/{DAG_ID}")
        self.page.get_by_role("button", name="Trigger Dag").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Run this Dag for a range of dates").click()
        self._date(dialog, 0, first)
        self._date(dialog, 1, last)
        dialog.locator("input[name=max_active_runs]").fill(str(max_active_runs))
        expect(dialog.get_by_text("will be triggered")).to_be_visible()
        self.picture("backfill-form")
        dialog.get_by_role("button", name="Run Backfill").click()
        expect(dialog).to_be_hidden()

    def _date(self, dialog: Locator, place: int, day: date) -> None:
        dialog.get_by_test_id("datetime-input").nth(place).click()
        calendar = self.page.locator("[data-scope=popover][data-part=content][data-state=open]")
        calendar.get_by_placeholder("YYYY/MM/DD").fill(f"{day:%Y/%m/%d}")
        calendar.get_by_placeholder("HH:mm").fill("00:00")
        self.page.keyboard.press("Enter")
        self.page.keyboard.press("Escape")
        expect(calendar).to_be_hidden()

    def clear_run(self, run_id: str) -> None:
        """Clear all tasks of a run, so that it runs again."""
        self.go(f"/dags/{DAG_ID}/runs/{run_id}")
        self.page.get_by_role("button", name="Press shift+c to clear").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Clear existing tasks").click()
        dialog.get_by_role("button", name="Confirm").click()
        expect(dialog).to_be_hidden()

    def report_tab(self, run_id: str) -> FrameLocator:
        """Open the report of a run in its tab."""
        self.go(f"/dags/{DAG_ID}/runs/{run_id}")
        self.page.get_by_role("link", name="Day's report").click()
        return self.page.frame_locator("iframe")

    def overview(self) -> FrameLocator:
        """Open the overview of days from the menu."""
        self.go("/")
        self.page.get_by_role("link", name="Daybook", exact=True).click()
        return self.page.frame_locator("iframe")
