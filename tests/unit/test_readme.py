"""README and docs/tasks.md call Airflow correctly, and use every picture."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from daybook.settings import REPOSITORY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs" / "tasks.md"]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
PLACEHOLDERS = {"A": "2026-05-03", "B": "2026-05-04", "D": "2026-05-03", "N": "100", "S": "1"}
SPANS = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))


def commands(program: str) -> list[list[str]]:
    """The arguments of every call of a program on the pages, with placeholders filled in."""
    lines = [span.split(" ", 1)[1] for span in SPANS if span.startswith(f"{program} ")]
    assert lines, f"the pages call {program}"
    return [[PLACEHOLDERS.get(word, word) for word in shlex.split(line.rstrip("."))] for line in lines]


@pytest.mark.parametrize("arguments", commands("airflow"), ids=" ".join)
def test_each_airflow_command_is_one(arguments: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(arguments)


def test_each_picture_is_shown() -> None:
    pictures = {path.name for path in (REPOSITORY / "docs" / "images").glob("*.png")}
    assert {Path(target).name for target in re.findall(r"\]\((?:docs/)?(images/[^)]+)\)", TEXT)} == pictures
