"""Errors that are meant to be read by the person who runs Daybook."""

from __future__ import annotations


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
