"""The error of a run that nothing can make succeed as it was asked for."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowFailException


class RefusedRun(AirflowFailException):
    """Neither another try nor the same command can end otherwise; the text says what to do instead."""
