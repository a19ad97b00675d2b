"""A day of game events: from Kafka to a page that balances.

**A run produces** one revision of its day: `events` and `rejected_events`, one table for each answer, a row of
`day_ledger` that proves the balance, an HTML page. Days that late events reach are restated by the same run.

**Input**: the intake's Kafka topic, from the last landed offset to the end offsets that `wait_for_offsets` freezes. No
consumer group is read: offsets stand in the lake, in the commit that landed the records.

**Which day**: the `day` parameter, else the day of the run's logical date, but never one that had not ended when the
run became due: a trigger without a date means yesterday. Days are UTC. A backfill ignores the parameter.

**Lateness**: live traffic's day closes `DAYBOOK_DAY_GRACE_MINUTES` after its end; later events restate it.

**To run it again**: trigger the day again; what has not changed is not published anew, unless `force` is set. A failed
task can be cleared at any time: readers see the former page until `publish_day` has proved the new one. Many days:
`airflow backfill create --dag-id game_events_daily --from-date D --to-date D`.

**Owner**: data engineering.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from daybook.settings import settings
from daybook_airflow.macros import MACROS, daybook_day
from daybook_airflow.offsets_sensor import KafkaOffsetsSensor
from daybook_airflow.spark_operator import DaybookSparkOperator
from daybook_airflow.task_defaults import TASK_DEFAULTS

DAY = "{{ daybook_day(dag_run, params) }}"
JOB_ARGS = ["--day", DAY, "--run-id", "{{ run_id }}"]
STAGE_ARGS = ["--stage", '{{ ti.xcom_pull(task_ids="land_events") | tojson }}']
# one Spark driver at a time: two would not fit the memory of a laptop, and a job of seconds gains nothing from company
SPARK_ARGS: dict[str, Any] = {"day": DAY, "pool": "spark", "execution_timeout": timedelta(hours=1)}


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),  # `@daily` has no width and names the wrong day
    start_date=datetime(2019, 11, 1, tzinfo=UTC),
    catchup=False,  # days gone by are asked for by `airflow backfill create`, never started by unpausing
    max_active_runs=4,  # a run that waits for its day to close must not hold up the others; any order of runs is safe
    default_args=TASK_DEFAULTS,
    params={
        "day": Param(
            None, type=["null", "string"], format="date", description="the day to build, UTC; empty = yesterday"
        ),
        "events": Param(
            settings().generated_events, type="integer", minimum=0, description="events to generate; 0 = live traffic"
        ),
        "seed": Param(settings().generated_seed, type="integer", minimum=0, description="seed of a generated day"),
        "duplicates": Param(0, type="number", minimum=0, maximum=1, description="share of generated events sent twice"),
        "late": Param(0, type="number", minimum=0, maximum=1, description="share that happened 1 to 30 days earlier"),
        "invalid": Param(0, type="number", minimum=0, maximum=1, description="share of events that are none, besides"),
        "force": Param(False, type="boolean", description="build the day again though nothing changed"),
    },
    user_defined_macros=MACROS,
    tags=["daybook"],
    doc_md=__doc__,
)
def game_events_daily() -> None:
    """Wire the steps of a day."""

    @task(execution_timeout=timedelta(hours=1))
    def generate_events(dag_run: Any = None, params: Any = None) -> dict[str, Any]:
        """Play a seeded day of players against the intake; skipped for live traffic.

        Leaves the manifest: what was sent, accepted and refused, the highest acknowledged offset of each partition.
        A second try goes on where the first one was killed.
        """
        if not params["events"]:
            raise AirflowSkipException("live traffic: nothing to generate")
        from event_generator.manifest import Request
        from event_generator.mischief import Mischief
        from event_generator.play import play_day

        mischief = Mischief(params["duplicates"], params["late"], params["invalid"])
        day = date.fromisoformat(daybook_day(dag_run, params))
        manifest, _ = play_day(Request(day, params["events"], params["seed"], mischief), settings())
        return manifest

    wait_for_offsets = KafkaOffsetsSensor(
        task_id="wait_for_offsets",
        topic=settings().kafka_topic,
        day=DAY,
        targets='{{ (ti.xcom_pull(task_ids="generate_events") or {}).get("offsets") | tojson }}',
        not_before='{{ "" if ti.xcom_pull(task_ids="generate_events") else daybook_closed_at(dag_run, params) }}',
        poke_interval=5,
        timeout=timedelta(hours=2),
        execution_timeout=timedelta(minutes=5),
        trigger_rule=TriggerRule.NONE_FAILED,  # generate_events is skipped for live traffic
        doc_md="Waits until Kafka shows all that was acknowledged, for live traffic until the day is closed. Freezes "
        "the end offset of every partition: the only *until* of all later steps.",
    )

    land_events = DaybookSparkOperator(
        task_id="land_events",
        job="land_events",
        application_args=[
            *JOB_ARGS,
            "--until",
            '{{ ti.xcom_pull(task_ids="wait_for_offsets") | tojson }}',
            '{{ "--force" if params.force else "" }}',
        ],
        doc_md="Lands `[last landed, frozen end)` in `raw_events`; stages the days it touches, unseen by readers.",
        **SPARK_ARGS,
    )

    answers = [
        DaybookSparkOperator(
            task_id=area,
            job="answer_questions",
            application_args=["--area", area, *JOB_ARGS, *STAGE_ARGS],
            doc_md=f"Runs the `.sql` files of `spark/sql/{area}` on the staged events; stages one table for each.",
            **SPARK_ARGS,
        )
        for area in ("user_behaviour", "host_providers")
    ]

    publish_day = DaybookSparkOperator(
        task_id="publish_day",
        job="publish_day",
        application_args=[
            *JOB_ARGS,
            *STAGE_ARGS,
            "--answers",
            '{{ ti.xcom_pull(task_ids=["user_behaviour", "host_providers"]) | tojson }}',
            "--manifest={{ daybook_manifest(dag_run, params) }}",
        ],
        doc_md="Proves that the ledger balances, then publishes all staged tables. If a line does not balance it says "
        "which and by how much, and readers still see the former page.",
        **SPARK_ARGS,
    )

    @task(execution_timeout=timedelta(minutes=10))
    def write_report(published: dict[str, Any], dag_run: Any = None, params: Any = None) -> list[str]:
        """Write the HTML pages of the run's day and of every day it restated, and the index of all days."""
        from daybook.report import write_report as write_pages

        dates = [page["day"] for page in published["published"]]
        return [str(page) for page in write_pages(settings(), daybook_day(dag_run, params), dates)]

    report = write_report(publish_day.output)  # type: ignore[arg-type]  # Airflow hands over the value
    generate_events() >> wait_for_offsets >> land_events >> answers >> publish_day >> report


game_events_daily()
