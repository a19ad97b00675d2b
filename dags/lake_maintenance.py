"""Keeps the lake small and fast, once a week.

**A run** expires snapshots older than `DAYBOOK_SNAPSHOT_RETENTION_DAYS`, including staged ones of failed runs, and
merges small files. It removes raw records older than `DAYBOOK_RAW_RETENTION_DAYS` (0 = removes no records), and deletes
files that no table references. Published data does not change, and neither do the next Kafka offsets.

**Input and output**: the lake. **Lateness**: does not apply; the next run makes up for a missed week.

**To run it again**: clear any task, or trigger the DAG; a second run finds nothing to do. It shares the pool `spark`
with landing and publishing, so published data does not change while one of its tasks runs. Answers may be staged.

**Owner**: data engineering.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Context, CronDataIntervalTimetable, chain, dag

from daybook.jobs import connect
from daybook_airflow.run_conf import refuse_unknown_names
from daybook_airflow.spark_operator import DaybookSparkOperator
from daybook_airflow.task_defaults import TASK_DEFAULTS, notify_on_failure

DAY = "{{ dag_run.run_after | ds }}"
STEPS = {
    "expire_snapshots": "Expires old snapshots and staged ones of failed runs, but none that a published day needs.",
    "compact_files": "Merges the small files of days that have five or more.",
    "apply_raw_retention": "Removes raw records that are older than the retention and counted in a published revision.",
    "remove_orphan_files": "Deletes files that no snapshot references, three days after they were written.",
}


def takes_no_configuration(context: Context) -> None:
    """Fail a run that has a configuration: its settings are the stack's."""
    refuse_unknown_names(context["dag_run"].conf, {}, "Nothing was changed")


@dag(
    schedule=CronDataIntervalTimetable("0 3 * * 0", timezone="UTC"),  # Sunday, after the day's own run
    start_date=datetime(2019, 11, 3, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, **notify_on_failure("Published data is unchanged.")},
    tags=["daybook"],
    doc_md=__doc__,
)
def lake_maintenance() -> None:
    """Wire the steps of the maintenance."""
    chain(
        *(
            DaybookSparkOperator(
                task_id=step,
                job="maintain_lake",
                day=DAY,
                application_args=["--day", DAY, "--run-id", "{{ run_id }}", "--step", step],
                pool=connect.DRIVER_POOL,
                needs_jvm=step == "expire_snapshots",  # by Iceberg's Java API, in seconds however many there are
                pre_execute=takes_no_configuration,
                execution_timeout=timedelta(hours=2),
                doc_md=does,
            )
            for step, does in STEPS.items()
        )
    )


lake_maintenance()
