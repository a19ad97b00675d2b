"""Builds a day of game events, from Kafka to a published day that balances.

**A run produces** one revision of its day: `events`, `rejected_events`, a table for each answer, a row of `day_ledger`
that proves the balance, and an HTML page. It also restates earlier days that got late events.

**Input**: the intake's Kafka topic, from the last landed offset to the end offsets that `wait_for_offsets` freezes.

**Which day**: the `day` parameter, else the day of the run's logical date. If that day had not ended when the run was
scheduled to start, the last day that had: a trigger without a date means yesterday. UTC. A backfill ignores `day`.

**Generated events**: without API keys, a run that requests no number of events generates `DAYBOOK_GENERATED_EVENTS`
(20,000), unless the day has events from other senders. A day that was generated before continues with the same events.
With keys, a run builds live traffic. Its day closes `DAYBOOK_DAY_GRACE_MINUTES` after its end; later events restate it.

**Owner**: data engineering. **Alerting**: if a scheduled day is not published `DAYBOOK_PUBLISH_WITHIN_HOURS` after its
end, or a task fails, a notification is sent to `DAYBOOK_NOTIFY_URLS`.

**Output for other DAGs**: the assets `game.events` and `game.<answer>`; an event's `days` lists the published days.

**To run it again**: trigger the day again; an unchanged day is not published again unless `force` is set. A failed task
can be cleared at any time: readers see the previous revision until `publish_day` has proved the new one. Many days:
`airflow backfill create --dag-id game_events_daily --from-date D --to-date D`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, TriggerRule, dag, task

from daybook.jobs import connect
from daybook.settings import load_settings
from daybook.sql.answers import AREAS
from daybook_airflow.assets import table_assets
from daybook_airflow.day_params import day_params
from daybook_airflow.day_tasks import generate_events, write_report
from daybook_airflow.deadline import published_by
from daybook_airflow.macros import MACROS
from daybook_airflow.offsets_sensor import KafkaOffsetsSensor
from daybook_airflow.spark_operator import DaybookSparkOperator
from daybook_airflow.task_defaults import TASK_DEFAULTS, notify_on_failure

DAY = "{{ daybook_day(dag_run, params) }}"
JOB_ARGS = ["--day", DAY, "--run-id", "{{ run_id }}"]
STAGE_ARGS = ["--stage", '{{ daybook_result(ti, "land_events") | tojson }}']
STAGED_ANSWERS = "{{ [" + ", ".join(f'daybook_result(ti, "{area}")' for area in AREAS) + "] | tojson }}"
FROZEN = '{{ ti.xcom_pull(task_ids="wait_for_offsets") | tojson }}'
HOUR = timedelta(hours=1)  # a hundred times the longest step of a small day; generates MAX_EVENTS at 3,000 a second
SPARK_ARGS: dict[str, Any] = {"day": DAY, "offsets": FROZEN, "pool": connect.DRIVER_POOL, "execution_timeout": HOUR}
# answer tasks only write staged snapshots: they may run alongside a landing and maintenance
ANSWER_ARGS = SPARK_ARGS | ({"pool": connect.SERVER_POOL} if load_settings().has_spark_connect else {})


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),  # `@daily` has no width and names the wrong day
    start_date=datetime(2019, 11, 1, tzinfo=UTC),
    catchup=False,  # past days are built by `airflow backfill create`, never by unpausing
    max_active_runs=4,  # a run that waits for its day to close must not hold up the others; any order of runs is safe
    default_args=TASK_DEFAULTS,
    deadline=published_by(load_settings()),
    params=day_params(load_settings()),
    user_defined_macros=MACROS,
    tags=["daybook"],
    doc_md=__doc__,
)
def game_events_daily() -> None:
    """Wire the steps of a day."""
    wait_for_offsets = KafkaOffsetsSensor(
        task_id="wait_for_offsets",
        topic=load_settings().kafka_topic,
        day=DAY,
        targets='{{ (ti.xcom_pull(task_ids="generate_events") or {}).get("offsets") | tojson }}',
        not_before='{{ "" if ti.xcom_pull(task_ids="generate_events") else daybook_closed_at(dag_run, params) }}',
        poke_interval=5,  # acknowledged records are visible within a second; one check is two requests to the broker
        timeout=timedelta(hours=2),  # if the broker is unavailable for longer, a person has to look
        execution_timeout=timedelta(minutes=5),  # for the one check before it defers: 40 s if nothing answers
        trigger_rule=TriggerRule.NONE_FAILED,  # generate_events is skipped for live traffic
        doc_md="Waits until all acknowledged events are visible in Kafka; for live traffic, until the day is closed. "
        "Then freezes the end offset of every partition: no later step reads past it.",
    )
    force = '{{ "--force" if params.force else "" }}'
    land_events = DaybookSparkOperator(
        task_id="land_events",
        job="land_events",
        application_args=[*JOB_ARGS, "--until", '{{ daybook_result(ti, "wait_for_offsets") | tojson }}', force],
        doc_md="Lands the offsets `[last landed, frozen end)` in `raw_events`, then stages the affected days; readers "
        "do not see them yet.",
        **SPARK_ARGS,
    )
    answers = [
        DaybookSparkOperator(
            task_id=area,
            job="answer_questions",
            application_args=["--area", area, *JOB_ARGS, *STAGE_ARGS],
            doc_md=f"Runs the `.sql` files in `spark/sql/{area}` on the staged events and stages one table for each.",
            **ANSWER_ARGS,
        )
        for area in AREAS
    ]
    manifest = "--manifest={{ daybook_manifest(dag_run, params) }}"
    publish_day = DaybookSparkOperator(
        task_id="publish_day",
        job="publish_day",
        application_args=[*JOB_ARGS, *STAGE_ARGS, "--answers", STAGED_ANSWERS, manifest],
        doc_md="Proves that the ledger balances, then publishes all staged tables. If a line does not balance, the "
        "error names it and the difference, and readers still see the previous revision.",
        outlets=list(table_assets().values()),
        **SPARK_ARGS,
    )
    safe = "The days that publish_day published stay published; their reports are out of date or missing."
    report = task(execution_timeout=timedelta(minutes=10), **notify_on_failure(safe))(write_report)()
    generated = task(execution_timeout=HOUR)(generate_events)()
    generated >> wait_for_offsets >> land_events >> answers >> publish_day >> report


game_events_daily()
