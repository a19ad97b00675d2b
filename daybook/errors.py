"""Errors that are meant to be read by the person who runs Daybook."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DaybookError(Exception):
    """An error that the reader can act on; its one-line text names the problem, the day, what is safe and what to do.

    The command line prints only the text and exits with :attr:`exit_status`. A failing task raises it, so that the text
    is the last line of the log.
    """

    exit_status = 1


class NonRetryableError(DaybookError):
    """Retrying cannot help: a person has to decide. Airflow does not retry the task."""


class BadInput(DaybookError):
    """The request is invalid: a wrong day, an unknown answer, a stack that is not up. Nothing was changed."""

    exit_status = 2


class NotNow(BadInput):
    """A dependency does not answer or is in use at the moment: a retry may succeed."""


def may_pass(error: BaseException) -> bool:
    """Whether a retry of the same operation may succeed."""
    return isinstance(error, NotNow) or not isinstance(error, NonRetryableError | BadInput)


def network_reason(error: BaseException) -> str:
    """Return the system's message for a failed request, which urllib wraps in its own.

    >>> from urllib.error import URLError
    >>> network_reason(URLError(ConnectionRefusedError(111, "Connection refused")))
    'Connection refused'
    >>> network_reason(TimeoutError("timed out"))
    'timed out'
    """
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the names most similar to a misspelt one; empty if no name is similar.

    >>> did_you_mean("statsu", ["status", "answers"])
    ' Did you mean status?'
    >>> did_you_mean("x", ["status"])
    ''
    """
    near = get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
