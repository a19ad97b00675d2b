"""The docs name only commands, settings, targets and files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from daybook.cli.main import cli
from daybook.settings import REPOSITORY, Settings

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PLACEHOLDERS = {"A": "2026-05-03", "B": "2026-05-04", "D": "2026-05-03", "N": "100", "S": "1", "DIR": str(REPOSITORY)}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def commands() -> list[tuple[str, str]]:
    """Page, and the arguments of every ``daybook`` call on it: plain, from the venv, or in a container."""
    called = re.compile(r"(?:`|^ {4}|^)(?:\.venv/bin/|docker compose run --rm )?daybook ([a-z][^`\n#]*)", re.MULTILINE)
    return sorted(
        {(page.name, line.strip()) for page in PAGES for line in called.findall(page.read_text(encoding="utf-8"))}
    )


@pytest.mark.parametrize(("page", "line"), commands())
def test_each_daybook_command_is_one(page: str, line: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line.rstrip("."))]
    with click.Context(cli) as context:
        command = cli.get_command(context, words[0])
        assert command is not None, f"{page}: there is no verb {words[0]}"
        command.make_context(words[0], words[1:], resilient_parsing=True)


@each_page
def test_each_setting_is_one(page: Path) -> None:
    known = {f"DAYBOOK_{name.upper()}" for name in Settings.model_fields}
    tests = {"DAYBOOK_CLUSTERS", "DAYBOOK_COMPOSE", "DAYBOOK_E2E", "DAYBOOK_FAULTS"}
    assert set(re.findall(r"(?<!_)DAYBOOK_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8"))) <= known | tests


@each_page
def test_each_make_target_is_one(page: Path) -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):.*##", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    text = page.read_text(encoding="utf-8")
    code = " ".join(re.findall(r"`([^`]+)`", text)) + " ".join(re.findall(r"^(?: {4})?make .*", text, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9-]+)", code)) <= targets


@each_page
def test_each_file_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
