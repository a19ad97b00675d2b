"""A player's text on a terminal is shown and never executed; for a program it is unchanged."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from daybook.cli.output import print_table
from daybook.formatting import csv_text
from daybook.settings import REPOSITORY, Settings
from tests.hostile_text import HOSTILE_NAMES, commands_a_terminal
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)
DAYBOOK = Path(sys.executable).with_name("daybook")
COMMANDS = ("\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\rb", "x\x7f", "row\nforged  row", "\u202eknife", "\U000e0041")
"""Never valid in an event; but rejected records contain them, and a producer that bypasses the intake can send them."""
ITEMS = tuple(dict.fromkeys((*COMMANDS, *HOSTILE_NAMES)))
FIRST = ("query", "SELECT item FROM event_popularity ORDER BY events")
PIVOT = "PIVOT event_popularity ON item USING SUM(events)"


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    lake = SmallLake(own_settings)
    rows = [("purchase_item", item, number, 1, 0.1, number) for number, item in enumerate(ITEMS)]
    snapshot = lake.put("event_popularity", DAY, *rows)
    lake.publish(DAY, {"event_popularity": snapshot}, receipt=f"2026-05-03 r1: {COMMANDS[0]} leads")
    return lake


def printed(*command: str) -> bytes:
    """The bytes that the program writes to a pipe, including errors."""
    done = subprocess.run(
        [DAYBOOK, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )
    return done.stdout


def on_a_terminal(*command: str) -> str:
    """The bytes that a terminal receives."""
    ours, its = pty.openpty()
    with subprocess.Popen([DAYBOOK, *command], stdout=its, stderr=its, env={**os.environ, "NO_COLOR": "1"}) as process:
        os.close(its)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux reports a closed other side this way
                break
            if not part:
                break
            parts.append(part)
        assert process.wait(60) == 0
    os.close(ours)
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    "command",
    [
        FIRST,
        (*FIRST, "--json"),
        ("query", PIVOT),
        ("answer", "event_popularity", "--day", "2026-05-03"),
        ("answer", "event_popularity", "--day", "2026-05-03", "--json"),
        ("receipts", "--day", "2026-05-03"),
        ("receipts", "--day", "2026-05-03", "--json"),
        ("status", "--json"),
        ("answer", "\x1b[2J", "--day", "2026-05-03"),  # an error that repeats its input
    ],
    ids=lambda command: " ".join(command),
)
def test_nothing_that_is_printed_commands_a_terminal(lake: SmallLake, command: tuple[str, ...]) -> None:
    text = printed(*command).decode()
    assert text
    assert commands_a_terminal(text) == set()


def test_json_output_is_unchanged(lake: SmallLake) -> None:
    rows = json.loads(printed(*FIRST, "--json"))
    assert [row["item"] for row in rows] == list(ITEMS)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_letters_that_a_terminal_does_not_have_are_escaped(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...], encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    sql = "SELECT item FROM event_popularity UNION ALL SELECT 'Jörg 剣'"
    shown = printed("query", sql, *form).decode(encoding)
    assert "Traceback" not in shown
    assert commands_a_terminal(shown) == set()
    if form:
        assert {row["item"] for row in json.loads(shown)} == {*ITEMS, "Jörg 剣"}


def test_csv_for_a_program_is_as_it_is_and_on_a_terminal_is_not(lake: SmallLake) -> None:
    rows = [{"item": item} for item in ITEMS]
    assert printed(*FIRST, "--csv").decode() == csv_text(["item"], rows)
    shown = on_a_terminal(*FIRST, "--csv")
    assert "\\u001b[2J" in shown
    assert commands_a_terminal(shown.replace("\r\n", "\n")) == set()


def test_a_terminal_still_gets_colours_and_no_players_command(lake: SmallLake) -> None:
    shown = on_a_terminal("answer", "event_popularity", "--day", "2026-05-03")
    assert "\x1b[3mevent_popularity, 2026-05-03" in shown, "Rich's own: the title in italics"
    without = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r\n", "\n")
    assert commands_a_terminal(without) == set()
    assert "\\u001b[2J" in without


def test_a_name_draws_no_row_and_no_colour_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("t", [{"[red]item[/red]": "row\nforged row\tx"}])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert lines == ["t", "[red]item[/red]", "row\\u000aforged row\\u0009x"]


def test_every_console_is_made_in_one_place() -> None:
    for folder in ("daybook", "services"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            if file.name != "terminal.py":
                found = re.findall(r"\bConsole\(", file.read_text(encoding="utf-8"))
                assert found == [], f"{file}: daybook.cli.terminal.rich_console makes them"
