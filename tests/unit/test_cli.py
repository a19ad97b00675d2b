"""The command itself: its help, its version, and its reply to a misspelt name."""

from __future__ import annotations

import json
import re
from importlib import metadata

import pytest
from click.testing import CliRunner

from daybook.cli.main import COMMANDS, GROUPS, cli
from daybook.errors import BadInput
from daybook.settings import Settings
from daybook.sql.answers import all_answers


def test_help_lists_every_verb_in_a_group_with_its_whole_summary() -> None:
    shown = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    listed = re.findall(r"^  ([a-z][a-z-]+)  +\S", shown, re.MULTILINE)
    assert listed == list(COMMANDS), "every verb, group by group"
    assert all(f"{title}:" in shown for title in GROUPS)
    assert "..." not in shown.partition("Start and stop:")[2], "no summary is cut off"
    assert max(map(len, shown.splitlines())) <= 80


def test_the_version_is_the_packages() -> None:
    shown = CliRunner().invoke(cli, ["--version"])
    assert (shown.exit_code, shown.output.split()[-1]) == (0, metadata.version("daybook"))


@pytest.mark.parametrize(
    ("typed", "meant"), [("statsu", "status"), ("anwsers", "answers"), ("acceptloss", "accept-loss")]
)
def test_a_misspelt_verb_gets_a_suggestion(typed: str, meant: str) -> None:
    refused = CliRunner().invoke(cli, [typed])
    assert refused.exit_code == 2
    assert f"No such command '{typed}'. Did you mean {meant}" in refused.stderr


def test_a_name_unlike_every_verb_gets_no_suggestion() -> None:
    assert "Did you mean" not in CliRunner().invoke(cli, ["zzzz"]).stderr


def test_a_misspelt_answer_gets_a_suggestion(own_settings: Settings) -> None:
    error = CliRunner().invoke(cli, ["answer", "event_popularty", "--day", "2026-05-03"]).exception
    assert isinstance(error, BadInput)
    assert "there is no answer 'event_popularty'; the answers are: " in str(error)
    assert "Did you mean event_popularity" in str(error)


def test_the_answers_are_listed_for_programs_too() -> None:
    listed = json.loads(CliRunner().invoke(cli, ["answers", "--json"]).stdout)
    assert [one["answer"] for one in listed] == list(all_answers())
    assert listed[0]["columns"] == all_answers()[listed[0]["answer"]].columns
