"""The table of the stack's parts: the command, the start order and the health check of each."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from daybook.errors import network_reason
from daybook.jobs import connect
from daybook.jobs.environment import venv_bin
from daybook.settings import REPOSITORY, Settings
from daybook.stack import airflow, kafka, postgres, spark_connect


@dataclass(frozen=True)
class Part:
    """One program of the stack."""

    name: str
    command: Callable[[Settings], list[str]]
    trouble: Callable[[Settings, float], str | None]
    """Explains why it cannot be used yet; None if it is healthy. The number is the start of its process, in Unix
    seconds. Raises NonRetryableError if waiting cannot make it healthy."""
    stop_signal: str = "TERM"
    is_base: bool = False
    """Whether other parts need it. It is started before them and stopped after them."""
    is_early: bool = False
    """Whether it is started together with the base parts because it starts slowly; nothing waits for it."""


def _api_trouble(settings: Settings, _since: float) -> str | None:
    # always the intake of this stack, even if DAYBOOK_API_URL directs the generator to another one
    url = f"http://127.0.0.1:{settings.api_port}/health/ready"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except OSError as error:
        return f"{url} does not answer: {network_reason(error)}"


def _gunicorn(_settings: Settings) -> list[str]:
    configuration = REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"
    return [str(venv_bin() / "gunicorn"), "-c", str(configuration), "game_api.app:create_app()"]


def _airflow(*arguments: str) -> Callable[[Settings], list[str]]:
    return lambda _settings: [str(venv_bin() / "airflow"), *arguments]


def _scheduler(_settings: Settings) -> list[str]:
    return [sys.executable, "-m", "daybook.stack.scheduler"]


def _component(name: str) -> Callable[[Settings, float], str | None]:
    return lambda settings, since: airflow.component_trouble(settings, name, since)


def _dag_processor_trouble(settings: Settings, since: float) -> str | None:
    # "up" means that a DAG can be triggered: the files must be parsed, not only watched
    return airflow.component_trouble(settings, "dag_processor", since) or airflow.dags_trouble(settings)


_KAFKA = Part("kafka", kafka.command, lambda settings, _since: kafka.trouble(settings), is_base=True)

# early: `up` in an empty folder then takes 1.85 times as long as `airflow standalone`, otherwise 2.0 times
_SPARK_CONNECT = Part(
    "spark-connect",
    spark_connect.command,
    lambda settings, _since: connect.trouble(settings),
    is_early=True,
)

_ALWAYS = (
    # INT: close the connections and stop; TERM would wait until Airflow disconnects
    Part("postgres", postgres.command, lambda settings, _since: postgres.trouble(settings), "INT", is_base=True),
    Part("api", _gunicorn, _api_trouble),
    Part("airflow-api-server", _airflow("api-server"), lambda settings, _since: airflow.api_trouble(settings)),
    Part("airflow-scheduler", _scheduler, _component("scheduler")),
    Part("airflow-dag-processor", _airflow("dag-processor"), _dag_processor_trouble),
    Part("airflow-triggerer", _airflow("triggerer", "--skip-serve-logs"), _component("triggerer")),
)


def parts(settings: Settings) -> list[Part]:
    """Return the parts in start order; a broker and a Spark server only if no setting names external ones."""
    return [
        *([] if settings.kafka_bootstrap_servers else [_KAFKA]),
        *_ALWAYS,
        *([_SPARK_CONNECT] if settings.has_spark_connect else []),
    ]


def ports(settings: Settings) -> list[tuple[str, int, str]]:
    """Return the ports that the stack listens on: part, port, and the setting that changes it."""
    listed = [
        ("api", settings.api_port, "DAYBOOK_API_PORT"),
        ("airflow-api-server", settings.airflow_port, "DAYBOOK_AIRFLOW_PORT"),
    ]
    if settings.has_spark_connect:
        listed.append(("spark-connect", settings.spark_connect_port, "DAYBOOK_SPARK_CONNECT_PORT"))
    if not settings.kafka_bootstrap_servers:
        listed.append(("kafka", settings.kafka_port, "DAYBOOK_KAFKA_PORT"))
        if settings.kafka_controller_port:
            controller = ("kafka's controller", settings.kafka_controller_port, "DAYBOOK_KAFKA_CONTROLLER_PORT")
            listed.append(controller)
    return listed


def log_of(settings: Settings, part: str) -> str:
    """Return the path of a part's log."""
    return str(settings.logs_dir / f"{part}.log")
