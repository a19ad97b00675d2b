r"""Text of players on its way to a terminal: what would command it, or deceive its reader, is written as an escape.

Names of players, guilds and hosts come from the internet. The contract keeps control characters out of events, but a
rejected record is shown as it came, and marks that turn the direction of reading or cannot be seen are letters of
languages that the contract takes. The escapes are JSON's, so JSON that is printed stays the same JSON.

:func:`escape_streams` is called once, by :mod:`daybook.cli.main`: whatever a verb prints, also an error, goes through
it. Rich's colours are such commands, so its consoles (:func:`rich_console`) write past it; what they are given of
players goes through :func:`in_one_line` before.
"""

from __future__ import annotations

import codecs
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO, cast

from daybook.formatting import escaped, json_escape

if TYPE_CHECKING:
    from rich.console import Console


def _as_escapes(error: UnicodeError) -> tuple[str, int]:
    """For :func:`codecs.register_error`: the characters that a stream's encoding lacks, as JSON's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(json_escape, error.object[error.start : error.end])), error.end


codecs.register_error("daybook-escapes", _as_escapes)


class _Escaping:
    """A stream of text that escapes what is written to it."""

    encoding = "utf-8"
    """It takes every letter. Past a stream that says ASCII click writes, in UTF-8, and nothing would be escaped."""

    def __init__(self, behind: TextIO) -> None:
        self.behind = behind

    def write(self, text: str) -> int:
        self.behind.write(escaped(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def escape_streams() -> None:
    """Let all that this process prints from now on be escaped, also what the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="daybook-escapes")
    sys.stdout = cast(TextIO, _Escaping(sys.stdout))
    sys.stderr = cast(TextIO, _Escaping(sys.stderr))


def for_programs() -> TextIO:
    """Standard output for text whose form has no escapes, such as CSV: as it is, unless a terminal shows it."""
    return sys.stdout if sys.stdout.isatty() else _behind(sys.stdout)


def rich_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Rich's console: its colours reach the terminal, and what it is told to print is not escaped."""
    from rich.console import Console

    return Console(file=_behind(sys.stderr if stderr else sys.stdout), soft_wrap=soft_wrap)


def _behind(stream: TextIO) -> TextIO:
    return stream.behind if isinstance(stream, _Escaping) else stream
