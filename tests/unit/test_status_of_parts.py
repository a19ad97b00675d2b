"""The states of the stack's parts in ``daybook status``, in words that a reader knows."""

from __future__ import annotations

import time
from urllib.error import URLError

import pytest

from daybook import airflow_client
from daybook.airflow_client import AirflowApi
from daybook.errors import DaybookError, network_reason
from daybook.settings import Settings
from daybook.stack import parts, supervisor
from daybook.stack.status import stack_lines


@pytest.mark.parametrize(("age", "word"), [(5, "starting"), (100_000, "late")])
def test_a_part_that_does_not_answer_is_starting_at_first_and_late_afterwards(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch, age: int, word: str
) -> None:
    began = time.time() - age
    running = {part.name: supervisor.State("running", 1, began) for part in parts.parts(own_settings)}
    monkeypatch.setattr(supervisor, "states", lambda settings: running)
    file = airflow_client.password_file(own_settings)
    file.parent.mkdir(parents=True)
    file.write_text('{"admin": "secret"}', encoding="utf-8")
    # no part listens: its own probe detects that
    nowhere = own_settings.model_copy(
        update={"api_port": 1, "airflow_port": 1, "kafka_port": 1, "spark_connect_port": 1}
    )
    lines = stack_lines(nowhere)
    assert {state for _, state, _ in lines} == {word}
    assert not [detail for _, _, detail in lines if "urlopen" in detail or "Errno" in detail]
    [api] = [detail for name, _, detail in lines if name == "api"]
    assert api.startswith("http://127.0.0.1:1/health/ready does not answer: Connection refused; log: ")


def test_an_airflow_that_is_not_there_is_reported_in_the_systems_words(own_settings: Settings) -> None:
    nowhere = own_settings.model_copy(update={"airflow_port": 1})
    with pytest.raises(DaybookError, match=r"^Airflow does not answer at http://127\.0\.0\.1:1: Connection refused$"):
        AirflowApi(nowhere, "secret", 5).health()


def test_the_reason_of_a_request_that_was_not_a_systems_error() -> None:
    assert network_reason(URLError("unknown url type: x")) == "unknown url type: x"
    assert network_reason(ValueError("no JSON")) == "no JSON"
