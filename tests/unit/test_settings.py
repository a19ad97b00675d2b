"""Settings: each one is documented, and all problems are named at once."""

from __future__ import annotations

import re
import shlex

import pytest

from daybook.errors import BadInput
from daybook.jobs.config import submit_conf
from daybook.jobs.environment import stack_environment
from daybook.lake.tables import CATALOG
from daybook.settings import OUR_SPARK_CONF, REPOSITORY, Settings, load_settings

EXAMPLE = REPOSITORY / ".env.example"


def documented() -> dict[str, str]:
    """The settings of ``.env.example`` with the values that a shell would read."""
    lines = re.findall(r"^#(DAYBOOK_\w+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: "".join(shlex.split(value)) for name, value in lines}


def test_every_setting_is_documented_and_no_other() -> None:
    assert list(documented()) == [f"DAYBOOK_{name.upper()}" for name in Settings.model_fields]


def test_each_is_documented_with_its_description() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    for name, setting in Settings.model_fields.items():
        assert f"# {setting.description}\n#DAYBOOK_{name.upper()}=" in text


def test_the_documented_values_are_the_defaults(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAYBOOK_HOME")
    load_settings.cache_clear()
    defaults = load_settings()
    for name, value in documented().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(REPOSITORY)  # the state folder is documented relative to the checkout
    load_settings.cache_clear()
    assert load_settings() == defaults


def test_all_problems_are_named_at_once(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"DAYBOOK_API_PORT": "70000", "DAYBOOK_KAFKA_PARTITIONS": "none", "DAYBOOK_SPARK_DRIVER_MEMORY": "lots"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert [name for name in wrong if name in str(refused.value)] == list(wrong)
    assert "\n" not in str(refused.value)


def test_an_empty_variable_is_a_setting_not_made(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBOOK_HOME", "")
    monkeypatch.setenv("DAYBOOK_API_PORT", "")
    load_settings.cache_clear()
    assert load_settings().home == REPOSITORY / ".daybook"
    assert load_settings().api_port == 5000


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "80.5", " "])
def test_a_bad_port_is_refused(own_settings: Settings, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("DAYBOOK_AIRFLOW_PORT", port)
    load_settings.cache_clear()
    with pytest.raises(BadInput, match="DAYBOOK_AIRFLOW_PORT"):
        load_settings()


def test_a_list_that_is_not_json_is_refused(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBOOK_ITEMS", "sword,shield")
    load_settings.cache_clear()
    with pytest.raises(BadInput, match="DAYBOOK_ITEMS"):
        load_settings()


@pytest.mark.parametrize(
    ("days", "lateness", "taken"),
    [
        ("0", "30", True),
        ("62", "30", True),
        ("61", "30", False),
        ("31", "30", False),
        ("2", "0", True),
        ("1", "0", False),
    ],
)
def test_raw_records_are_kept_longer_than_any_restated_day_looks_back(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, days: str, lateness: str, taken: bool
) -> None:
    monkeypatch.setenv("DAYBOOK_RAW_RETENTION_DAYS", days)
    monkeypatch.setenv("DAYBOOK_LATENESS_DAYS", lateness)
    load_settings.cache_clear()
    if taken:
        assert load_settings().raw_retention_days == int(days)
    else:
        with pytest.raises(BadInput, match=r"DAYBOOK_RAW_RETENTION_DAYS is .*, or for ever: 0"):
            load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ('{"spark.executor.memory": ["4g"]}', "is not a JSON object"),
        ('{"executor.memory": "4g"}', "executor.memory is not a Spark setting"),
        ('{"spark.sql.session.timeZone": "CET"}', "spark.sql.session.timeZone is set by Daybook itself"),
        (
            '{"spark.sql.catalog.lake.warehouse": "file:/x"}',
            "spark.sql.catalog.lake.warehouse is set by Daybook itself",
        ),
        ('{"spark.master": "yarn"}', "spark.master is set by Daybook itself"),
    ],
)
def test_spark_settings_that_are_not_allowed_are_refused(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("DAYBOOK_SPARK_CONF", text)
    load_settings.cache_clear()
    with pytest.raises(BadInput, match=rf"DAYBOOK_SPARK_CONF: .*{re.escape(message)}"):
        load_settings()


def test_sparks_own_settings_win_over_ours_and_go_on_to_the_parts(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '{"spark.executor.cores": 2, "spark.ui.enabled": true, "spark.sql.catalog.other": "x"}'
    monkeypatch.setenv("DAYBOOK_SPARK_CONF", text)
    load_settings.cache_clear()
    conf = submit_conf(load_settings())
    assert conf["spark.executor.cores"] == "2"
    assert conf["spark.ui.enabled"] == "true"
    assert conf["spark.sql.session.timeZone"] == "UTC"
    monkeypatch.setenv("DAYBOOK_SPARK_CONF", stack_environment(load_settings())["DAYBOOK_SPARK_CONF"])
    load_settings.cache_clear()
    assert submit_conf(load_settings()) == conf
    assert f"spark.sql.catalog.{CATALOG}" in OUR_SPARK_CONF
