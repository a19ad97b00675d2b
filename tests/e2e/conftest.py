"""One browser and one logged-in window for all end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from daybook.settings import REPOSITORY
from tests.e2e.airflow_page import AirflowPage
from tests.e2e.browser import browser
from tests.integration.running_stack import Stack


@pytest.fixture(scope="package")  # not longer: an open page polls Airflow all the time
def ui(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowPage]:
    """Airflow's UI in a laptop's window, logged in; ``make test-e2e`` saves its screenshots to ``docs/images``."""
    whole = os.environ.get("DAYBOOK_E2E") == "full"
    pictures = REPOSITORY / "docs" / "images" if whole else tmp_path_factory.mktemp("pictures")
    with browser() as running:
        window = running.new_context(
            viewport={"width": 1280, "height": 900}, timezone_id="UTC", reduced_motion="reduce"
        )
        page = AirflowPage(window.new_page(), stack.settings, pictures)
        page.log_in()
        yield page
