"""The load test of the course project: ApacheBench with its 2019 command lines; only the port differs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest

from daybook.settings import Settings
from tests.figures import Figures
from tests.integration.own_broker import OwnIntake, records

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("ab") is None, reason="ApacheBench (ab) is not installed"),
]

REQUESTS = 20
PATHS = (
    "/purchase/sword",
    "/purchase/shield",
    "/purchase/helmet",
    "/purchase/knife",
    "/purchase/gauntlets",
    "/join_a_guild",
)
PROVIDERS = ("comcast", "att", "google", "frontier", "cox", "earthlink")


def test_its_lines_run_with_no_failed_request(settings: Settings, intake: OwnIntake, figures: Figures) -> None:
    before = records(settings).keys()
    done = failed = 0
    for number, path in enumerate(PATHS):
        host = f"user{number}.{PROVIDERS[number]}.com"
        line = ["ab", "-n", str(REQUESTS), "-c", "5", "-H", f"Host: {host}", f"{settings.intake_url}{path}"]
        output = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout
        done += _number(output, "Complete requests")
        failed += _number(output, "Failed requests")
        assert "Non-2xx responses" not in output
    figures({"lines": len(PATHS), "requests": done, "failed": failed})
    assert (done, failed) == (len(PATHS) * REQUESTS, 0)
    added = [message for at, message in records(settings).items() if at not in before]
    players = Counter((message.key() or b"").decode() for message in added)
    assert players == {f"user{number}": REQUESTS for number in range(len(PATHS))}


def _number(output: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", output, re.MULTILINE)
    assert found is not None, output
    return int(found[1])
