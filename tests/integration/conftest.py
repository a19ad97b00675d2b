"""The embedded stack, up for the whole test session on ports and a state folder of its own.

It is the product's own: brought up by ``daybook up``, taken down by ``daybook down``. It runs beside any other stack.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from daybook.settings import Settings
from daybook.stack.environment import stack_environment
from tests.integration.own_broker import free_ports
from tests.integration.running_stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded stack, up."""
    home = tmp_path_factory.mktemp("stack")
    api_port, airflow_port, kafka_port, controller_port = free_ports(4)
    settings = Settings(
        home=home,
        api_port=api_port,
        airflow_port=airflow_port,
        kafka_port=kafka_port,
        kafka_controller_port=controller_port,
        kafka_partitions=3,
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DAYBOOK_", "AIRFLOW"))}
    up = Stack(settings, {**inherited, **stack_environment(settings)})
    try:
        up.daybook("up")
        yield up
    finally:
        up.daybook("down")
