"""The DAGs as Airflow loads them: rules for every task, and the exact command lines of Spark.

To update ``golden/`` after an intended change: ``DAYBOOK_GOLDEN=1 pytest tests/unit/test_dags.py``.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, BaseOperator, Context, CronDataIntervalTimetable
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, ParamValidationError
from airflow.sdk.execution_time.context import OutletEventAccessors

from daybook.errors import BadInput, DaybookError, NonRetryableError, NotNow
from daybook.jobs import connect
from daybook.jobs.config import LARGE_HEAP, SMALL_HEAP, submit_conf
from daybook.pipeline.manifest import Injected, Manifest, manifest_path
from daybook.pipeline.not_landed import NotLanded
from daybook.settings import Settings, load_settings
from daybook.sql.answers import AREAS, answer_files
from daybook.stack import spark_connect
from daybook_airflow.assets import table_assets
from daybook_airflow.notifier import FailureNotifier
from daybook_airflow.refused import RefusedRun
from daybook_airflow.spark_operator import DaybookSparkOperator
from daybook_airflow.task_defaults import RetryWhatMayPass
from event_generator.day import build_day
from event_generator.faults import FaultProfile
from event_generator.manifest import Request, write_manifest
from event_generator.play import NoIntake
from event_generator.progress import Ack, Progress
from tests.integration.own_broker import free_ports
from tests.unit.manifests import a_manifest
from tests.unit.small_lake import SmallLake

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden")
WRITE_GOLDEN = bool(os.environ.get("DAYBOOK_GOLDEN"))
DAG_IDS = {"game_events_daily", "lake_maintenance"}
SPARK_TASKS = ("land_events", *AREAS, "publish_day")
UPKEEP = ("expire_snapshots", "compact_files", "apply_raw_retention", "remove_orphan_files")
UPSTREAM: dict[str, set[str]] = {
    "generate_events": set(),
    "wait_for_offsets": {"generate_events"},
    "land_events": {"wait_for_offsets"},
    "user_behaviour": {"land_events"},
    "host_providers": {"land_events"},
    "publish_day": {"user_behaviour", "host_providers"},
    "write_report": {"publish_day"},
}
# records the command line, and returns the summary and exit status that the test sets
SPARK_SUBMIT = """#!{python}
import json, os, sys
json.dump(sys.argv[1:], open({argv!r}, "w"))
if (summary := os.environ.get("SUMMARY")) is not None:
    open(sys.argv[sys.argv.index("--summary") + 1], "w").write(summary)
sys.exit(int(os.environ.get("EXIT_STATUS", "0")))
"""


def load() -> DagBag:
    folder = REPOSITORY / "dags"
    assert folder.is_dir(), "of a missing folder Airflow loads no DAG and reports no error"
    return DagBag(folder, bundle_path=folder)


@pytest.fixture(scope="module")
def bag() -> Iterator[DagBag]:
    load_settings.cache_clear()
    yield load()
    load_settings.cache_clear()


@pytest.fixture
def dag(own_settings: Settings) -> DAG:
    """The DAG, loaded with the test's settings."""
    return load().dags["game_events_daily"]


def test_exactly_these_dags_load(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dag_ids) == DAG_IDS, "name a new DAG here, in DAG_IDS"


def test_every_task_can_be_run_and_read_by_another(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md, f"{dag.dag_id}: write a module docstring, it is the DAG's page"
        assert dag.tags, f"{dag.dag_id}: tag it"
        assert dag.catchup is False, f"{dag.dag_id}: state catchup=False, days gone by are asked for by a backfill"
        for task in dag.tasks:
            where = f"{dag.dag_id}.{task.task_id}"
            assert task.doc_md, f"{where}: write doc_md, or a docstring for a @task"
            assert task.owner == "data-engineering", f"{where}: name its owner"
            assert task.retries == 3, f"{where}: leave it the retries of TASK_DEFAULTS; every task may run again"
            assert task.execution_timeout, f"{where}: give it an execution_timeout"
            for callback, again in ((task.on_failure_callback, False), (task.on_retry_callback, True)):
                [notifier] = list(callback)  # type: ignore[arg-type]  # Airflow keeps what it is given as a list
                assert isinstance(notifier, FailureNotifier), f"{where}: leave it the callbacks of TASK_DEFAULTS"
                assert notifier.tries_again is again


def test_every_spark_task_takes_a_slot_of_its_pool(bag: DagBag) -> None:
    tasks = [task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, DaybookSparkOperator)]
    assert {task.task_id for task in tasks} == {*SPARK_TASKS, *UPKEEP}
    pools = {task.task_id: task.pool for task in tasks}
    assert pools == {
        **dict.fromkeys(("land_events", "publish_day", *UPKEEP), "spark"),
        **dict.fromkeys(AREAS, "spark_server"),
    }
    assert {task.pool_slots for task in tasks} == {1}


