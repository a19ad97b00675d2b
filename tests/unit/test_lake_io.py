"""No Avro file with damaged ends reaches the decoder, which could crash the process."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import pytest

from daybook.errors import DaybookError
from daybook.lake.catalog import load
from daybook.lake.file_io import check_avro
from daybook.lake.tables import RAW_EVENTS
from daybook.settings import Settings
from tests.unit.small_lake import SmallLake

DAY = date(2026, 5, 3)


@pytest.fixture
def lake(own_settings: Settings) -> SmallLake:
    lake = SmallLake(own_settings)
    lake.land({DAY: 12}, end={0: 112})
    return lake


def avro(lake: SmallLake, pattern: str) -> Path:
    [file] = (Path(lake.settings.warehouse.removeprefix("file://")) / "game" / RAW_EVENTS).rglob(pattern)
    return file


@pytest.mark.parametrize("pattern", ["snap-*.avro", "*-m0.avro"])
def test_only_a_whole_file_is_decoded(lake: SmallLake, pattern: str) -> None:
    held = avro(lake, pattern).read_bytes()
    check_avro(held)
    header = held.index(held[-16:]) + 16  # the header alone is also a complete file, without records
    for end in (end for end in range(len(held)) if end != header):
        with pytest.raises(ValueError, match="it "):
            check_avro(held[:end])
    with pytest.raises(ValueError, match="does not end with the sync marker"):
        check_avro(held + b"\0")


@pytest.mark.parametrize("head", [b"", b"Obj\x01"], ids=["garbled", "start is right"])
def test_garbled_files_are_named_and_end_no_process(lake: SmallLake, head: bytes) -> None:
    """Without the check, one in twelve of them causes a segmentation fault, and this process would crash."""
    file = avro(lake, "snap-*.avro")
    tail = file.read_bytes()[-17::-1]
    table = load(lake.settings, RAW_EVENTS)
    assert table is not None
    for seed in range(200):
        file.write_bytes((head + random.Random(seed).randbytes(16) + tail)[: len(tail) + 16])
        with pytest.raises(DaybookError, match=rf"^{file}, a manifest list of .* is damaged"):
            table.scan().to_arrow()
