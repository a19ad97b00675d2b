"""One step of the day on Spark."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from daybook.jobs import connect
from daybook.jobs.config import JOBS_DIR, MANY_RECORDS, jars, submit_conf
from daybook.kafka.offsets import parse_offsets
from daybook.pipeline.position import records_ahead
from daybook.settings import settings
from daybook_airflow.assets import published_extra, table_assets


class DaybookSparkOperator(SparkSubmitOperator):
    """Runs one of ``spark/jobs`` for a day and returns the summary that the job leaves.

    The job is called with ``--summary FILE``: it writes a JSON object there, if it fails with something to say
    ``{"error": "...", "try_again": ...}``; that text then is the task's error and its last log line. Jars and
    configuration come from :mod:`daybook.jobs.config` when the step starts, the master from the connection
    ``spark_default``. With ``on_server`` the job is a client of the stack's Spark Connect server instead, if that is
    there (:mod:`daybook.stack.spark_connect`). A summary ``{"skip": "..."}`` means that there is nothing to do for this
    step and those after it.

    :param job: file name in ``spark/jobs``, without ``.py``
    :param day: the run's day, for the application's name and for messages (templated)
    :param lands: whether it lands Kafka's records up to ``offsets``: its driver's JVM then suits their number
    :param on_server: whether the job may run on the stack's Spark Connect server
    :param offsets: the frozen end of each partition, JSON, for every line of the log (templated)
    :param outlets: assets of the lake's tables; their events say which days were published, with revision and rows
    :param application_args: the job's arguments without ``--summary`` (templated); one that renders to an empty text is
        left out, so that a template can be a flag
    :return: the job's summary
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "day", "offsets")

    def __init__(
        self,
        *,
        job: str,
        day: str,
        offsets: str = "",
        lands: bool = False,
        on_server: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(application=str(JOBS_DIR / f"{job}.py"), name=f"{job} {day}", **kwargs)
        self.job = job
        self.day = day
        self.offsets = offsets
        self.lands = lands
        self.on_server = on_server
        self._client: SubprocessHook | None = None

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]  # Spark's returns nothing
        """Submit, wait, and read the summary.

        Raises:
            AirflowException: the job failed; the text is the job's own if it left one.
            AirflowFailException: it failed, and would fail the same way again: the task is not tried again.
            AirflowSkipException: the job found nothing to do; the text says why.
        """
        with tempfile.TemporaryDirectory(prefix="daybook-") as folder:
            summary_file = Path(folder) / "summary.json"
            self.application_args = [*filter(None, self.application_args or []), "--summary", str(summary_file)]
            try:
                self._run(context)
            except AirflowException as died:
                # the provider's text is the command line and Spark's tail, both in the log above already
                told = _read(summary_file) or {}
                if "error" not in told:  # killed before it could write, or after it had written that all was well
                    told = {"error": self._died(str(died)), "try_again": True}
                kind = AirflowException if told["try_again"] else AirflowFailException
                raise kind(told["error"]) from None
            summary = _read(summary_file)
        if summary is None:
            raise AirflowException(
                f"{self.day}: {self.job} ended well but left no summary; readers see what they saw before."
                f" Clear {self.task_id} to run it again"
            )
        if "skip" in summary:
            self.log.info("%s", summary["skip"])
            raise AirflowSkipException(summary["skip"])
        for table, asset in table_assets().items():
            if asset in self.outlets:
                context["outlet_events"][asset].extra = published_extra(table, summary["published"])
        return summary

    def _run(self, context: Context) -> None:
        """Run the job, by a client of the server or by a driver of its own, until it ends.

        Raises:
            AirflowException: it failed.
        """
        if self.on_server and settings().has_spark_connect:
            trouble = connect.trouble(settings())
            if trouble is None:
                self._run_on_server()
                return
            self.log.warning("the Spark server is away (%s): this step starts a driver of its own", trouble)
        self.conf = {**submit_conf(settings(), records=self._records()), **(self.conf or {})}
        self.jars = self.jars or jars(settings())
        super().execute(context)

    def _records(self) -> int:
        """How many records the job is to land at most."""
        if not self.lands:
            return 0
        until = parse_offsets(self.offsets)
        # the lake is looked at, half a second, only where it can make a difference
        return records_ahead(settings(), until) if sum(until.values()) >= MANY_RECORDS else 0

    def _run_on_server(self) -> None:
        self._client = SubprocessHook()
        result = self._client.run_command(
            connect.client_command(self.job, self.application_args or []),
            env={**os.environ, **connect.client_environment(settings())},
        )
        if result.exit_code != 0:
            raise AirflowException(f"{self.job} on the Spark server. Error code is: {result.exit_code}")

    def on_kill(self) -> None:
        """End the job: the client, or the driver."""
        if self._client is not None:
            self._client.send_sigterm()  # type: ignore[no-untyped-call]  # the provider gives it no types
        else:
            super().on_kill()

    def _died(self, said: str) -> str:
        """Why a job that left no word ended, as far as its exit status tells."""
        status = re.search(r"Error code is: (-?\d+)", said)
        ended = f"ended with status {status[1]}" if status else "did not start"
        return (
            f"{self.day}: {self.job} {ended} and left no word, as one does that was killed or whose Spark ran out of "
            "memory (DAYBOOK_SPARK_DRIVER_MEMORY); the lines above are its last"
        )


def _read(file: Path) -> dict[str, Any] | None:
    """What the job wrote; none if it wrote nothing whole."""
    try:
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return summary
