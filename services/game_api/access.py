"""API keys of the games. The file is read again when it changes, so keys are rotated without a restart.

The file is always applied as it is. A key whose line was removed no longer works, even if other lines are wrong, and
without a file nobody may send events. The reason is a leaked key, which must stop working at once.

A line of the file is ``<game> <SHA-256 of the key, in hex>``. A game may have several lines. To rotate a key, add the
new one, switch the game over, and remove the old one. ``#`` begins a comment. The keys themselves are not stored on
the server: they are 256 random bits, so a plain digest cannot be reversed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import Final

import click
import structlog
from flask import Flask, Response, g, request

from daybook.errors import BadInput
from daybook.settings import Settings
from game_api.problems import problem

LOOK_AGAIN_SECONDS: Final = 1.0
"""Interval between two checks whether the file has changed."""
LEGACY_ENDPOINTS: Final = frozenset({"routes_of_2019.purchase", "routes_of_2019.join_a_guild"})
OPEN_ENDPOINTS: Final = LEGACY_ENDPOINTS | {
    *("health.live", "health.ready", "openapi.home", "openapi.show", "openapi.docs", "swagger_ui.show")
}
"""Endpoints that need no key. All others need one, including later ones; an unknown path gets a 404 without a key."""
NO_KEY_LINE: Final = "a line is a comment, or a game and the SHA-256 of its key in hex"

_log = structlog.get_logger(__name__)


class KeyRing:
    """The games' keys by their digests, in the current state of the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._content: bytes | None = None
        self._games: dict[str, str] = {}
        self._look_at = float("-inf")

    def game_of(self, key: str) -> str | None:
        """Return the key's game; None if the key is unknown. Takes the same time for right and wrong keys."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for known, game in self._current().items():
            if hmac.compare_digest(known, digest):
                found = game
        return found

    def _current(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() >= self._look_at:
                # compare the bytes: after a change within one tick of the clock, time and size can be the same
                try:
                    content = self._file.read_bytes()
                except OSError as error:
                    self._obey(None, error.strerror)
                else:
                    self._obey(content)
                # an editor removes the file for a moment: while it is missing, every request checks again
                self._look_at = time.monotonic() + (LOOK_AGAIN_SECONDS if self._content is not None else 0)
            return self._games

    def _obey(self, content: bytes | None, trouble: str | None = None) -> None:
        """Accept the keys in a file's content; no key if the file cannot be read. Logs the changes."""
        if content == self._content and self._look_at > float("-inf"):
            return
        self._content = content
        self._games, wrong_lines = read_keys(content or b"")
        log = _log.bind(games=len(set(self._games.values())), keys=len(self._games))
        if wrong_lines:
            log.error("invalid lines of DAYBOOK_API_KEYS_FILE are ignored", lines=wrong_lines, reason=NO_KEY_LINE)
        if self._games:
            log.info("API keys read")
        else:
            log.error("no API key is accepted", file=str(self._file), reason=trouble or "the file contains no key")


def read_keys(content: bytes) -> tuple[dict[str, str], list[int]]:
    """Parse a file's content: digest -> game, and the numbers of lines that are neither a key nor a comment.

    Lines are independent: a key is accepted as long as its line exists, whatever the other lines contain.

    >>> read_keys(b"chess not-a-digest # nobody's")
    ({}, [1])
    """
    games: dict[str, str] = {}
    wrong: list[int] = []
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if len(words) == 2 and re.fullmatch(r"[0-9a-fA-F]{64}", words[1]):
            games[words[1].lower()] = words[0]
        elif words:
            wrong.append(number)
    return games, wrong


def check_at_start(settings: Settings) -> None:
    """Check before the intake starts that the file has a key: at that time a file without one is a mistake.

    Raises:
        BadInput: the file is missing, cannot be read, or has no line with a key. The message does not show its content.
    """
    if not settings.api_keys_file:
        return
    file = Path(settings.api_keys_file)
    try:
        games, wrong_lines = read_keys(file.read_bytes())
    except OSError as error:
        raise BadInput(f"DAYBOOK_API_KEYS_FILE: {file} cannot be read: {error.strerror}") from None
    if not games:
        lines = f"; invalid lines: {', '.join(map(str, wrong_lines))} ({NO_KEY_LINE})" if wrong_lines else ""
        raise BadInput(f"DAYBOOK_API_KEYS_FILE: {file} contains no key{lines}; create one with `daybook api-key GAME`")


def init_app(app: Flask, settings: Settings) -> None:
    """Require a key for all endpoints except :data:`OPEN_ENDPOINTS`; no keys are required if no file is configured.

    The game is stored in ``g.game`` for the log and the limit.
    """
    if not settings.api_keys_file:
        return
    keys = KeyRing(Path(settings.api_keys_file))

    @app.before_request
    def require_key() -> Response | None:
        if request.endpoint is None or request.endpoint in OPEN_ENDPOINTS:
            return None
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return _refused("send your game's API key: Authorization: Bearer KEY", "Bearer")
        g.game = keys.game_of(key.strip())
        if g.game is None:
            return _refused("this API key is unknown or was removed", 'Bearer error="invalid_token"')
        return None


def _refused(detail: str, challenge: str) -> Response:
    response = problem(HTTPStatus.UNAUTHORIZED, detail)
    response.headers["WWW-Authenticate"] = challenge
    return response


@click.command("api-key", short_help="Create an API key for a game.")
@click.argument("game")
def api_key(game: str) -> None:
    """Create an API key for GAME: print the key for the game, and the line that makes the intake accept it."""
    if not re.fullmatch(r"[\w.-]{1,64}", game):
        raise BadInput(
            f"{game!r} is not a valid name for a game; use up to 64 letters, digits, dots, dashes and underscores"
        )
    key = secrets.token_urlsafe(32)
    click.echo(f"Key, shown only once:             {key}")
    click.echo(f"Line for DAYBOOK_API_KEYS_FILE:   {game} {hashlib.sha256(key.encode()).hexdigest()}")
