"""A Spark Connect server of one's own, as the stack runs it."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self

import psutil

from daybook.settings import Settings
from daybook.spark_conf import JOBS_DIR
from daybook.stack import spark_connect
from daybook.stack.environment import job_environment
from tests.integration.own_broker import until


class OwnSpark:
    """The server, up while its block runs, and what its clients need."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._started: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        spark_connect.prepare(self.settings)
        with (self.settings.home / "spark-connect.log").open("ab") as log:
            self._started = subprocess.Popen(
                spark_connect.command(self.settings), env=job_environment(self.settings), stdout=log, stderr=log
            )
        try:
            until(lambda: spark_connect.trouble(self.settings) is None, f"the server; see {log.name}", 60)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._started is not None
        self._started.terminate()
        self._started.wait(30)

    @property
    def process(self) -> psutil.Process:
        """The server."""
        assert self._started is not None
        return psutil.Process(self._started.pid)

    def environment(self, **changes: str) -> dict[str, str]:
        """Of its clients."""
        return {**job_environment(self.settings), **spark_connect.client_environment(self.settings), **changes}

    @staticmethod
    def job(name: str, *arguments: str) -> list[str]:
        """The command line of one of ``spark/jobs`` as a client."""
        return [sys.executable, str(JOBS_DIR / f"{name}.py"), *arguments]
