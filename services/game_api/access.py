"""API keys: who may send events. The file is read again when it changes, so keys are rotated without a restart.

A line of the file is ``<game> <SHA-256 of the key, in hex>``; a game may have several lines, which is how a key is
rotated: add the new one, let the game change over, remove the old one. ``#`` begins a comment. The keys themselves are
nowhere on the server: they are 256 random bits, so a plain digest cannot be turned back.
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
"""How old the answer to "has the file changed" may be."""
OPEN_ENDPOINTS: Final = frozenset(
    {"health.live", "health.ready", "openapi.show", "openapi.docs", "swagger_ui.show"}
    | {"routes_of_2019.purchase", "routes_of_2019.join_a_guild"}
)
"""What asks for no key. Everything else does, also what is added later; a path that does not exist is told so first."""

_log = structlog.get_logger(__name__)


class KeyRing:
    """The games' keys, by their digests."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._read_state = self._state()
        self._games = read_keys(file)
        self._look_at = 0.0

    def game_of(self, key: str) -> str | None:
        """The game that a key belongs to; none if it is nobody's. Takes as long for a wrong key as for a right one."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for known, game in self._current().items():
            if hmac.compare_digest(known, digest):
                found = game
        return found

    def _current(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_AGAIN_SECONDS
                if (state := self._state()) != self._read_state:
                    self._read_state = state
                    self._read_again()
            return self._games

    def _read_again(self) -> None:
        try:
            self._games = read_keys(self._file)
        except BadInput as error:  # a slip in the file must not lock out every game
            _log.error("API keys not changed", reason=str(error))
        else:
            _log.info("API keys read again", games=len(set(self._games.values())), keys=len(self._games))

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read_keys(file: Path) -> dict[str, str]:
    """Digest -> game, of a file of keys.

    Raises:
        BadInput: the file cannot be read, a line is not a game and a digest, or there is no key. Says nothing of what
            the line holds.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"DAYBOOK_API_KEYS_FILE: {file} cannot be read") from None
    games: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not re.fullmatch(r"[0-9a-fA-F]{64}", words[1]):
            raise BadInput(
                f"DAYBOOK_API_KEYS_FILE: line {number} of {file} is not a game and the SHA-256 of its key; "
                "`daybook api-key GAME` makes such a line"
            )
        games[words[1].lower()] = words[0]
    if not games:
        raise BadInput(f"DAYBOOK_API_KEYS_FILE: {file} holds no key; `daybook api-key GAME` makes one")
    return games


def init_app(app: Flask, settings: Settings) -> None:
    """Ask for a key wherever :data:`OPEN_ENDPOINTS` does not say otherwise; for none at all if no file is named.

    The game is kept in ``g.game`` for the log and the limit.

    Raises:
        BadInput: the file is missing, broken or empty.
    """
    if not settings.api_keys_file:
        return
    keys = KeyRing(Path(settings.api_keys_file))

    @app.before_request
    def ask_for_key() -> Response | None:
        if request.endpoint is None or request.endpoint in OPEN_ENDPOINTS:
            return None
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return _refused("send your game's API key: Authorization: Bearer KEY", "Bearer")
        g.game = keys.game_of(key.strip())
        if g.game is None:
            return _refused("this API key is not known, or no longer", 'Bearer error="invalid_token"')
        return None


def _refused(detail: str, challenge: str) -> Response:
    response = problem(HTTPStatus.UNAUTHORIZED, detail)
    response.headers["WWW-Authenticate"] = challenge
    return response


@click.command("api-key", short_help="Make an API key for a game.")
@click.argument("game")
def api_key(game: str) -> None:
    """Make a new API key for GAME: print the key, for the game, and the line that makes the intake take it."""
    if not re.fullmatch(r"[\w.-]{1,64}", game):
        raise BadInput(f"{game!r} is no name for a game; take up to 64 letters, digits, dots, dashes and underscores")
    key = secrets.token_urlsafe(32)
    click.echo(f"Key, shown this once:             {key}")
    click.echo(f"Line for DAYBOOK_API_KEYS_FILE:   {game} {hashlib.sha256(key.encode()).hexdigest()}")
