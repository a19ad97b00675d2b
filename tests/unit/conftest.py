"""Unit tests need no running services.

Airflow gets its own folder, and a database URL that nothing can open.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybook.settings import Settings, load_settings

if TYPE_CHECKING:  # loads PyIceberg
    from tests.unit.small_lake import BuiltOnce, SmallLake

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


@pytest.fixture
def built_once(
    own_settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> BuiltOnce:
    """Returns a lake that a function has filled; each test gets its own copy, and the function runs once in a process.

    Iceberg's metadata holds absolute paths. So the state folder of these tests has the same path in all of them, not
    that of ``own_settings``.
    """
    from tests.unit.small_lake import SmallLake

    def lake(fill: Callable[[SmallLake], None]) -> SmallLake:
        home = tmp_path_factory.getbasetemp() / "built-once"
        filled = tmp_path_factory.getbasetemp() / f"{fill.__module__}.{fill.__name__}"
        shutil.rmtree(home, ignore_errors=True)
        monkeypatch.setenv("DAYBOOK_HOME", str(home))
        load_settings.cache_clear()
        if filled.exists():
            shutil.copytree(filled, home)
            return SmallLake(load_settings())
        made = SmallLake(load_settings())
        fill(made)
        shutil.copytree(home, filled)
        return made

    return lake
