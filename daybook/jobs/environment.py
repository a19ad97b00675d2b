"""The environment of the stack's parts, of jobs, and of a user's shell (``daybook env``)."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from daybook.jobs.java import java_home
from daybook.kafka.config import connection_extra
from daybook.lake.tables import CATALOG
from daybook.settings import Settings

_NOT_INHERITED = (
    *("PYTHONPATH", "PYTHONHOME", "SPARK_CONF_DIR", "SPARK_DIST_CLASSPATH", "__PYVENV_LAUNCHER__"),
    "_JAVA_OPTIONS",
)
"""Variables that would give the parts other code, Spark configuration or Java options than the checkout's."""


def venv_bin() -> Path:
    """Return the folder of the virtual environment's programs."""
    return Path(sys.prefix) / "bin"


def package_dir(name: str) -> Path:
    """Return the folder of an installed package without running its code."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed; `make setup` installs it")
    return Path(found.origin).parent


def _text(value: Any) -> str:
    """Return a setting in the form of an environment variable."""
    if value is None:
        return ""
    if isinstance(value, tuple | dict):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def stack_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the parts, Airflow's command line and readers of the lake; it holds no secret.

    The settings are passed on unchanged, so that a task sees the same ones as the shell that started the stack.
    Airflow's own settings, including secrets, are in ``airflow.cfg`` below ``AIRFLOW_HOME``.
    """
    from daybook.lake.config import SECRETS, pyiceberg_properties

    python = venv_bin() / "python"
    direct = [name for name in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",") if name]
    direct += [name for name in ("127.0.0.1", "localhost") if name not in direct]
    # first on the PATH: spark-submit looks there for itself and for Python
    path = [str(venv_bin())]
    path += [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder not in path]
    environment = {
        "AIRFLOW_HOME": str(settings.home / "airflow"),
        # JSON form: a URI would have to escape local[2] and the colon of an address
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": settings.spark_master}),
        "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps(
            {
                "conn_type": "kafka",
                # report an unavailable broker after seconds, not after librdkafka's minute
                "extra": {**connection_extra(settings), "socket.timeout.ms": 10_000},
            }
        ),
        "JAVA_HOME": str(java_home()),
        "SPARK_HOME": str(package_dir("pyspark")),
        # a local driver would otherwise resolve this machine's host name, which fails on some machines
        **({"SPARK_LOCAL_IP": "127.0.0.1"} if settings.has_local_spark else {}),
        "PYSPARK_PYTHON": str(python),
        "PYSPARK_DRIVER_PYTHON": str(python),
        "PATH": os.pathsep.join(path),
        # a proxy in the user's environment would otherwise get requests for 127.0.0.1 too
        "NO_PROXY": ",".join(direct),
        "no_proxy": ",".join(direct),
    }
    environment |= {
        f"PYICEBERG_CATALOG__{CATALOG.upper()}__{name.upper().replace('.', '__')}": value
        for name, value in pyiceberg_properties(settings).items()
        if name not in SECRETS
    }
    environment |= {
        f"DAYBOOK_{name.upper()}": _text(value)
        for name in sorted(settings.model_fields_set)
        # a secret stays in the environment that it came from and that the parts inherit; `daybook env` prints this one
        if not isinstance(value := getattr(settings, name), SecretStr)
    }
    return environment | {"DAYBOOK_HOME": str(settings.home)}


def _is_dropped(name: str) -> bool:
    # a database or folder that the user's shell sets for another Airflow would override this stack's airflow.cfg
    return name in _NOT_INHERITED or name.startswith("AIRFLOW")


def dropped_variables(settings: Settings) -> list[str]:
    """Return the shell's variables to hide from the parts and Airflow's command line: another Airflow's settings.

    With an externally managed Airflow these variables override ``airflow.cfg``, so nothing is dropped.
    """
    if settings.airflow_server_url:
        return []
    return sorted(name for name in os.environ if _is_dropped(name) and name.isidentifier())  # valid in a shell


def job_environment(settings: Settings) -> dict[str, str]:
    """Return the full environment of a program alongside the stack: the user's plus :func:`stack_environment`."""
    return {
        **{name: value for name, value in os.environ.items() if not _is_dropped(name)},
        **stack_environment(settings),
        # override the shell's locale: file names, digits and JVM arguments must be the same in every part, every time
        "LC_ALL": "C.UTF-8",
        # write logs without buffering
        "PYTHONUNBUFFERED": "1",
    }
