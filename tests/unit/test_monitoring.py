"""monitoring/: every expression is PromQL, every alert has instructions, and every mounted file exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import promql_parser
import pytest
import yaml

from daybook.settings import REPOSITORY

MONITORING = REPOSITORY / "monitoring"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana" / "dashboards" / "daybook.json").read_text("utf-8"))
EXPRESSIONS: dict[str, str] = {
    **{f"alert {alert['alert']}": alert["expr"] for alert in ALERTS},
    **{
        f"panel {panel['title']}, {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}


def metrics() -> set[str]:
    """Daybook's own metrics that alerts and the dashboard use."""
    return {name for expression in EXPRESSIONS.values() for name in re.findall(r"\bdaybook_\w+", expression)}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=list(EXPRESSIONS))
def test_each_expression_can_be_read(expression: str) -> None:
    promql_parser.parse(expression)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_each_alert_states_what_is_safe_and_what_to_do(alert: dict[str, Any]) -> None:
    assert set(alert["annotations"]) == {"summary", "safe", "next"}
    assert alert["labels"]["severity"] in {"page", "ticket"}
    page = (REPOSITORY / "docs" / "observability.md").read_text(encoding="utf-8")
    assert f"| `{alert['alert']}` |" in page


def test_no_panel_covers_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        assert panel["description"]
        taken |= cells


def test_the_files_that_compose_mounts_exist() -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [str(one) for name in ("prometheus", "grafana") for one in services[name]["volumes"]]
    files = [one.split(":")[0] for one in mounts if one.startswith("./")]
    assert files
    assert all((REPOSITORY / file).exists() for file in files)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; Prometheus brings it")
@pytest.mark.parametrize("command", ["check config --syntax-only prometheus.yml", "test rules alerts_test.yml"])
def test_promtool_agrees(command: str) -> None:
    done = subprocess.run(["promtool", *command.split()], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
