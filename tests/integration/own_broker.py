"""A real Kafka broker and a real intake that a test may kill, freeze and restart, on their own ports.

The shared ``stack`` fixture must stay healthy for all tests; these are for tests that make the broker unavailable.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import urllib3
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import TopicMetadata  # type: ignore[attr-defined]  # its documented home
from pydantic import SecretStr

from daybook.airflow_client import NoAnswer
from daybook.kafka.admin import kafka_admin
from daybook.kafka.config import librdkafka_conf
from daybook.kafka.offsets import is_group_authorization_error
from daybook.settings import REPOSITORY, Settings
from daybook.stack import kafka
from daybook.stack.environment import process_environment


def free_ports(count: int, above: int = 0) -> list[int]:
    """Return ports without a listener, below the range from which the system takes client ports."""
    # a test run has several processes; each uses its own range of a thousand ports
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = 15_100 + worker * 1_000 + os.getpid() % 80 * 10
    return list(islice((port for port in range(max(start, above + 1), 32_000) if kafka.port_is_free(port)), count))


def until(condition: Callable[[], bool], what: str, timeout_seconds: float = 60.0, every_seconds: float = 0.05) -> None:
    """Wait for a condition; check it at a fixed interval. An Airflow that does not answer in time is asked again."""
    deadline = time.monotonic() + timeout_seconds
    while not _holds(condition):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_seconds:.0f} s")
        time.sleep(every_seconds)  # between two checks of the condition above


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except NoAnswer:
        return False


class OwnProcess:
    """A process with its own group and log, which ends with its block."""

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
        """Kill it at once, as a crash would. What it wrote stays in the page cache; a power cut would lose that too."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


class OwnBroker(OwnProcess):
    """The embedded broker, started as the product starts it, with the topic of the settings.

    Args:
        settings: the ports, the state folder, and how clients connect.
        changes: properties of a node in a cluster, or of a broker with authentication.
        format_options: for the first formatting of its folder.
    """

    def __init__(
        self, settings: Settings, changes: Mapping[str, object] | None = None, format_options: Sequence[str] = ()
    ) -> None:
        for folder in (settings.home, settings.logs_dir):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(settings.logs_dir / "kafka.log")
        self.settings = settings
        kafka.prepare(settings, changes, format_options)

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it on its existing data and wait until it serves."""
        self.begin()
        self.wait_until_it_serves()

    def begin(self) -> None:
        """Start it without waiting; in a cluster, no broker serves before a majority has started."""
        self._spawn(kafka.command(self.settings), process_environment(self.settings))

    def wait_until_it_serves(self) -> None:
        """Wait until it answers and has the topic."""
        until(self._serves, f"broker up; see {self.log}")

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the broker ended; see {self.log}"
        return kafka.trouble(self.settings) is None


class OwnCluster:
    """Three brokers on loopback, which are controllers too: three replicas, at least two of them in sync.

    Args:
        settings: from :func:`cluster_settings`; they configure the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        ports = [int(server.rpartition(":")[2]) for server in settings.bootstrap_servers.split(",")]
        controllers = free_ports(len(ports), above=max(ports))
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(controllers, 1))
        one_id = [f"--cluster-id={kafka.new_cluster_id()}"]
        self.brokers: dict[int, OwnBroker] = {}
        """Node id -> broker."""
        for node, (port, controller) in enumerate(zip(ports, controllers, strict=True), 1):
            own = {
                "home": settings.home / f"node-{node}",
                "kafka_port": port,
                "kafka_controller_port": controller,
                "kafka_bootstrap_servers": f"127.0.0.1:{port}",
            }
            changes = {"node.id": node, "controller.quorum.voters": voters}
            self.brokers[node] = OwnBroker(settings.model_copy(update=own), changes, one_id)

    def __enter__(self) -> OwnCluster:
        for broker in self.brokers.values():
            broker.begin()
        for broker in self.brokers.values():
            broker.wait_until_it_serves()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for broker in self.brokers.values():
            broker.kill()

    def leaders(self) -> dict[int, int]:
        """Partition -> leading node, from the running brokers; -1 without a leader."""
        topic = self._topic()
        return {at: partition.leader for at, partition in topic.partitions.items()}

    def in_sync(self) -> int:
        """Return the smallest number of in-sync replicas of any partition."""
        try:
            return min((len(partition.isrs) for partition in self._topic().partitions.values()), default=0)
        except KafkaException:  # the brokers are not ready yet
            return 0

    def wait_until_whole(self) -> None:
        """Wait until all replicas are in sync again."""
        until(lambda: self.in_sync() == len(self.brokers), "every replica in sync", 120)

    def _topic(self) -> TopicMetadata:
        return (
            kafka_admin(self.settings)
            .list_topics(self.settings.kafka_topic, timeout=10)
            .topics[self.settings.kafka_topic]
        )


