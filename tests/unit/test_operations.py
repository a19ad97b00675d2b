"""docs/operations.md and docs/sizing.md name only existing commands, targets, files, names and settings."""

from __future__ import annotations

import json
import re
import shlex

import click
import pytest

from benchmarks.sizing import FIGURES, PAGE, page_with
from daybook import contract
from daybook.cli.main import cli
from daybook.settings import REPOSITORY, Settings

OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
SIZING = PAGE.read_text(encoding="utf-8")
NETWORK = (REPOSITORY / "daybook" / "network.py").read_text(encoding="utf-8")
"""Source of the variables that set-up reads from the shell."""
SPANS = re.findall(r"`([^`]+)`", OPERATIONS)
LINES = re.findall(r"^ {4}\.venv/bin/daybook ([^#\n]+)", OPERATIONS, re.MULTILINE)


@pytest.mark.parametrize("line", [*LINES, *(span[8:] for span in SPANS if span.startswith("daybook "))])
def test_each_daybook_command_is_one(line: str) -> None:
    # the parser checks that the folder to restore from exists
    words = [str(REPOSITORY) if word == "DIR" else word for word in shlex.split(line)]
    with click.Context(cli) as context:
        command = cli.get_command(context, words[0])
        assert command is not None, f"there is no verb {words[0]}"
        command.make_context(words[0], words[1:], resilient_parsing=len(words) == 1)


def test_each_option_named_alone_is_one_of_restore_or_backup() -> None:
    known = {option for name in ("backup", "restore") for option in _options(name)} | {"--to-version"}
    named = {word for span in SPANS for word in span.split() if word.startswith("--") and "daybook" not in span}
    assert named <= known, named - known


def _options(name: str) -> set[str]:
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        assert command is not None
        return {option for parameter in command.params for option in parameter.opts}


def test_airflow_has_the_commands() -> None:
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(["db", "migrate"])
    get_parser().parse_args(["db", "downgrade", "--to-version", "3.3.1"])


@pytest.mark.parametrize("text", [OPERATIONS, SIZING], ids=["operations", "sizing"])
def test_each_setting_target_and_file_is_there(text: str) -> None:
    settings = {f"DAYBOOK_{name.upper()}" for name in Settings.model_fields} | {"DAYBOOK_HOME"}
    assert set(re.findall(r"DAYBOOK_[A-Z_]+", text)) <= settings
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z0-9-]+)", text):
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target
    for file in re.findall(r"`((?:daybook|tests|jars|docs)/[\w/.]+)`", text):
        assert (REPOSITORY / file).exists(), file
    for name in re.findall(r"`(_Event|[A-Z]+_[A-Z]+|[A-Z][a-z]+[A-Z][a-zA-Z]+)`", text):
        assert name.startswith("DAYBOOK_") or hasattr(contract, name) or name in NETWORK, name


def test_the_advice_of_a_failing_run_is_in_the_code() -> None:
    code = "".join(
        (REPOSITORY / name).read_text(encoding="utf-8")
        for name in ("daybook/pipeline/losses.py", "spark/daybook_spark/landing.py")
    )
    messages = re.findall(r'fails: "([^"]+)"', OPERATIONS)
    assert len(messages) == 4
    for words in messages[1:]:
        assert words in code, words


def test_the_tables_are_those_of_the_figures() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert page_with(SIZING, figures) == SIZING, "docs/sizing.md is stale; `python -m benchmarks.sizing --only-page`"
    small, large = (one["events"] for one in figures["days"])
    assert large >= 10 * small, "too near to each other to distinguish a fixed part from one that grows"
