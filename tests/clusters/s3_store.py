"""A real S3 server on loopback: versitygw over a folder, built with the Go toolchain.

Its objects are files of that folder, so that a test can list a bucket and make its objects look old.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import pytest
import urllib3

from tests.integration.own_broker import free_ports, until

MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
BUCKET = "lake"


def built(into: Path) -> Path:
    """Return the server's program; Go fetches and builds it once, which takes minutes.

    Skips the test where there is no Go.
    """
    program = into / "versitygw"
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("needs Go to build the S3 server")
        environment = {**os.environ, "GOBIN": str(into), "GOFLAGS": "-mod=mod"}
        subprocess.run([go, "install", MODULE], env=environment, check=True, timeout=600, capture_output=True)
    return program


class S3Store:
    """The server, and one bucket on it.

    Args:
        program: from :func:`built`.
        folder: for its objects and its log.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self.bucket = folder / "objects" / BUCKET
        """The bucket as a folder."""
        self.bucket.mkdir(parents=True)
        self._program, self._log = program, folder / "s3.log"
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def warehouse(self) -> str:
        """The value of ``DAYBOOK_LAKE_WAREHOUSE``."""
        return f"s3://{BUCKET}/daybook"

    keys = {"AWS_ACCESS_KEY_ID": "daybook", "AWS_SECRET_ACCESS_KEY": "not-on-a-command-line"}  # noqa: RUF012
    """The environment from which the AWS SDKs take their keys."""

    def __enter__(self) -> S3Store:
        named = {
            "ROOT_ACCESS_KEY_ID": self.keys["AWS_ACCESS_KEY_ID"],
            "ROOT_SECRET_ACCESS_KEY": self.keys["AWS_SECRET_ACCESS_KEY"],
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "--port", f"127.0.0.1:{self._port}", "posix", self.bucket.parent],
                env={**os.environ, **named},
                cwd=self._log.parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, f"the S3 server; see {self._log}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            # a 403 for a request without keys: the server is up
            return urllib3.request("GET", self.endpoint, retries=False, timeout=5).status == 403
        except urllib3.exceptions.HTTPError:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
