"""The README states no command, file or target that is not there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from daybook.cli import cli
from daybook.settings import REPOSITORY, Settings

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PLACEHOLDERS = {"A": "2026-05-03", "B": "2026-05-04", "D": "2026-05-03", "N": "100", "S": "1"}
SPANS = re.findall(r"`([^`]+)`", TEXT)


def commands(program: str) -> list[list[str]]:
    """The arguments of each time that the README calls a program, placeholders filled in."""
    lines = [span.split(" ", 1)[1] for span in SPANS if span.startswith(f"{program} ")]
    assert lines, f"the README calls {program}"
    return [[PLACEHOLDERS.get(word, word) for word in shlex.split(line.rstrip("."))] for line in lines]


@pytest.mark.parametrize("arguments", commands(".venv/bin/daybook"), ids=" ".join)
def test_each_daybook_command_is_one(arguments: list[str]) -> None:
    with click.Context(cli) as context:
        command = cli.get_command(context, arguments[0])
        assert command is not None, f"there is no verb {arguments[0]}"
        command.make_context(arguments[0], arguments[1:], resilient_parsing=True)


@pytest.mark.parametrize("arguments", commands("airflow"), ids=" ".join)
def test_each_airflow_command_is_one(arguments: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(arguments)


def test_each_make_target_is_one() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):.*##", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    called = set(
        re.findall(r"\bmake ([a-z0-9-]+)", " ".join(SPANS) + " ".join(re.findall(r"^ {4}make .*", TEXT, re.M)))
    )
    assert called
    assert called <= targets


def test_each_file_and_picture_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (REPOSITORY / target).exists(), target
    pictures = {path.name for path in (REPOSITORY / "docs" / "images").glob("*.png")}
    assert {Path(target).name for target in re.findall(r"\]\((docs/images/[^)]+)\)", TEXT)} == pictures


def test_each_setting_is_one() -> None:
    known = {f"DAYBOOK_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"DAYBOOK_\w+", TEXT)) <= known
