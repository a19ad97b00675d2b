"""Keeps the lake small and fast, once a week.

**A run** forgets former states of the tables and what failed runs left staged (older than
`DAYBOOK_SNAPSHOT_RETENTION_DAYS`), merges small files, removes raw records older than `DAYBOOK_RAW_RETENTION_DAYS` (0 =
none), and deletes files that no table names any more. What readers see stays as it is, and so does where the record
stands in Kafka.

**Input and output**: the lake. **Lateness**: none; a week that was missed is made up for by the next run.

**To run it again**: clear any task, or trigger the DAG; a second run finds nothing to do. It shares the pool `spark`
with landing and publishing, so nothing that readers see changes beside one of its tasks; answers may be staged.

**Owner**: data engineering.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Context, CronDataIntervalTimetable, chain, dag

from daybook_airflow.run_conf import refuse_unknown_names
from daybook_airflow.spark_operator import DaybookSparkOperator
from daybook_airflow.task_defaults import TASK_DEFAULTS, told

DAY = "{{ dag_run.run_after | ds }}"
STEPS = {
    "expire_snapshots": "Forgets former states of the tables and staged leftovers; never what a page stands on.",
    "compact_files": "Merges small files of days that have five or more.",
    "apply_raw_retention": "Removes raw records that a page has counted and that are older than the retention.",
    "remove_orphan_files": "Deletes files that no snapshot names, three days after they were written.",
}


def takes_no_configuration(context: Context) -> None:
    """Fail a run that was asked for something: its settings are the stack's."""
    refuse_unknown_names(context["dag_run"].conf, {}, "Nothing was changed")


@dag(
    schedule=CronDataIntervalTimetable("0 3 * * 0", timezone="UTC"),  # Sunday, after the day's own run
    start_date=datetime(2019, 11, 3, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, **told("What readers see is unchanged.")},
    tags=["daybook"],
    doc_md=__doc__,
)
def lake_maintenance() -> None:
    """Wire the steps of the upkeep."""
    chain(
        *(
            DaybookSparkOperator(
                task_id=step,
                job="maintain_lake",
                day=DAY,
                application_args=["--day", DAY, "--run-id", "{{ run_id }}", "--step", step],
                pool="spark",
                pre_execute=takes_no_configuration,
                execution_timeout=timedelta(hours=2),
                doc_md=does,
            )
            for step, does in STEPS.items()
        )
    )


lake_maintenance()
