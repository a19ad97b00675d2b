"""A real Kafka broker and a real intake that a test may hurt: killed, frozen and started again, on ports of its own.

The shared ``stack`` fixture must stay healthy for everyone; these are for the tests that take the broker away.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import urllib3
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from daybook.settings import REPOSITORY, Settings

JARS = REPOSITORY / "jars" / "lib" / "kafka"
CLUSTER_ID = "ZGF5Ym9vay10ZXN0cy0wMA"
SMALL_JVM = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, timeout_seconds: float = 60.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_seconds:.0f} s")
        time.sleep(0.05)


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
    """One KRaft broker with the topic of the settings."""

    def __init__(self, settings: Settings) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        super().__init__(settings.home / "own-broker.log")
        self.settings = settings
        self._properties = settings.home / "server.properties"
        controller = free_port()
        self._properties.write_text(
            "\n".join(
                [
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"controller.quorum.voters=1@127.0.0.1:{controller}",
                    f"listeners=PLAINTEXT://127.0.0.1:{settings.kafka_port},CONTROLLER://127.0.0.1:{controller}",
                    "controller.listener.names=CONTROLLER",
                    f"log.dirs={settings.home / 'kafka'}",
                    "offsets.topic.replication.factor=1",
                    "auto.create.topics.enable=false",
                ]
            )
        )
        self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties))

    def _command(self, main: str, *arguments: str) -> list[str]:
        return ["java", *SMALL_JVM, "-cp", f"{JARS}/*", main, *arguments]

    def _java(self, main: str, *arguments: str) -> None:
        with self.log.open("ab") as log:
            subprocess.run(self._command(main, *arguments), stdout=log, stderr=log, check=True, timeout=60)

    def __enter__(self) -> OwnBroker:
        self.start()
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap_servers})
        topic = NewTopic(self.settings.kafka_topic, self.settings.kafka_partitions, 1)
        for created in admin.create_topics([topic]).values():
            created.result(30)
        return self

    def start(self) -> None:
        """Start it on the data it has and wait until it serves."""
        self._spawn(self._command("kafka.Kafka", str(self._properties)))
        until(self._serves, "broker up")

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the broker ended; see {self.log}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.settings.kafka_port)) == 0


class OwnIntake(_Process):
    """The intake under gunicorn, as the product starts it."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        super().__init__(settings.home / "own-intake.log")
        self.settings = settings
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
        configuration = REPOSITORY / "services" / "game_api" / "gunicorn_conf.py"
        gunicorn = str(Path(sys.executable).with_name("gunicorn"))
        self._spawn([gunicorn, "-c", str(configuration), "game_api.app:create_app()"], self._environment)
        until(lambda: self.status("/health/live") == 200, f"intake up; see {self.log}", 30)
        return self

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
    return Settings(home=home, api_port=free_port(), kafka_port=free_port())
