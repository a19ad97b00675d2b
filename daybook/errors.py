"""Errors that are meant to be read by the person who runs Daybook."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DaybookError(Exception):
    """Something the reader can act on; its text is one line that says what, which day, what is safe and what to do.

    The command line prints the text alone and exits with :attr:`exit_status`; a failing task raises it, so that its
    text is the last line of the log.
    """

    exit_status = 1


class NeedsDecision(DaybookError):
    """Another try would end the same: somebody has to look, and decide. Airflow does not try the task again."""


class BadInput(DaybookError):
    """What was asked for cannot be: a wrong day, an unknown answer, a stack that is not up. Nothing was changed."""

    exit_status = 2


class NotNow(BadInput):
    """What is needed does not answer, or is in use, at this moment: another try may succeed."""


def may_pass(error: BaseException) -> bool:
    """Whether another try of the same may succeed."""
    return isinstance(error, NotNow) or not isinstance(error, NeedsDecision | BadInput)


def network_reason(error: BaseException) -> str:
    """Why a request failed, in the system's words: urllib wraps them in its own.

    >>> from urllib.error import URLError
    >>> network_reason(URLError(ConnectionRefusedError(111, "Connection refused")))
    'Connection refused'
    >>> network_reason(TimeoutError("timed out"))
    'timed out'
    """
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the names that are most like a misspelt one; empty if none is.

    >>> did_you_mean("statsu", ["status", "answers"])
    ' Did you mean status?'
    >>> did_you_mean("x", ["status"])
    ''
    """
    near = get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
