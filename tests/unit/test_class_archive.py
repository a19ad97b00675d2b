"""The archive of a driver's classes: used if it exists, and never if other inputs made it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from daybook.jobs import class_archive
from daybook.jobs.config import submit_conf
from daybook.jobs.java import SUPPORTED
from daybook.settings import REPOSITORY, Settings, load_settings
from daybook.setup.class_archive import install


def test_a_driver_is_told_of_the_archive_if_there_is_one(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert "SharedArchiveFile" not in submit_conf(own_settings)["spark.driver.extraJavaOptions"]
    class_archive.archive_file().touch()
    told = f'"-XX:SharedArchiveFile={class_archive.archive_file()}"'
    assert told in submit_conf(own_settings)["spark.driver.extraJavaOptions"]


def test_other_jars_have_another_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = class_archive.archive_file()
    (tmp_path / "jars").mkdir()
    sums = shutil.copy(REPOSITORY / "jars" / "sha256.txt", tmp_path / "jars")
    monkeypatch.setattr(class_archive, "REPOSITORY", tmp_path)
    assert class_archive.archive_file() == before
    Path(sums).write_text("another jar", encoding="utf-8")
    assert class_archive.archive_file() != before


def test_a_rehearsal_that_fails_is_a_line_and_leaves_nothing(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = tmp_path / class_archive.NAME.format("former")
    former.touch()
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text('#!/bin/sh\necho "$DAYBOOK_LAKE_CATALOG_URI"\nexit 1\n', encoding="utf-8")
    submit.chmod(0o755)
    monkeypatch.setenv("DAYBOOK_LAKE_CATALOG_URI", "jdbc:sqlite:somebody's lake")
    load_settings.cache_clear()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(class_archive, "TAKEN_BY", SUPPORTED)
    install()
    said = capsys.readouterr().out
    assert f"no archive, drivers start slower: jdbc:sqlite:{tmp_path}/rehearsal-" in said, "and in nobody's lake"
    base = class_archive.archive_file().with_suffix(".base.jsa")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", base.name]