def test_without_a_spark_server_all_steps_share_the_pool_of_drivers(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_SPARK_CONNECT_PORT", "0")
    load_settings.cache_clear()
    dag = load().dags["game_events_daily"]
    assert {task.pool for task in dag.tasks if isinstance(task, DaybookSparkOperator)} == {"spark"}


def test_the_steps_of_the_day_are_in_order(bag: DagBag) -> None:
    dag = bag.dags["game_events_daily"]
    assert {task.task_id: set(task.upstream_task_ids) for task in dag.tasks} == UPSTREAM
    rules = {task.task_id: task.trigger_rule for task in dag.tasks if task.trigger_rule != "all_success"}
    assert rules == {"wait_for_offsets": "none_failed"}, "live traffic skips generate_events, and nothing else may be"


def test_the_steps_of_the_upkeep_are_in_order_once_a_week_and_one_run_at_a_time(bag: DagBag) -> None:
    dag = bag.dags["lake_maintenance"]
    before = {task: {UPKEEP[at - 1]} if at else set() for at, task in enumerate(UPKEEP)}
    assert {task.task_id: set(task.upstream_task_ids) for task in dag.tasks} == before
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("0 3 * * 0", "UTC")
    assert dag.max_active_runs == 1


def test_the_schedule_is_a_day_from_midnight_to_midnight_utc(bag: DagBag) -> None:
    timetable = bag.dags["game_events_daily"].timetable
    assert isinstance(timetable, CronDataIntervalTimetable)
    assert (timetable.expression, str(timetable.timezone)) == ("0 0 * * *", "UTC")


@pytest.mark.parametrize(
    "params",
    [
        {"day": "2026-5-3"},
        {"day": 20260503},
        {"events": -1},
        {"events": 10_000_001},
        {"events": "many"},
        {"seed": -1},
        {"force": "yes"},
        {"late": 2},
    ],
)
def test_parameters_that_cannot_be_are_refused_at_the_trigger(dag: DAG, params: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        _validated(dag, params)


@pytest.mark.parametrize(
    ("environment", "events"),
    [
        ({}, 20_000),
        ({"DAYBOOK_API_KEYS_FILE": "/run/secrets/api_keys"}, 0),
        ({"DAYBOOK_API_URL": "http://game_api:5000"}, 0),
        ({"DAYBOOK_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}, 0),
        ({"DAYBOOK_API_TRUSTED_PROXIES": "127.0.0.1"}, 0),
        ({"DAYBOOK_GENERATED_EVENTS": "0"}, 0),
        ({"DAYBOOK_GENERATED_EVENTS": ""}, 20_000),
        ({"DAYBOOK_GENERATED_EVENTS": "500", "DAYBOOK_API_KEYS_FILE": "/run/secrets/api_keys"}, 500),
    ],
)
def test_the_form_shows_how_many_events_a_run_generates_by_default(
    monkeypatch: pytest.MonkeyPatch, own_settings: Settings, environment: dict[str, str], events: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    dag = load().dags["game_events_daily"]
    message = dag.params.get_param("events").description or ""
    assert (f"generate {events}," in message, "build live traffic" in message) == (events > 0, events == 0)
    assert _validated(dag, {}) == {
        "day": None,
        "events": events,
        "seed": 1,
        "duplicates": 0,
        "late": 0,
        "invalid": 0,
        "force": False,
    }


def test_the_day_has_a_deadline_but_under_airflows_dags_test(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().dags["game_events_daily"].deadline
    monkeypatch.setattr(sys, "argv", ["airflow", "dags", "test", "game_events_daily", "2026-05-03"])
    assert not load().dags["game_events_daily"].deadline


def _loading(dag_id: str, before: str, after: str) -> str:
    """The output of a fresh Python process that loads a DAG file between two pieces of code."""
    code = f"import sys, runpy; {before}; runpy.run_path(sys.argv[1]); {after}"
    command = [sys.executable, "-c", code, str(REPOSITORY / "dags" / f"{dag_id}.py")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_loading_a_dag_loads_no_heavy_library(dag_id: str) -> None:
    heavy = "{'apprise', 'event_generator', 'numpy', 'pandas', 'pyiceberg', 'pyspark'}"
    assert _loading(dag_id, "pass", f"print(*sorted({heavy} & set(sys.modules)))") == ""


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_parsing_a_dag_loads_few_modules_besides_airflows_own(dag_id: str) -> None:
    """A count of modules instead of a time: the DAG processor parses each file every 30 seconds."""
    before = "import airflow.sdk, airflow.providers.apache.spark.operators.spark_submit; before = set(sys.modules)"
    # 142 on 2026-11-25: 24 of confluent_kafka and 22 of pydantic_settings
    assert int(_loading(dag_id, before, "print(len(set(sys.modules) - before))")) <= 170


def test_every_parameter_of_the_trigger_form_explains_itself(bag: DagBag) -> None:
    params = bag.dags["game_events_daily"].params
    for name in params:
        param = params.get_param(name)
        assert param.schema["title"], f"{name}: give it a title"
        assert param.description, f"{name}: say what it does"


def test_the_form_has_no_bound_to_change_a_number_to(bag: DagBag) -> None:
    """Airflow's form silently changes -1 to a field's minimum, which would start a different run."""
    params = bag.dags["game_events_daily"].params
    for name in params:
        assert not {"minimum", "maximum"} & params.get_param(name).schema.keys(), f"{name}: put the bound into allOf"


def test_published_tables_are_assets_with_days_revisions_and_rows(
    dag: DAG, submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = table_assets()
    assert set(tables) == {"events", *answer_files()}
    rows = dict.fromkeys(tables, 3) | {"event_popularity": 13}
    monkeypatch.setenv("SUMMARY", json.dumps({"published": [{"day": "2026-05-03", "revision": 2, "rows": rows}]}))
    run = Run(dag, XCOMS)
    run.task("publish_day").execute(run.context)
    outlet_events = run.context["outlet_events"]
    assert outlet_events[tables["event_popularity"]].extra == {"days": {"2026-05-03": {"revision": 2, "rows": 13}}}
    assert outlet_events[tables["events"]].extra == {"days": {"2026-05-03": {"revision": 2, "rows": 3}}}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"date": "2026-05-01", "events": 300}, "names 'date' (did you mean 'day'?), which is not a parameter;"),
        ({"evnts": 500}, "'evnts' (did you mean 'events'?)"),
        ({"x": 1, "Seed": 2}, "'Seed' (did you mean 'seed'?), 'x',"),
    ],
)
def test_an_unknown_parameter_fails_the_run_before_anything_is_sent(
    dag: DAG, played: list[Request], conf: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusedRun) as refused:
        Run(dag, {}, **conf).generate()
    assert message in str(refused.value)
    assert "the DAG's parameters are: day, events, seed, force, duplicates, late, invalid." in str(refused.value)
    assert played == []


def test_maintenance_takes_no_configuration(bag: DagBag) -> None:
    for task in bag.dags["lake_maintenance"].tasks:
        assert isinstance(task, DaybookSparkOperator)
        check = task._pre_execute_hook
        assert check is not None
        check(cast(Context, {"dag_run": SimpleNamespace(conf=None)}))
        with pytest.raises(
            RefusedRun, match=r"names 'retention', .*; the DAG has no parameters\. Nothing was changed; trigger"
        ):
            check(cast(Context, {"dag_run": SimpleNamespace(conf={"retention": 3})}))


def test_a_day_that_has_not_begun_is_refused_before_anything_is_done(dag: DAG) -> None:
    for events in (0, 12):
        run = Run(dag, {}, day="2026-05-05", events=events)
        with pytest.raises(AirflowFailException, match=r"^2026-05-05 has not begun \(UTC\)"):
            run.generate()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Records the generator's requests instead of running them; the broker is empty."""
    requests: list[Request] = []

    def play_day(request: Request, _settings: Settings, **_others: Any) -> tuple[Manifest, None]:
        requests.append(request)
        return a_manifest(request), None

    monkeypatch.setattr("event_generator.play.play_day", play_day)
    monkeypatch.setattr("event_generator.by_default.read_not_landed", lambda *_: NotLanded(KAFKA))
    return requests


KAFKA: dict[date | None, int] = {}
DAY = date(2026, 5, 3)
BY_DEFAULT = Request(DAY, 20_000, 1)
FORM = {"events": 20_000, "seed": 1, "duplicates": 0, "late": 0, "invalid": 0, "force": False, "day": "2026-05-03"}
"""The values that Airflow's form sends if the user changes only the day."""


def test_whole_numbers_with_a_point_are_whole_numbers(dag: DAG, played: list[Request]) -> None:
    Run(dag, {}, events=500.0, seed=3.0).generate()
    [request] = played
    assert request == Request(DAY, 500, 3)
    assert (type(request.events), type(request.seed)) == (int, int)


@pytest.mark.parametrize("conf", [{}, {"force": True}, FORM])
def test_a_run_that_asks_for_no_number_generates_its_day(
    dag: DAG, played: list[Request], own_settings: Settings, conf: dict[str, Any]
) -> None:
    Run(dag, {}, **conf).generate()
    assert played == [BY_DEFAULT]


@pytest.mark.parametrize("conf", [{}, FORM])
def test_a_generated_or_begun_day_continues_with_the_same_events(
    dag: DAG, played: list[Request], own_settings: Settings, conf: dict[str, Any]
) -> None:
    first = Request(DAY, 300, 7, FaultProfile(late=0.5))
    progress = Progress(own_settings, first, 300)
    progress.settle([Ack(0, 0, 0)])
    progress.close()
    Run(dag, {}, **conf).generate()
    progress.remove()
    write_manifest(own_settings, a_manifest(first), [])
    Run(dag, {}, **conf).generate()
    assert played == [first, first]


def test_a_day_with_events_of_its_own_gets_generated_ones_only_if_they_are_asked_for(
    dag: DAG, played: list[Request], own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KAFKA, DAY, 1)
    with pytest.raises(
        AirflowSkipException, match=r"^2026-05-03 has events from other senders, so no events are generated"
    ):
        Run(dag, {}).generate()
    monkeypatch.setitem(KAFKA, DAY, 0)
    lake = SmallLake(own_settings)
    lake.land({DAY: 2})
    for conf in ({}, FORM):
        with pytest.raises(AirflowSkipException):
            Run(dag, {}, **conf).generate()
    lake.publish(date(2026, 5, 2), {})
    with pytest.raises(AirflowSkipException):
        Run(dag, {}, day="2026-05-02").generate()
    assert played == []
    Run(dag, {}, events=20_000, seed=1).generate()
    assert played == [BY_DEFAULT]


def test_late_events_of_a_generated_day_do_not_keep_the_day_they_are_of_from_being_generated(
    dag: DAG, played: list[Request], own_settings: Settings
) -> None:
    SmallLake(own_settings).land({DAY: 2})
    later = date(2026, 5, 20)
    late = Injected(duplicates=0, late={DAY: 2}, invalid={})
    write_manifest(own_settings, a_manifest(Request(later, 300, 1), injected=late), [])
    Run(dag, {}).generate()
    assert played == [BY_DEFAULT]


def test_a_day_that_is_not_over_is_generated_only_on_request(dag: DAG, played: list[Request]) -> None:
    today = datetime.now(UTC)
    run = Run(dag, {}, day=f"{today:%Y-%m-%d}")
    run.context["dag_run"].run_after = today
    with pytest.raises(AirflowSkipException, match="is not over"):
        run.generate()
    assert played == []


def test_days_of_one_seed_differ() -> None:
    days = [build_day(DAY + timedelta(days=number), 50, 1, ("sword",)) for number in range(3)]
    ids = [set(day.ids.tolist()) for day in days]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (NonRetryableError("no"), False),
        (BadInput("no"), False),
        (NotNow("no"), True),
        (NoIntake("no"), True),
        (DaybookError("no"), True),
        (KeyError("no"), True),
    ],
)
def test_only_what_another_try_may_mend_is_tried_again(bag: DagBag, error: Exception, again: bool) -> None:
    for dag in bag.dags.values():
        for task in dag.tasks:
            assert isinstance(task.retry_policy, RetryWhatMayPass), f"{task.task_id}: leave it TASK_DEFAULTS' policy"
            decision = task.retry_policy.evaluate(error, 1, 3)
            assert decision.action is (RetryAction.DEFAULT if again else RetryAction.FAIL)


@pytest.mark.parametrize(
    ("task_id", "missing"),
    [
        ("land_events", "wait_for_offsets"),
        ("user_behaviour", "land_events"),
        ("host_providers", "land_events"),
        ("publish_day", "land_events"),
        ("publish_day", "host_providers"),
        ("publish_day", "user_behaviour"),
    ],
)
def test_a_step_that_was_marked_as_success_and_not_run_is_named(dag: DAG, task_id: str, missing: str) -> None:
    run = Run(dag, {name: value for name, value in XCOMS.items() if name != missing})
    with pytest.raises(RefusedRun, match=rf"^{missing} left no result, .*; clear {missing}: "):
        run.task(task_id)


def test_the_report_of_a_publish_day_that_was_marked_as_success_names_it(dag: DAG) -> None:
    run = Run(dag, {})
    with pytest.raises(RefusedRun, match=r"^publish_day left no result"):
        run.task("write_report").python_callable(**{name: run.context[name] for name in ("ti", "dag_run", "params")})


def _validated(dag: DAG, params: dict[str, Any]) -> dict[str, Any]:
    dag.params.update(params)
    return dict(dag.params.dump())


class Run:
    """A DAG run without a server: renders and executes its tasks with given results of earlier tasks."""

    def __init__(self, dag: DAG, xcoms: dict[str, Any], **params: Any) -> None:
        self.dag = dag
        self.context: dict[str, Any] = {
            "dag": dag,
            "run_id": "manual__2026-05-04T09:30:00+00:00",
            "params": _validated(dag, {"day": "2026-05-03", **params}),
            "dag_run": SimpleNamespace(
                run_type="manual", logical_date=None, run_after=datetime(2026, 5, 4, 9, 30, tzinfo=UTC), conf=params
            ),
            "ti": SimpleNamespace(xcom_pull=lambda task_ids: _pull(xcoms, task_ids)),
            "outlet_events": OutletEventAccessors(),
        }

    def generate(self) -> Any:
        """The return value of ``generate_events``."""
        task = self.task("generate_events")
        return task.python_callable(dag_run=self.context["dag_run"], params=self.context["params"])

    def task(self, task_id: str) -> Any:
        """The task with its templates rendered, as a worker gets it."""
        task = self.dag.get_task(task_id).prepare_for_execution()
        assert isinstance(task, BaseOperator)
        task.render_template_fields(self.context)  # type: ignore[arg-type]  # the part of the context it uses
        return task


def _pull(xcoms: dict[str, Any], task_ids: str | list[str]) -> Any:
    return xcoms.get(task_ids) if isinstance(task_ids, str) else [xcoms.get(one) for one in task_ids]


STAGE = {"run_id": "r", "dates": ["2026-05-03", None], "built_to": {"0": 13}, "note": """it's "quoted" & <odd> $HOME"""}
XCOMS = {
    "wait_for_offsets": {"0": 13, "1": 7},
    "land_events": STAGE,
    "user_behaviour": {"event_popularity": 9_007_199_254_740_993},
    "host_providers": {"provider_usage": 8, "empty_answer": None},
}


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``spark-submit`` on the PATH that records its command line."""
    argv = tmp_path / "argv.json"
    binary = tmp_path / "bin" / "spark-submit"
    binary.parent.mkdir()
    binary.write_text(SPARK_SUBMIT.format(python=sys.executable, argv=str(argv)))
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(binary.parent), prepend=os.pathsep)
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps({"conn_type": "spark", "host": "local[2]"}))
    monkeypatch.setenv("SUMMARY", '{"published": []}')
    monkeypatch.setenv("DAYBOOK_SPARK_CONNECT_PORT", "0")  # no server: each step starts its own driver
    load_settings.cache_clear()
    return argv


@pytest.mark.parametrize("task_id", [*SPARK_TASKS, *UPKEEP])
def test_the_command_line_of_a_spark_task(
    own_settings: Settings, submitted: Path, monkeypatch: pytest.MonkeyPatch, task_id: str
) -> None:
    own_settings.manifests_dir.mkdir(parents=True)
    (own_settings.manifests_dir / "2026-05-03.json").touch()
    run = Run(load().dags["lake_maintenance" if task_id in UPKEEP else "game_events_daily"], XCOMS)
    assert run.task(task_id).execute(run.context) == {"published": []}
    lines = [_without_places(argument, own_settings) for argument in json.loads(submitted.read_text())]
    golden = GOLDEN / f"{task_id}.txt"
    if WRITE_GOLDEN:
        golden.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == golden.read_text(encoding="utf-8").splitlines(), "if meant, write it anew with DAYBOOK_GOLDEN=1"


@pytest.mark.parametrize(
    ("heap", "options"), [("1g", SMALL_HEAP), ("2047m", SMALL_HEAP), ("2048m", LARGE_HEAP), ("2g", LARGE_HEAP)]
)
def test_drivers_and_the_server_get_the_compilers_that_suit_their_heap(
    own_settings: Settings, heap: str, options: str
) -> None:
    own = own_settings.model_copy(update={"spark_driver_memory": heap})
    assert submit_conf(own)["spark.driver.extraJavaOptions"].endswith(f" {options}")
    spark_connect.prepare(own)
    written = (own.home / "run" / "spark-connect.properties").read_text(encoding="utf-8")
    [java] = [line for line in written.splitlines() if line.startswith("spark.driver.extraJavaOptions ")]
    assert java.endswith(f" {options}")


def test_ones_own_java_options_take_the_place_of_daybooks(own_settings: Settings) -> None:
    own = own_settings.model_copy(update={"spark_driver_java_options": "-XX:+UseG1GC"})
    assert SMALL_HEAP in submit_conf(own_settings)["spark.driver.extraJavaOptions"]
    java_options = submit_conf(own)["spark.driver.extraJavaOptions"]
    assert java_options.endswith(" -XX:+UseG1GC")
    assert "UseSerialGC" not in java_options


def test_a_spark_server_that_is_starting_is_waited_for(own_settings: Settings) -> None:
    own = own_settings.model_copy(update={"spark_connect_port": free_ports(1)[0]})
    assert "nothing answers on port" in str(connect.wait_for_server(own, seconds=0))
    with socket.socket() as server:
        server.bind(("127.0.0.1", own.spark_connect_port))
        assert connect.trouble(own), "a socket that does not listen yet refuses"
        starting = threading.Timer(0.3, server.listen)
        starting.start()
        assert connect.wait_for_server(own, seconds=30) is None
        starting.join()


def test_a_step_without_its_spark_server_changes_nothing_and_names_the_next_command(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_ports(1)[0]
    monkeypatch.setenv("DAYBOOK_SPARK_CONNECT_PORT", str(port))
    load_settings.cache_clear()
    monkeypatch.setattr(connect, "wait_for_server", partial(connect.wait_for_server, seconds=0))
    run = Run(load().dags["game_events_daily"], XCOMS)
    with pytest.raises(AirflowException, match=r"^2026-05-03: the Spark server is unavailable") as failed:
        run.task("land_events").execute(run.context)
    for part in (f"port {port}", "nothing was changed", "`daybook status`", "Clear land_events"):
        assert part in str(failed.value)


def _without_places(argument: str, own: Settings) -> str:
    """An argument without the parts that differ by machine or call."""
    if argument.endswith(".jar"):
        return "<jars>"
    argument = argument.replace(str(own.home), "<home>").replace(str(REPOSITORY), "<repository>")
    return re.sub(r"^.*/daybook-[^/]+/summary\.json$", "<summary>", argument)


def test_the_output_of_a_step_arrives_unchanged(dag: DAG, submitted: Path) -> None:
    run = Run(dag, XCOMS, force=True)
    run.task("land_events").execute(run.context)
    land = json.loads(submitted.read_text())
    assert json.loads(land[land.index("--until") + 1]) == XCOMS["wait_for_offsets"]
    assert "--force" in land
    assert "" not in land
    run.task("publish_day").execute(run.context)
    publish = json.loads(submitted.read_text())
    assert json.loads(publish[publish.index("--stage") + 1]) == STAGE
    assert json.loads(publish[publish.index("--answers") + 1]) == [XCOMS["user_behaviour"], XCOMS["host_providers"]]
    assert "--manifest=" in publish, "nobody generated this day"


@pytest.mark.parametrize("try_again", [True, False])
def test_only_the_reason_that_a_failed_job_gives_is_quoted(
    dag: DAG, submitted: Path, monkeypatch: pytest.MonkeyPatch, try_again: bool
) -> None:
    summary = {"error": "2026-05-03 does not balance: events 12 against 10 (+2)", "try_again": try_again}
    monkeypatch.setenv("SUMMARY", json.dumps(summary))
    monkeypatch.setenv("EXIT_STATUS", "1")
    run = Run(dag, XCOMS)
    with pytest.raises(AirflowException) as caught:
        run.task("publish_day").execute(run.context)
    assert str(caught.value) == "2026-05-03 does not balance: events 12 against 10 (+2)"
    assert caught.value.__suppress_context__
    assert isinstance(caught.value, AirflowFailException) is not try_again, "what would fail again is not tried again"


@pytest.mark.parametrize("summary", [None, "", '{"half', '{"published": []}'])
def test_a_job_that_dies_without_a_word_fails_with_its_exit_status(
    dag: DAG, submitted: Path, monkeypatch: pytest.MonkeyPatch, summary: str | None
) -> None:
    monkeypatch.delenv("SUMMARY") if summary is None else monkeypatch.setenv("SUMMARY", summary)
    monkeypatch.setenv("EXIT_STATUS", "137")
    run = Run(dag, XCOMS)
    with pytest.raises(AirflowException, match=r"2026-05-03: land_events ended with status 137"):
        run.task("land_events").execute(run.context)


def test_a_job_without_a_summary_did_not_succeed(dag: DAG, submitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUMMARY")
    run = Run(dag, XCOMS)
    with pytest.raises(AirflowException, match="2026-05-03: land_events succeeded but wrote no summary"):
        run.task("land_events").execute(run.context)


def test_a_job_that_finds_nothing_to_do_skips_its_step(
    dag: DAG, submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUMMARY", '{"skip": "before the record began"}')
    run = Run(dag, XCOMS)
    with pytest.raises(AirflowSkipException, match=r"^before the record began$"):
        run.task("land_events").execute(run.context)


def test_a_generated_day_waits_for_its_acknowledged_offsets(dag: DAG) -> None:
    goal = (
        Run(dag, {"generate_events": {"accepted": 12, "offsets": {"0": 11}}}, events=12).task("wait_for_offsets").goal()
    )
    assert (goal.topic, goal.day, goal.targets, goal.not_before) == ("events", "2026-05-03", {"0": 11}, None)


def test_a_generated_day_of_which_nothing_was_accepted_is_not_live_traffic(dag: DAG) -> None:
    manifest = {"accepted": 0, "offsets": {}}
    goal = Run(dag, {"generate_events": manifest}, events=12).task("wait_for_offsets").goal()
    assert (goal.targets, goal.not_before) == ({}, None)


def test_live_traffic_is_waited_for_until_the_day_is_closed(dag: DAG) -> None:
    goal = Run(dag, {}).task("wait_for_offsets").goal()
    assert (goal.targets, goal.not_before) == (None, "2026-05-04T00:15:00.000000Z")


def test_live_traffic_is_not_generated(dag: DAG) -> None:
    run = Run(dag, {}, events=0)
    with pytest.raises(AirflowSkipException):
        run.generate()


def test_the_task_passes_on_the_manifests_offsets_and_counts(dag: DAG, own_settings: Settings) -> None:
    injected = {"duplicates": 1, "late": {"2026-05-01": 3}, "invalid": {"no item": 2}}
    kept = {"sent": 14, "accepted": 12, "refused": 2, "injected": injected, "offsets": {"0": 11}}
    expected = {"event_popularity": [{"rank": 1}]}
    manifest = a_manifest(Request(DAY, 12, 1)).model_dump(mode="json")
    path = manifest_path(own_settings, DAY)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**manifest, **kept, "expected": expected}), encoding="utf-8")
    run = Run(dag, {}, events=12)
    assert run.generate() == kept


def test_an_unavailable_intake_is_tried_again(
    dag: DAG, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("DAYBOOK_API_URL", f"http://127.0.0.1:{port}")
    load_settings.cache_clear()
    run = Run(dag, {}, events=12)
    with pytest.raises(NoIntake, match="no intake answers"):  # AirflowFailException would end the task for good
        run.generate()
