"""A day of game events: from Kafka to a page that balances.

**A run produces** one revision of its day: `events` and `rejected_events`, one table for each answer, a row of
`day_ledger` that proves the balance, an HTML page. Days that late events reach are restated by the same run.

**Input**: the intake's Kafka topic, from the last landed offset to the end offsets that `wait_for_offsets` freezes. No
consumer group is read: offsets stand in the lake, in the commit that landed the records.

**Which day**: the `day` parameter, else the day of the run's logical date, but never one that had not ended when the
run became due: a trigger without a date means yesterday. Days are UTC. A backfill ignores the parameter.

**Generated events**: where no API key is asked for, so that only this machine can send events, a run that is not asked
for a number of events generates `DAYBOOK_GENERATED_EVENTS` (20,000) of its day, a backfill's too. A day that was
generated before goes on with the same events; a day that has events of its own gets no generated ones. Where keys are
asked for, a run builds live traffic.

**Lateness**: live traffic's day closes `DAYBOOK_DAY_GRACE_MINUTES` after its end; later events restate it.

**Deadline**: a scheduled day that is not published `DAYBOOK_PUBLISH_WITHIN_HOURS` after its end is told, as is a task
that failed, to whoever `DAYBOOK_NOTIFY_URLS` names.

**Output for other DAGs**: the assets `game.events` and `game.<answer>`; an event's `days` says what was published.

**To run it again**: trigger the day again; what has not changed is not published anew, unless `force` is set. A failed
task can be cleared at any time: readers see the former page until `publish_day` has proved the new one. Many days:
`airflow backfill create --dag-id game_events_daily --from-date D --to-date D`.

**Owner**: data engineering.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from daybook.jobs import connect
from daybook.settings import load_settings
from daybook_airflow.assets import table_assets
from daybook_airflow.deadline import published_by
from daybook_airflow.macros import MACROS, daybook_day, daybook_result
from daybook_airflow.offsets_sensor import KafkaOffsetsSensor
from daybook_airflow.run_conf import checked_day, generated_request
from daybook_airflow.spark_operator import DaybookSparkOperator
from daybook_airflow.task_defaults import TASK_DEFAULTS, told

DAY = "{{ daybook_day(dag_run, params) }}"
JOB_ARGS = ["--day", DAY, "--run-id", "{{ run_id }}"]
STAGE_ARGS = ["--stage", '{{ daybook_result(ti, "land_events") | tojson }}']
# the pool has one slot on a laptop, more where a cluster has room for drivers; an hour is a hundred times the longest
# step of a small day
SPARK_ARGS: dict[str, Any] = {
    "day": DAY,
    "offsets": '{{ ti.xcom_pull(task_ids="wait_for_offsets") | tojson }}',
    "pool": "spark",
    "execution_timeout": timedelta(hours=1),
}
# answers are staged, which nobody sees, so they may run beside a landing and the upkeep; what readers see changes by
# one step at a time
ANSWER_ARGS = SPARK_ARGS | ({"pool": connect.POOL} if load_settings().has_spark_connect else {})
MAX_EVENTS = 10_000_000
BY_DEFAULT = (
    f"Runs that are not asked for a number generate {load_settings().events_of_a_run}, of a day without events of its "
    "own."
    if load_settings().events_of_a_run
    else "Runs that are not asked for a number build live traffic."
)
# bounds are in allOf: of a field with a minimum the form changes -1 to it without a word, and -1 must be refused
PARAMS = {
    "day": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="The day to build, UTC. Empty: yesterday, or the logical date's. A backfill ignores it.",
    ),
    "events": Param(
        load_settings().events_of_a_run,
        type="integer",
        allOf=[{"minimum": 0, "maximum": MAX_EVENTS}],
        title="Generated events",
        description=f"How many events of made-up players to send first. 0: live traffic only. {BY_DEFAULT}",
    ),
    "seed": Param(
        load_settings().generated_seed,
        type="integer",
        allOf=[{"minimum": 0}],
        title="Seed",
        description="Decides the generated events: the same seed gives the same day.",
    ),
    "force": Param(
        False,
        type="boolean",
        title="Build again",
        description="Build the day's page anew though nothing has changed.",
    ),
    **{
        name: Param(
            0,
            type="number",
            allOf=[{"minimum": 0, "maximum": 1}],
            title=title,
            description=description,
            section="Bad clients",
        )
        for name, title, description in (
            ("duplicates", "Share sent twice", "Of the generated events, 0 to 1."),
            (
                "late",
                "Share that comes late",
                "Of the generated events, 0 to 1; they happened 1 to 30 days ago.",
            ),
            ("invalid", "Share that is no event", "Besides the generated events, 0 to 1; the intake refuses them."),
        )
    },
}


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),  # `@daily` has no width and names the wrong day
    start_date=datetime(2019, 11, 1, tzinfo=UTC),
    catchup=False,  # days gone by are asked for by `airflow backfill create`, never started by unpausing
    max_active_runs=4,  # a run that waits for its day to close must not hold up the others; any order of runs is safe
    default_args=TASK_DEFAULTS,
    deadline=published_by(load_settings()),
    params=PARAMS,
    user_defined_macros=MACROS,
    tags=["daybook"],
    doc_md=__doc__,
)
def game_events_daily() -> None:
    """Wire the steps of a day."""

    @task(execution_timeout=timedelta(hours=1))  # MAX_EVENTS at 3,000 a second
    def generate_events(dag_run: Any = None, params: Any = None) -> dict[str, Any]:
        """Check what the run was asked for; play a seeded day of players against the intake; skipped for live traffic.

        Leaves of the manifest what was sent, accepted, refused and injected, for the reader of the run, and the highest
        acknowledged offset of each partition, for the wait; the rest stays in its file. A second try goes on where the
        first one was killed.
        """
        day = checked_day(dag_run, params, PARAMS)
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

    wait_for_offsets = KafkaOffsetsSensor(
        task_id="wait_for_offsets",
        topic=load_settings().kafka_topic,
        day=DAY,
        targets='{{ (ti.xcom_pull(task_ids="generate_events") or {}).get("offsets") | tojson }}',
        not_before='{{ "" if ti.xcom_pull(task_ids="generate_events") else daybook_closed_at(dag_run, params) }}',
        poke_interval=5,  # what was acknowledged shows within a second; one look is two requests to the broker
        timeout=timedelta(hours=2),  # a broker that is away for longer is not waited for: somebody has to look
        execution_timeout=timedelta(minutes=5),  # of the one look before it defers, 40 s if nothing answers
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
            '{{ daybook_result(ti, "wait_for_offsets") | tojson }}',
            '{{ "--force" if params.force else "" }}',
        ],
        lands=True,
        doc_md="Lands `[last landed, frozen end)` in `raw_events`; stages the days it touches, unseen by readers.",
        **SPARK_ARGS,
    )

    answers = [
        DaybookSparkOperator(
            task_id=area,
            job="answer_questions",
            application_args=["--area", area, *JOB_ARGS, *STAGE_ARGS],
            doc_md=f"Runs the `.sql` files of `spark/sql/{area}` on the staged events; stages one table for each.",
            on_server=True,
            **ANSWER_ARGS,
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
            '{{ [daybook_result(ti, "user_behaviour"), daybook_result(ti, "host_providers")] | tojson }}',
            "--manifest={{ daybook_manifest(dag_run, params) }}",
        ],
        doc_md="Proves that the ledger balances, then publishes all staged tables. If a line does not balance it says "
        "which and by how much, and readers still see the former page.",
        outlets=list(table_assets().values()),
        on_server=True,
        **SPARK_ARGS,
    )

    @task(
        execution_timeout=timedelta(minutes=10),
        **told("What publish_day published stays published; the reports of these days are older, or missing."),
    )
    def write_report(ti: Any = None, dag_run: Any = None, params: Any = None) -> list[str]:
        """Write the HTML pages of the run's day and of every day it restated, and the index of all days."""
        from daybook.report.write import write_report_of_run

        dates = [page["day"] for page in daybook_result(ti, "publish_day")["published"]]
        return [str(page) for page in write_report_of_run(load_settings(), daybook_day(dag_run, params), dates)]

    report = write_report()
    generate_events() >> wait_for_offsets >> land_events >> answers >> publish_day >> report


game_events_daily()
