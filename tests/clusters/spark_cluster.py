"""A standalone Spark cluster on loopback: a real master and real workers of the installed pyspark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from daybook.jobs.config import SMALL_HEAP
from daybook.jobs.environment import job_environment, package_dir
from daybook.settings import Settings
from tests.integration.own_broker import free_ports, until

_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"


class SparkCluster:
    """A cluster that runs while its block runs; each worker has one core and room for one executor of 512 MB."""

    def __init__(self, settings: Settings, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self._environment = job_environment(settings) | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "192m"}
        self._count = workers
        self._master: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._port, self._page = free_ports(2)

    @property
    def url(self) -> str:
        """The value of ``DAYBOOK_SPARK_MASTER``."""
        return f"spark://127.0.0.1:{self._port}"

    def settings(self, settings: Settings, home: Path) -> Settings:
        """Return the settings with a separate lake, whose jobs run on this cluster and write an event log."""
        log = self.folder / "event-log"
        log.mkdir(exist_ok=True)
        return settings.model_copy(
            update={
                "home": home,
                "spark_master": self.url,
                "spark_conf": {
                    "spark.driver.host": "127.0.0.1",
                    "spark.driver.bindAddress": "127.0.0.1",
                    "spark.executor.memory": "512m",
                    "spark.executor.extraJavaOptions": SMALL_HEAP,
                    "spark.eventLog.enabled": "true",
                    "spark.eventLog.rolling.enabled": "false",
                    "spark.eventLog.compress": "false",
                    "spark.eventLog.dir": log.as_uri(),
                },
            }
        )

    def __enter__(self) -> SparkCluster:
        try:
            self._master = self._start("master", _MASTER, "--port", str(self._port), "--webui-port", str(self._page))
            until(lambda: self.state() is not None, "Spark's master", 60)
            for _ in range(self._count):
                self.add_worker()
            until(lambda: len(self.alive()) == self._count, "Spark's workers", 60)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in [*self.workers, *([self._master] if self._master else [])]:
            self.kill(process)

    def add_worker(self) -> None:
        """Start one more worker."""
        name = f"worker-{len(self.workers)}"
        (page,) = free_ports(1)
        limits = ["--cores", "1", "--memory", "1g", "--webui-port", str(page), "--work-dir", str(self.folder / name)]
        self.workers.append(self._start(name, _WORKER, *limits, self.url))

    def _start(self, name: str, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [package_dir("pyspark") / "bin" / "spark-class", main, "--host", "127.0.0.1", *arguments],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a worker and its executors, as a crash would."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def state(self) -> dict[str, Any] | None:
        """Return the master's state from its web UI; None without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=5) as answer:
                body: dict[str, Any] = json.load(answer)
                return body
        except OSError:
            return None

    def alive(self) -> list[dict[str, Any]]:
        """Return the workers that the master can use."""
        return [one for one in (self.state() or {"workers": []})["workers"] if one["state"] == "ALIVE"]

    def busy(self) -> int:
        """Count the workers with a running executor."""
        return sum(one["coresused"] > 0 for one in self.alive())

    def task_seconds(self) -> Counter[str]:
        """Return executor -> seconds of its tasks in all jobs; tasks of the driver count as ``driver``."""
        seconds: Counter[str] = Counter()
        for log in (self.folder / "event-log").iterdir():
            for line in log.read_text(encoding="utf-8").splitlines():
                event = json.loads(line)
                if event["Event"] == "SparkListenerTaskEnd":
                    info = event["Task Info"]
                    seconds[info["Executor ID"]] += (info["Finish Time"] - info["Launch Time"]) / 1000
        return seconds
