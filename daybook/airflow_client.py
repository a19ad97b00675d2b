"""A small client of the running Airflow's REST API, and the name and trigger command of the daily DAG."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daybook.errors import DaybookError, network_reason
from daybook.settings import Settings

USER = "admin"


class NoAnswer(DaybookError):
    """Airflow did not answer in time; on a busy machine it may answer the next call."""


class AirflowApi:
    """Client of Airflow's REST API; logs in at the first call that needs it."""

    def __init__(self, settings: Settings, password: str, timeout_seconds: float = 20) -> None:
        self._url = settings.airflow_url
        self._password = password
        self._timeout_seconds = timeout_seconds
        self._token: str | None = None
        # never through a proxy: the API is on this machine
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _send(self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data=data, method=method, headers={"Content-Type": "application/json", **headers}
        )
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            detail = " ".join(error.read().decode(errors="replace").split())[:300]
            raise AirflowRefused(f"Airflow answered {error.code} to {method} {path}: {detail}", error.code) from None
        except (OSError, ValueError) as error:
            raise NoAnswer(f"Airflow does not answer at {self._url}: {network_reason(error)}") from None

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the state of each component, with the time of its last heartbeat; needs no login."""
        answer: dict[str, dict[str, Any]] = self._send("GET", "/api/v2/monitor/health", None, {})
        return answer

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the decoded response of one call, with ``path`` below ``/api/v2``.

        Raises:
            AirflowRefused: Airflow answered with an error status.
            NoAnswer: Airflow did not answer.
        """
        if self._token is None:
            login = {"username": USER, "password": self._password}
            self._token = self._send("POST", "/auth/token", login, {})["access_token"]
        return self._send(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self._token}"})


class AirflowRefused(DaybookError):
    """Airflow answered with an error status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def password_file(settings: Settings) -> Path:
    """Return the JSON file with the password of the UI's user ``admin``; only the user may read it."""
    return airflow_home(settings) / "passwords.json"


def password(settings: Settings) -> str:
    """Return the password of the UI's user.

    Raises:
        DaybookError: its file cannot be read.
    """
    file = password_file(settings)
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))[USER])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DaybookError(
            f"{file}, which holds the password of Airflow's user, cannot be read ({type(error).__name__}). Remove it: "
            "`daybook down`, then `daybook up` creates a new password"
        ) from None


def api(settings: Settings, timeout_seconds: float = 20) -> AirflowApi:
    """Return a client of this stack's Airflow."""
    return AirflowApi(settings, password(settings), timeout_seconds)


DAG = "game_events_daily"


TRIGGER = f"airflow dags trigger {DAG}"
"""The command that starts a run of yesterday; ``-c`` with a JSON object sets parameters."""


def seconds_of(step: dict[str, Any]) -> float:
    """Return how long a step has been running, or ran, including deferred waits."""
    if not step["start_date"]:
        return 0.0
    end = datetime.fromisoformat(step["end_date"]) if step["end_date"] else datetime.now(UTC)
    return (end - datetime.fromisoformat(step["start_date"])).total_seconds()


def airflow_home(settings: Settings) -> Path:
    """``AIRFLOW_HOME``."""
    return settings.home / "airflow"
