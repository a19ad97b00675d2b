"""The Python tasks of the daily DAG."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from daybook.settings import load_settings
from daybook_airflow.day_params import day_params
from daybook_airflow.macros import daybook_day, daybook_result
from daybook_airflow.run_conf import checked_day, generated_request


def generate_events(dag_run: Any = None, params: Any = None) -> dict[str, Any]:
    """Check the run's configuration, then generate a seeded day and send it to the intake; skip live traffic.

    A retry continues where the killed try stopped.

    Returns:
        Part of the manifest: the counts of sent, accepted, refused and injected events for the reader of the run, and
        the highest acknowledged offset of each partition for the wait. The rest stays in the manifest's file.
    """
    day = checked_day(dag_run, params, day_params(load_settings()))
    request = generated_request(load_settings(), day, dag_run, params)
    log = logging.getLogger(__name__)
    if isinstance(request, str):
        raise AirflowSkipException(request)
    from event_generator.play import play_day

    def wait(reason: str) -> None:
        log.info("no acknowledgement yet: %s", reason)

    manifest, _ = play_day(request, load_settings(), waits=wait)
    shown = {"sent", "accepted", "refused", "injected", "offsets"}
    return manifest.model_dump(mode="json", include=shown)


def write_report(ti: Any = None, dag_run: Any = None, params: Any = None) -> list[str]:
    """Write the HTML pages of the run's day and of every day it restated, and the index of all days."""
    from daybook.report.write import write_report_of_run

    dates = [one["day"] for one in daybook_result(ti, "publish_day")["published"]]
    return [str(file) for file in write_report_of_run(load_settings(), daybook_day(dag_run, params), dates)]
