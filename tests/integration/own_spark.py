"""A separate Spark Connect server, started as the stack starts it."""

from __future__ import annotations

from typing import Self

import psutil

from daybook.jobs import connect
from daybook.jobs.environment import job_environment
from daybook.settings import Settings
from daybook.stack import kafka, spark_connect
from tests.integration.own_broker import OwnProcess, until


class OwnSpark(OwnProcess):
    """The server, which runs while its block runs, and the environment of its clients."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.home / "own-spark.log")
        self.settings = settings

    def __enter__(self) -> Self:
        port = self.settings.spark_connect_port
        # another program's port would look like this server, and its clients would wait forever
        assert kafka.port_is_free(port), f"port {port} of the Spark server is taken"
        spark_connect.prepare(self.settings)
        self.start()
        return self

    def start(self) -> None:
        """Start it, for the first time or again, as supervisor does, and wait until it listens."""
        self._spawn(spark_connect.command(self.settings), job_environment(self.settings))
        try:
            until(lambda: connect.trouble(self.settings) is None, f"the server; see {self.log}")
        except AssertionError:
            self.kill()
            raise

    @property
    def watched(self) -> psutil.Process:
        """The server's process, to be observed."""
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of its clients."""
        return {**job_environment(self.settings), **connect.client_environment(self.settings), **changes}
