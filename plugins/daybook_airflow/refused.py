"""The error of a run that cannot succeed as requested."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowFailException


class RefusedRun(AirflowFailException):
    """Neither a retry nor the same command can succeed; the message names the next step."""
