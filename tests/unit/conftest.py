"""Unit tests need no running services.

Airflow gets its own folder, and a database URL that nothing can open.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybook.settings import Settings, load_settings

_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="daybook-unit-airflow-")  # removed when the process ends
# Airflow reads these once, at import; a test that used its database would fail instead of writing somewhere
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_AIRFLOW_HOME.name}/no/such/folder/airflow.db"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Default settings with a separate state folder, for this test and for the code it calls."""
    for name in [name for name in os.environ if name.startswith("DAYBOOK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path / "home"))
    load_settings.cache_clear()
    yield load_settings()
    load_settings.cache_clear()