def intake_command() -> list[str]:
    """The command of the intake under gunicorn, as the stack runs it."""
    configuration = REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    return [gunicorn, "-c", str(configuration), "game_api.app:create_app()"]


class OwnIntake(OwnProcess):
    """The intake under gunicorn, started as the product starts it."""

    def __init__(self, settings: Settings, *, timeout_seconds: float = 30, **environment: str) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        super().__init__(settings.home / "own-intake.log")
        self.settings = settings
        self._timeout_seconds = timeout_seconds
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")},
            "DAYBOOK_HOME": str(settings.home),
            "DAYBOOK_API_PORT": str(settings.api_port),
            "DAYBOOK_KAFKA_PORT": str(settings.kafka_port),
            **kafka_environment(settings),
            "DAYBOOK_API_WORKERS": "1",
            "HOME": str(settings.home / "user"),  # nothing should be written there
            **environment,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._spawn(intake_command(), self.environment)
        try:
            until(lambda: self.status("/health/live") == 200, f"intake up; see {self.log}", self._timeout_seconds)
        except AssertionError:
            self.kill()
            raise

    def status(self, path: str) -> int:
        """Return the HTTP status of a GET; 0 without an answer."""
        try:
            return urllib3.request("GET", self.settings.intake_url + path, retries=False, timeout=15).status
        except urllib3.exceptions.HTTPError:
            return 0

    def stop(self) -> int:
        """Stop it as a process manager would; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)


def own_settings(home: Path) -> Settings:
    """Settings for a separate stack, or for some of its parts."""
    api_port, airflow_port, kafka_port, controller_port, spark_connect_port = free_ports(5)
    return Settings(
        home=home,
        spark_connect_port=spark_connect_port,
        api_port=api_port,
        airflow_port=airflow_port,
        kafka_port=kafka_port,
        kafka_controller_port=controller_port,
    )


def cluster_settings(home: Path) -> Settings:
    """Settings for a separate intake and a cluster of three."""
    api_port, *ports = free_ports(4)
    return Settings(
        home=home,
        api_port=api_port,
        kafka_bootstrap_servers=",".join(f"127.0.0.1:{port}" for port in ports),
        kafka_replication=len(ports),
    )


def kafka_environment(settings: Settings) -> dict[str, str]:
    """The Kafka connection, secrets included, as environment variables."""
    values = {
        f"DAYBOOK_{name.upper()}": getattr(settings, name)
        for name in Settings.model_fields
        if name.startswith("kafka_")
        and name not in {"kafka_port", "kafka_controller_port"}
        and getattr(settings, name) != Settings.model_fields[name].default
    }
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in values.items()
    }


def records(settings: Settings) -> dict[tuple[int, int], Message]:
    """Return every record of the topic by partition and offset, up to the current end."""
    # no commits: without rights to the group, closing the consumer would wait for them
    quiet = {"group.id": "nobody", "enable.auto.commit": False, "log_level": 0, "fetch.wait.max.ms": 20}
    consumer = Consumer({**librdkafka_conf(settings), **quiet})
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
                if is_group_authorization_error(message.error()):
                    continue
                assert message.error() is None, message.error()
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                found[partition, offset] = message
        return found
    finally:
        consumer.close()


def record_ids(settings: Settings) -> list[str]:
    """Return the event id of every record of the topic."""
    return [json.loads(message.value() or b"")["event_id"] for message in records(settings).values()]
