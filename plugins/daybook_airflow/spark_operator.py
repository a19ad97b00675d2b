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
from daybook.jobs.config import JOBS_DIR, jars, submit_conf
from daybook.settings import load_settings
from daybook_airflow.assets import published_extra, table_assets


class DaybookSparkOperator(SparkSubmitOperator):
    """Runs one of ``spark/jobs`` for a day and returns the job's summary.

    The job is called with ``--summary FILE`` and writes a JSON object to that file. If it fails with a known error,
    the object is ``{"error": "...", "try_again": ...}``; that text becomes the task's error and its last log line. A
    summary ``{"skip": "..."}`` means that this step and the later ones have nothing to do.

    On the embedded stack the job is a client of the warm Spark server (:mod:`daybook.stack.spark_connect`); a server
    that is just restarting is waited for. Elsewhere it has its own driver: jars and configuration come from
    :mod:`daybook.jobs.config` when the step starts, the master from the connection ``spark_default``.

    :param job: file name in ``spark/jobs``, without ``.py``
    :param day: the run's day, for the application's name and for messages (templated)
    :param needs_jvm: whether the job uses Spark's JVM directly and so needs its own driver everywhere
    :param offsets: the frozen end of each partition, JSON, for every line of the log (templated)
    :param outlets: assets of the lake's tables; their events list the published days, with revision and rows
    :param application_args: the job's arguments without ``--summary`` (templated); an argument that renders to an empty
        text is left out, so that a template can be a flag
    :return: the job's summary
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "day", "offsets")

    def __init__(
        self,
        *,
        job: str,
        day: str,
        offsets: str = "",
        needs_jvm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(application=str(JOBS_DIR / f"{job}.py"), name=f"{job} {day}", **kwargs)
        self.job = job
        self.day = day
        self.offsets = offsets
        self.needs_jvm = needs_jvm
        self._client: SubprocessHook | None = None

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]  # Spark's returns nothing
        """Submit, wait, and read the summary.

        Raises:
            AirflowException: the job failed; the text is the job's own error if it wrote one.
            AirflowFailException: it failed and would fail in the same way again: the task is not retried.
            AirflowSkipException: the job had nothing to do; the text is the reason.
        """
        on_server = load_settings().has_spark_connect and not self.needs_jvm
        if on_server and (trouble := connect.wait_for_server(load_settings())):
            raise AirflowException(
                f"{self.day}: the Spark server is unavailable ({trouble}); nothing was changed. `daybook status` shows "
                f"the stack's parts, and logs/spark-connect.log its output. Clear {self.task_id} when it is up again"
            )
        with tempfile.TemporaryDirectory(prefix="daybook-") as folder:
            summary_file = Path(folder) / "summary.json"
            self.application_args = [*filter(None, self.application_args or []), "--summary", str(summary_file)]
            try:
                self._run_on_server() if on_server else self._run_driver(context)
            except AirflowException as died:
                # the provider's text is the command line and the end of Spark's output; the log has both already
                failure = _read(summary_file) or {}
                if "error" not in failure:  # killed before it wrote a summary, or after it wrote a successful one
                    failure = {"error": self._died(str(died)), "try_again": True}
                kind = AirflowException if failure["try_again"] else AirflowFailException
                raise kind(failure["error"]) from None
            summary = _read(summary_file)
        if summary is None:
            raise AirflowException(
                f"{self.day}: {self.job} succeeded but wrote no summary; readers see what they saw before."
                f" Clear {self.task_id} to run it again"
            )
        if "skip" in summary:
            self.log.info("%s", summary["skip"])
            raise AirflowSkipException(summary["skip"])
        for table, asset in table_assets().items():
            if asset in self.outlets:
                context["outlet_events"][asset].extra = published_extra(table, summary["published"])
        return summary

    def _run_driver(self, context: Context) -> None:
        """Run the job with its own driver until it ends.

        Raises:
            AirflowException: it failed.
        """
        self.conf = {**submit_conf(load_settings()), **(self.conf or {})}
        self.jars = self.jars or jars(load_settings())
        super().execute(context)

    def _run_on_server(self) -> None:
        """Run the job as a client of the server until it ends.

        Raises:
            AirflowException: it failed.
        """
        self._client = SubprocessHook()
        result = self._client.run_command(
            connect.client_command(self.job, self.application_args or []),
            env={**os.environ, **connect.client_environment(load_settings())},
        )
        if result.exit_code != 0:
            raise AirflowException(f"{self.job} on the Spark server. Error code is: {result.exit_code}")

    def on_kill(self) -> None:
        """Stop the job: the client or the driver."""
        if self._client is not None:
            self._client.send_sigterm()  # type: ignore[no-untyped-call]  # the provider has no types for it
        else:
            super().on_kill()

    def _died(self, output: str) -> str:
        """Explain by its exit status why a job ended without an error message."""
        status = re.search(r"Error code is: (-?\d+)", output)
        ended = f"ended with status {status[1]}" if status else "did not start"
        return (
            f"{self.day}: {self.job} {ended} and left no error message; it was probably killed, or Spark ran out of "
            "memory (DAYBOOK_SPARK_DRIVER_MEMORY). The lines above are its last output"
        )


def _read(file: Path) -> dict[str, Any] | None:
    """Read the job's summary; None if it is missing or incomplete."""
    try:
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return summary
