"""A real Kafka broker and a real intake that a test may hurt: killed, frozen and started again, on ports of its own.

The shared ``stack`` fixture must stay healthy for everyone; these are for the tests that take the broker away.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import TracebackType

import urllib3
from confluent_kafka import Consumer, Message, TopicPartition

from daybook.settings import REPOSITORY, Settings
from daybook.stack import kafka

SMALL_DAYS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java options of the tests' drivers, as their setting proposes for such days: a third less processor time."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system hands to clients' connections."""
    # of several processes of one test run, each has a thousand of its own
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = 15_100 + worker * 1_000 + os.getpid() % 80 * 10
    return list(islice((port for port in range(start, 32_000) if kafka.port_is_free(port)), count))


def until(condition: Callable[[], bool], what: str, timeout_seconds: float = 60.0, every_seconds: float = 0.05) -> None:
    """Wait for a condition, looking at a steady beat."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_seconds:.0f} s")
        time.sleep(every_seconds)  # between two looks at the condition above


class _Process:
    """A process with its own group and log, ended when its block ends."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.log.parent, start_new_session=True
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


class OwnBroker(_Process):
    """The embedded broker, as the product starts it, with the topic of the settings."""

    def __init__(self, settings: Settings) -> None:
        for folder in (settings.home, settings.logs_dir):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(settings.logs_dir / "kafka.log")
        self.settings = settings
        kafka.prepare(settings)

    def __enter__(self) -> OwnBroker:
        self.start()
        return self

    def start(self) -> None:
        """Start it on the data it has and wait until it serves."""
        self._spawn(kafka.command(self.settings))
        until(self._serves, f"broker up; see {self.log}")

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the broker ended; see {self.log}"
        return kafka.trouble(self.settings) is None


class OwnIntake(_Process):
    """The intake under gunicorn, as the product starts it."""

    def __init__(self, settings: Settings, *, timeout_seconds: float = 30, **environment: str) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        super().__init__(settings.home / "own-intake.log")
        self.settings = settings
        self._timeout_seconds = timeout_seconds
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")},
            "DAYBOOK_HOME": str(settings.home),
            "DAYBOOK_API_PORT": str(settings.api_port),
            "DAYBOOK_KAFKA_PORT": str(settings.kafka_port),
            "DAYBOOK_API_WORKERS": "1",
            "HOME": str(settings.home / "user"),  # whatever is written there was not meant to be
            **environment,
        }

    def __enter__(self) -> OwnIntake:
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it serves."""
        configuration = REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"
        gunicorn = str(Path(sys.executable).with_name("gunicorn"))
        self._spawn([gunicorn, "-c", str(configuration), "game_api.app:create_app()"], self._environment)
        try:
            until(lambda: self.status("/health/live") == 200, f"intake up; see {self.log}", self._timeout_seconds)
        except AssertionError:
            self.kill()
            raise

    def status(self, path: str) -> int:
        """HTTP status of a GET, 0 without an answer."""
        try:
            return urllib3.request("GET", self.settings.intake_url + path, retries=False, timeout=15).status
        except urllib3.exceptions.HTTPError:
            return 0

    def stop(self) -> int:
        """Stop it as a process manager would; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)


def own_settings(home: Path) -> Settings:
    """Settings of a broker and intake beside everything else."""
    api_port, kafka_port, controller_port = free_ports(3)
    return Settings(home=home, api_port=api_port, kafka_port=kafka_port, kafka_controller_port=controller_port)


def records(settings: Settings) -> dict[tuple[int, int], Message]:
    """Every record of the topic by partition and offset, up to the present end."""
    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap_servers, "group.id": "nobody", "log_level": 0, "fetch.wait.max.ms": 20}
    )
    try:
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(settings.kafka_topic, partition), timeout=20)[1]
            for partition in range(settings.kafka_partitions)
        }
        consumer.assign([TopicPartition(settings.kafka_topic, partition, 0) for partition in ends])
        found: dict[tuple[int, int], Message] = {}
        deadline = time.monotonic() + 30
        while len(found) < sum(ends.values()):
            assert time.monotonic() < deadline, f"read {len(found)} of {ends}"
            for message in consumer.consume(sum(ends.values()) - len(found), timeout=1):
                assert message.error() is None, message.error()
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                found[partition, offset] = message
        return found
    finally:
        consumer.close()


def record_ids(settings: Settings) -> list[str]:
    """The event id of every record of the topic."""
    return [json.loads(message.value() or b"")["event_id"] for message in records(settings).values()]
