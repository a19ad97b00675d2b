"""How ``daybook forget-user`` passes a player on, and its messages; a program replaces the Spark driver."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from daybook.cli.corrections import forget_user
from daybook.pipeline.erasures import user_digest
from daybook.settings import Settings

DRIVER = """
import json, os, stat, sys
from daybook.pipeline.erasures import user_digest
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
file = given["--player"]
player = json.load(open(file, encoding="utf-8"))
seen = {"command": sys.argv, "file": file, "mode": stat.S_IMODE(os.stat(os.path.dirname(file)).st_mode), **player}
json.dump(seen, open(os.environ["SEEN"], "w"))
digest = user_digest(player["user_id"]) if player["user_id"] != "nobody" else None
json.dump({"records": 0, "days": [], "user_digest": digest}, open(given["--summary"], "w"))
"""

Forget = Callable[..., tuple[Result, dict[str, Any]]]


@pytest.fixture
def forget(own_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Forget:
    def command(_settings: Settings, job: str, arguments: list[str]) -> list[str]:
        assert job == "forget_user"
        return [sys.executable, "-c", DRIVER, *arguments]

    monkeypatch.setattr("daybook.jobs.submit.submit_command", command)
    # as in cron: a JVM decodes its command line by this locale
    environment = {"LC_ALL": "POSIX", "PYTHONPATH": ":".join(sys.path), "SEEN": str(tmp_path / "seen.json")}
    monkeypatch.setattr("daybook.jobs.environment.job_environment", lambda _settings: environment)

    def forgets(*arguments: str) -> tuple[Result, dict[str, Any]]:
        done = CliRunner().invoke(forget_user, ["--yes", *arguments])
        seen = tmp_path / "seen.json"
        return done, json.loads(seen.read_text(encoding="utf-8")) if seen.exists() else {}

    return forgets


@pytest.mark.parametrize("player", ["leaver", "Jürgen Größe", "\U0001f5e1", "-x", '"quoted" \\ $HOME'])
def test_a_player_and_the_note_are_on_no_command_line(forget: Forget, player: str) -> None:
    done, seen = forget("--note", "asked by Jürgen", "--", player)
    assert done.exit_code == 0, done.output
    assert (seen["user_id"], seen["note"], seen["mode"]) == (player, "asked by Jürgen", 0o700)
    words = [word for word in seen["command"] if player in word or "asked by" in word]
    assert words == []
    assert f"Recorded in erasures as {user_digest(player)[:12]}" in done.output
    assert not Path(seen["file"]).exists()


def test_an_unknown_player_is_reported_as_unknown(forget: Forget) -> None:
    done, _ = forget("nobody")
    assert done.exit_code == 0
    assert "No table has a row of this user. Nothing was changed" in done.output


def test_a_name_that_is_not_text_is_refused(forget: Forget) -> None:
    done, seen = forget("J\udcfcrgen")
    assert (type(done.exception).__name__, seen) == ("BadInput", {})
