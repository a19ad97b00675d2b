"""The checks' files: complete headers, bound thresholds, no unused ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybook.errors import DaybookError
from daybook.sql.checks import CHECKS_DIR, checks, thresholds
from daybook.sql.files import parameters


def test_every_check_is_read_and_every_threshold_used() -> None:
    known = checks()
    assert {"unique_event_ids", "rejected_share"} <= known.keys()
    assert {one.severity for one in known.values()} == {"fail", "warn"}
    used = set().union(*(parameters(one.statement) for one in known.values()))
    assert thresholds().keys() == used - {"first_day", "last_day"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- Check: a\n-- Run: b\nSELECT 1", "one.sql lacks the header line -- Severity:"),
        ("-- Check: a\n-- Severity: stop\n-- Run: b\nSELECT 1", "'stop'; write fail or warn"),
        ("-- Check: a\n-- Severity: fail\n-- Run: b\nSELECT :unheard_of", "binds :unheard_of"),
    ],
)
def test_a_file_that_is_not_whole_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "thresholds.toml").write_bytes((CHECKS_DIR / "thresholds.toml").read_bytes())
    (tmp_path / "one.sql").write_text(text, encoding="utf-8")
    with pytest.raises(DaybookError) as error:
        checks(tmp_path)
    assert message in str(error.value)
