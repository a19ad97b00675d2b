"""The output of ``daybook env`` for a shell, and the settings in which a running stack differs from it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from daybook.jobs.environment import job_environment, stack_environment
from daybook.settings import Settings, load_settings
from daybook.stack.airflow import write_config
from daybook.stack.lifecycle import _differing

OTHER = "postgresql://another/airflow"


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, own_settings: Settings) -> dict[str, str]:
    """The variables of a shell that is set up for another Airflow."""
    others = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": OTHER,
        "AIRFLOW_HOME": "/opt/another",
        "AIRFLOW_CONN_KAFKA_DEFAULT": "kafka://another",
        "PYTHONPATH": "/opt/another/code",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    return others


def _after_eval(own: Settings) -> dict[str, str]:
    """The variables of a shell after ``eval "$(daybook env)"``."""
    daybook = Path(sys.executable).with_name("daybook")
    code = shlex.quote("import json, os; print(json.dumps(dict(os.environ)))")
    script = f'printed="$({daybook} env)" && eval "$printed" && {sys.executable} -c {code}'
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, timeout=60)
    found: dict[str, str] = json.loads(done.stdout)
    assert found["DAYBOOK_HOME"] == str(own.home)
    return found


def test_env_unsets_the_settings_of_another_airflow(shell: dict[str, str], own_settings: Settings) -> None:
    found = _after_eval(own_settings)
    assert found["AIRFLOW_HOME"] == str(own_settings.home / "airflow")
    assert "another" not in found["AIRFLOW_CONN_KAFKA_DEFAULT"]
    assert not {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "PYTHONPATH"} & found.keys()
    inherited = job_environment(own_settings)
    airflows = {name for name in found if name.startswith("AIRFLOW")}
    assert airflows == {name for name in inherited if name.startswith("AIRFLOW")}, "as the parts of the stack see it"


def test_where_other_means_start_airflow_its_settings_stay(
    shell: dict[str, str], own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_AIRFLOW_SERVER_URL", "http://airflow-apiserver:8080")
    assert _after_eval(own_settings)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == OTHER


def test_settings_that_differ_are_named(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.dumps(stack_environment(own_settings))
    assert _differing(before, before) == []
    monkeypatch.setenv("DAYBOOK_SPARK_MASTER", "local[1]")
    monkeypatch.setenv("DAYBOOK_LATENESS_DAYS", "7")
    load_settings.cache_clear()
    now = json.dumps(stack_environment(load_settings()))
    assert _differing(before, now) == ["DAYBOOK_LATENESS_DAYS", "DAYBOOK_SPARK_MASTER"]
    assert _differing(now, before) == ["DAYBOOK_LATENESS_DAYS", "DAYBOOK_SPARK_MASTER"]


def test_airflows_command_line_prints_only_its_json(own_settings: Settings) -> None:
    """This needs no database: importing the command is enough to trigger its warning about graphviz."""
    write_config(own_settings)
    code = "import airflow; import airflow.cli.commands.dag_command"
    environment = job_environment(own_settings)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == ""
