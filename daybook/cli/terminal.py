r"""Escapes control and bidirectional characters in untrusted text before a terminal shows it.

Names of players, guilds and hosts come from the internet. The contract rejects events with control characters, but a
rejected record is shown unchanged. The contract accepts invisible and direction marks, since some languages need them.
The escapes are JSON's, so printed JSON stays the same JSON.

:mod:`daybook.cli.main` calls :func:`escape_streams` once: it affects everything that a verb prints, including errors.
Rich's colours are control characters, so its consoles (:func:`rich_console`) bypass it; untrusted text for them is
escaped by :func:`in_one_line` first.
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
    """Return the characters that a stream's encoding lacks as JSON escapes, for :func:`codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(json_escape, error.object[error.start : error.end])), error.end


codecs.register_error("daybook-escapes", _as_escapes)


class _Escaping:
    """A stream of text that escapes what is written to it."""

    encoding = "utf-8"
    """Accepts every character. Click bypasses a stream that reports ASCII, and writes UTF-8 without escapes."""

    def __init__(self, behind: TextIO) -> None:
        self.behind = behind

    def write(self, text: str) -> int:
        self.behind.write(escaped(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def escape_streams() -> None:
    """Escape everything that this process prints from now on, also characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="daybook-escapes")
    sys.stdout = cast(TextIO, _Escaping(sys.stdout))
    sys.stderr = cast(TextIO, _Escaping(sys.stderr))


def for_programs() -> TextIO:
    """Return standard output for formats without escapes, such as CSV: text is escaped only on a terminal."""
    return sys.stdout if sys.stdout.isatty() else _behind(sys.stdout)


def rich_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a Rich console: its colours reach the terminal, and its text is not escaped."""
    from rich.console import Console

    return Console(file=_behind(sys.stderr if stderr else sys.stdout), soft_wrap=soft_wrap)


def _behind(stream: TextIO) -> TextIO:
    return stream.behind if isinstance(stream, _Escaping) else stream
