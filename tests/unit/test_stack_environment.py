"""The environment of the stack's processes, independent of the shell."""

from __future__ import annotations

import pytest

from daybook.jobs.config import submit_conf
from daybook.jobs.environment import job_environment
from daybook.jobs.java import FIXED_OPTIONS
from daybook.settings import Settings
from daybook.stack import kafka
from daybook.stack.environment import process_environment


def test_no_part_inherits_the_shells_locale(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "ar_EG.UTF-8")
    monkeypatch.setenv("_JAVA_OPTIONS", "-Duser.language=ar")  # overrides a command line
    for environment in (job_environment(own_settings), process_environment(own_settings)):
        assert environment["LC_ALL"] == "C.UTF-8"
        assert "_JAVA_OPTIONS" not in environment


def test_java_options_that_lose_to_a_command_line_are_left(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may name the machine's trust store or agent."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/etc/trust.jks")
    assert job_environment(own_settings)["JAVA_TOOL_OPTIONS"] == "-Djavax.net.ssl.trustStore=/etc/trust.jks"


def test_every_java_is_given_the_fixed_options(own_settings: Settings) -> None:
    conf = submit_conf(own_settings)
    assert set(FIXED_OPTIONS) <= set(kafka.command(own_settings))
    assert set(FIXED_OPTIONS) <= set(conf["spark.driver.extraJavaOptions"].split())
    assert set(FIXED_OPTIONS) <= set(conf["spark.executor.defaultJavaOptions"].split())
