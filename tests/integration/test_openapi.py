"""Requests generated from the intake's own OpenAPI document: each gets a documented answer."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from daybook.contract import EXAMPLES
from daybook.settings import Settings
from game_api.contracts import contract_files
from tests.integration.own_broker import OwnIntake

pytestmark = pytest.mark.integration

EXAMPLES_PER_OPERATION = 60


# errors are reported by 400, 404, 405, 413 and 415; within a batch by 207 and a verdict for the event
REFUSALS = [207, 400, 404, 405, 413, 415]
schema = schemathesis.openapi.from_dict(
    contract_files()["openapi.json"],
    config=schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}),
)


def test_it_serves_the_document_that_is_committed(settings: Settings, intake: OwnIntake) -> None:
    served = urllib3.request("GET", f"{settings.intake_url}/openapi.json").json()
    assert served == contract_files()["openapi.json"]


# values for the formats that the tool does not know
schemathesis.openapi.format("host-or-address", st.from_regex(r"([a-z0-9]{1,8}\.){0,3}[a-z0-9]{1,8}", fullmatch=True))
schemathesis.openapi.media_type(
    "application/x-ndjson",
    st.lists(st.sampled_from(list(EXAMPLES.values())), min_size=1, max_size=5).map(
        lambda events: "\n".join(json.dumps(event) for event in events).encode()
    ),
)


def _without_contradiction(case: Any) -> None:
    """Remove the contradictions that JSON Schema cannot express.

    An idempotency key belongs to a single event without an id; a body with a Content-Encoding is compressed; events are
    in the past.
    """
    for event in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(event, dict) and _is_future(event.get("occurred_at")):
            event["occurred_at"] = "2026-05-03T18:21:07.25Z"
    headers = case.headers or {}
    headers.pop("Content-Encoding", None)
    is_plain = isinstance(case.body, dict) and "event_id" not in case.body
    if case.path == "/events" and not is_plain:
        headers.pop("Idempotency-Key", None)


def _is_future(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value) > datetime.now(UTC)
    except (TypeError, ValueError):  # not a time: left unchanged
        return False


@schema.parametrize()
@hypothesis_settings(
    max_examples=EXAMPLES_PER_OPERATION,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_it_answers_as_documented(settings: Settings, intake: OwnIntake, case: Any) -> None:
    _without_contradiction(case)
    case.call_and_validate(base_url=settings.intake_url, timeout=20)


def test_the_page_asks_nothing_of_the_outside(settings: Settings, intake: OwnIntake) -> None:
    page = urllib3.request("GET", f"{settings.intake_url}/docs")
    assert page.status == 200
    text = page.data.decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(named) >= 4
    assert not [one for one in named if "//" in one]
    assert "http://" not in text.replace("http://www.w3.org", "")
    for one in named:
        assert urllib3.request("GET", settings.intake_url + one).status == 200
    config = re.search(r"var user_config = (\{.*?\});", text)
    assert config is not None
    assert '"url": "../openapi.json"' in config[1]
    assert '"validatorUrl": null' in config[1]
