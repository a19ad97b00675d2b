"""The embedded Spark Connect server: one warm Spark for the steps behind landing, on 127.0.0.1.

A driver of its own pays for Java's start and its first compilation each time, which is nearly all of a small day's
step. On the server the three steps behind landing take 14 s in place of 29 (20,000 events, 2 cores). It is a quicker
way and never a needed one: a step that does not find it starts a driver of its own. What a step does is the same job
with the same summary, in a process that Airflow starts, tries again and kills as it does a driver; what the server is
still doing for a client that was killed is given up within three times :data:`GIVEN_UP_AFTER`, and is harmless until
then, as what a frozen driver does when it wakes up is (:mod:`daybook_spark.staging`).
"""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

from daybook.files import private_dir, run_dir, write_private
from daybook.jobs.config import MANY_RECORDS, jars, submit_conf
from daybook.jobs.connect import token_file
from daybook.jobs.environment import venv_bin
from daybook.settings import REPOSITORY, Settings

SERVER_FILE = REPOSITORY / "spark" / "connect_server.py"


GIVEN_UP_AFTER = "5s"
"""How long the server waits at each point for a client that has gone in the middle of a statement. A step that is
killed is tried again after half a minute."""
LARGE_HEAP_MB = 2048
"""From which heap on the server has both of Java's compilers. It is started before anybody knows how large its days
will be, and who gives it more than the default does so for large ones (docs/sizing.md). Seconds of the answers once it
is warm, with the first compiler alone and with both (2 cores): of a million events 18.5 and 12.5, of 20,000 some 5.4
and 7.5."""


def _properties_file(settings: Settings) -> Path:
    return run_dir(settings) / "spark-connect.properties"


def _temporary_dir(settings: Settings) -> Path:
    """Its temporary files, apart from the drivers' (:mod:`daybook.jobs.temp_files`): they are as old as it is."""
    return settings.home / "spark-connect"


def _heap_mb(settings: Settings) -> int:
    heap = settings.spark_driver_memory
    return int(heap[:-1]) * (1024 if heap.endswith("g") else 1)


def prepare(settings: Settings) -> None:
    """Write the server's configuration and a new token, and remove what the last one left."""
    # whoever may talk to the server may run code as its user
    token = secrets.token_urlsafe(32)
    write_private(token_file(settings), token)
    shutil.rmtree(_temporary_dir(settings), ignore_errors=True)
    private_dir(_temporary_dir(settings))
    records = MANY_RECORDS if _heap_mb(settings) >= LARGE_HEAP_MB else 0
    conf = submit_conf(settings, _temporary_dir(settings), records=records) | {
        "spark.master": settings.spark_master,
        "spark.app.name": "daybook",
        "spark.jars": jars(settings),
        # no client brings classes. With one class loader for all sessions the code generated for a day serves the next:
        # three days of different dates generated 256, 9 and 3 classes in place of 297, 293 and 293, and the second one
        # took 34 s in place of 40 (20,000 events, all steps)
        "spark.sql.artifact.isolation.enabled": "false",
        "spark.sql.artifact.isolation.alwaysApplyClassloader": "false",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(settings.spark_connect_port),
        "spark.connect.authenticate.token": token,
        # a client that is gone is missed when it does not take up its stream again, the next time that anybody looks
        "spark.connect.execute.reattachable.senderMaxStreamDuration": GIVEN_UP_AFTER,
        "spark.connect.execute.manager.detachedTimeout": GIVEN_UP_AFTER,
        "spark.connect.execute.manager.maintenanceInterval": GIVEN_UP_AFTER,
        # a step that was killed leaves its session, with what it has cached
        "spark.connect.session.manager.defaultSessionTimeout": "10min",
        # it lives for months, and nobody looks at its past
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
    }
    # JSON's escapes are those of Java's properties
    lines = [f"{name} {json.dumps(value)[1:-1]}\n" for name, value in conf.items()]
    write_private(_properties_file(settings), "".join(lines))


def command(settings: Settings) -> list[str]:
    """The command that runs the server in the foreground."""
    return [
        *(str(venv_bin() / "spark-submit"), "--properties-file", str(_properties_file(settings))),
        str(SERVER_FILE),
    ]
