"""Temporary files of drivers: they are in the state folder, and are removed in time."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daybook.jobs.config import submit_conf
from daybook.jobs.temp_files import LEFT_AFTER, driver_dir, remove_leftovers
from daybook.settings import Settings

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def test_a_drivers_temporary_files_lie_in_the_state_folder_whatever_its_name(tmp_path: Path) -> None:
    own = Settings(home=tmp_path / "a folder")
    assert f'"-Djava.io.tmpdir={own.home}/drivers"' in submit_conf(own)["spark.driver.extraJavaOptions"]
    assert (own.home / "drivers").is_dir(), "Java does not make it"


def test_only_leftovers_of_killed_drivers_older_than_a_week_are_removed(own_settings: Settings) -> None:
    folder = driver_dir(own_settings)
    for name, age in {"old": LEFT_AFTER + timedelta(hours=1), "young": LEFT_AFTER - timedelta(hours=1)}.items():
        (folder / f"spark-{name}").mkdir()
        (folder / f"spark-{name}" / "copy.jar").write_bytes(b"jar")
        (folder / f"{name}.so").write_bytes(b"library")
        for path in (folder / f"spark-{name}", folder / f"{name}.so"):
            os.utime(path, ((NOW - age).timestamp(),) * 2)
    assert remove_leftovers(own_settings, NOW) == ["old.so", "spark-old"]
    assert sorted(path.name for path in folder.iterdir()) == ["spark-young", "young.so"]
    assert remove_leftovers(own_settings, NOW) == []
