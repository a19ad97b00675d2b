"""The embedded Spark Connect server: one warm Spark for every step, on 127.0.0.1.

A step's own driver pays for Java's start and first compilation each time, which is nearly all of a small day's step. A
step on the server is the same job with the same summary, in a process that Airflow starts, retries and kills like a
driver. If a client is killed, the server gives up its work within three times :data:`GIVEN_UP_AFTER`. Until then that
work is harmless, like the work of a frozen driver that wakes up (:mod:`daybook_spark.staging`). If the server ends,
supervisor starts it again, and its steps fail and are retried.
"""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

from daybook.files import private_dir, run_dir, write_private
from daybook.jobs.config import jars, submit_conf
from daybook.jobs.connect import token_file
from daybook.jobs.environment import venv_bin
from daybook.settings import REPOSITORY, Settings

SERVER_FILE = REPOSITORY / "spark" / "connect_server.py"


GIVEN_UP_AFTER = "5s"
"""How long the server waits at each point for a client that has vanished in the middle of a statement. A killed step is
retried after half a minute."""


def _properties_file(settings: Settings) -> Path:
    return run_dir(settings) / "spark-connect.properties"


def _temporary_dir(settings: Settings) -> Path:
    """Return the server's folder of temporary files, separate from the drivers' (:mod:`daybook.jobs.temp_files`).

    Its files are as old as the server.
    """
    return settings.home / "spark-connect"


def prepare(settings: Settings) -> None:
    """Write the server's configuration and a new token, and remove the previous server's temporary files."""
    # every client of the server can run code as the server's user
    token = secrets.token_urlsafe(32)
    write_private(token_file(settings), token)
    shutil.rmtree(_temporary_dir(settings), ignore_errors=True)
    private_dir(_temporary_dir(settings))
    conf = submit_conf(settings, _temporary_dir(settings)) | {
        "spark.master": settings.spark_master,
        "spark.app.name": "daybook",
        "spark.jars": jars(settings),
        # clients add no classes. With one class loader for all sessions, the next day reuses the generated code: three
        # days of different dates generated 256, 9 and 3 classes instead of 297, 293 and 293, and the second one took
        # 34 s instead of 40 (20,000 events, all steps)
        "spark.sql.artifact.isolation.enabled": "false",
        "spark.sql.artifact.isolation.alwaysApplyClassloader": "false",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(settings.spark_connect_port),
        "spark.connect.authenticate.token": token,
        # the server detects a dead client at the next check after the client fails to reattach to its stream
        "spark.connect.execute.reattachable.senderMaxStreamDuration": GIVEN_UP_AFTER,
        "spark.connect.execute.manager.detachedTimeout": GIVEN_UP_AFTER,
        "spark.connect.execute.manager.maintenanceInterval": GIVEN_UP_AFTER,
        # a killed step leaves its session with its cached data
        "spark.connect.session.manager.defaultSessionTimeout": "10min",
        # the server runs for months, and nobody reads its history
        **dict.fromkeys(
            (
                "spark.ui.retainedJobs",
                "spark.ui.retainedStages",
                "spark.sql.ui.retainedExecutions",
                "spark.connect.ui.retainedSessions",
                "spark.connect.ui.retainedStatements",
            ),
            "10",
        ),
        "spark.ui.retainedTasks": "1000",
        **settings.spark_conf,
    }
    # JSON and Java's properties use the same escapes
    lines = [f"{name} {json.dumps(value)[1:-1]}\n" for name, value in conf.items()]
    write_private(_properties_file(settings), "".join(lines))


def command(settings: Settings) -> list[str]:
    """Return the command that runs the server in the foreground."""
    return [
        *(str(venv_bin() / "spark-submit"), "--properties-file", str(_properties_file(settings))),
        str(SERVER_FILE),
    ]
