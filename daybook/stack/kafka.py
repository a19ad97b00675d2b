"""The embedded broker: one Kafka node in KRaft mode, broker and controller in one process, on 127.0.0.1."""

from __future__ import annotations

import base64
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from daybook.errors import DaybookError, NonRetryableError
from daybook.files import last_lines, run_dir
from daybook.jobs.jars import KAFKA_LIB_DIR
from daybook.jobs.java import FIXED_OPTIONS, java
from daybook.kafka.topic import ensure_topic
from daybook.settings import Settings
from daybook.stack.environment import process_environment


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # same option as the servers use: connections of a server that has just stopped do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _controller_port(settings: Settings) -> int:
    """Return the controller's port: the setting's, or any free port, since only the broker itself connects to it.

    It is a free port after the broker's port, not one that the system assigns. The system assigns such ports to
    clients' connections as well, and a restarted broker might find its port in use.
    """
    if settings.kafka_controller_port:
        return settings.kafka_controller_port
    taken = {settings.api_port, settings.airflow_port}
    for port in range(settings.kafka_port + 1, min(settings.kafka_port + 200, 65536)):
        if port not in taken and port_is_free(port):
            return port
    raise DaybookError("there is no free port for the broker's controller; set DAYBOOK_KAFKA_CONTROLLER_PORT")


def _properties_file(settings: Settings) -> Path:
    return run_dir(settings) / "server.properties"


def prepare(
    settings: Settings, changes: Mapping[str, object] | None = None, format_options: Sequence[str] = ()
) -> None:
    """Write ``server.properties`` and format the broker's folder the first time.

    Args:
        settings: ports and state folder.
        changes: properties that add to or replace those of the embedded broker, such as for a node of a cluster.
        format_options: options of Kafka's storage tool, such as the first users.

    Raises:
        DaybookError: the folder could not be formatted.
        NonRetryableError: the log of this state is in another place.
    """
    data = settings.home / "kafka"
    controller_port = _controller_port(settings)
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{settings.kafka_port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{settings.kafka_port}",
        "log.dirs": data,
        # a mistyped topic name must be an error, not a new topic
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        # sized for a laptop: the log cleaner alone would take 128 MB of the heap
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        **(changes or {}),
    }
    file = _properties_file(settings)
    lines = [f"{name}={_as_java_reads(value)}\n" for name, value in properties.items()]
    file.write_text("".join(lines), encoding="ascii")
    if (data / "meta.properties").exists():
        return
    _refuse_previous_place(data)
    # a half-formatted folder is formatted again
    storage_tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", *format_options]
    if not any(option.startswith("--cluster-id") for option in format_options):
        storage_tool.append(f"--cluster-id={new_cluster_id()}")  # "=": an id may begin with a dash
    log = settings.logs_dir / "kafka.log"
    with log.open("a", encoding="utf-8") as output:
        status = subprocess.run(
            [*_java(64), *storage_tool, "-c", file],
            env=process_environment(settings),
            stdout=output,
            stderr=output,
            check=False,
        )
    if status.returncode != 0:
        raise DaybookError(
            f"kafka: the folder {data} could not be formatted: {' '.join(last_lines(log, 1))}; log: {log}"
        )


def _refuse_previous_place(data: Path) -> None:
    """Refuse to create a new log if an earlier Daybook's log is elsewhere, because Java read its path as Latin-1."""
    previous = Path(str(data).encode().decode("latin-1"))
    if previous != data and (previous / "meta.properties").exists():
        raise NonRetryableError(
            f"the broker's log of this state is in {previous}, where an earlier Daybook wrote it. Nothing was started. "
            f"Move that folder to {data}, then repeat"
        )


def _as_java_reads(value: object) -> str:
    r"""Escape a value for a properties file, which Java reads as Latin-1 with backslash escapes.

    >>> print(_as_java_reads("/home/josé"))
    /home/jos\u00e9
    """
    units = str(value).replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def new_cluster_id() -> str:
    """Return an id for a cluster that is not formatted yet."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _java(heap_megabytes: int) -> list[str]:
    """Return the command line up to the main class. Java expands the class path's ``*``; a shell must not see it."""
    logger = "-Dorg.slf4j.simpleLogger"
    return [
        str(java()),
        f"-Xmx{heap_megabytes}m",
        "-Xms64m",
        # a heap this small is collected in milliseconds; G1's own tables would take another 40 MB
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
        *FIXED_OPTIONS,
        f"{logger}.defaultLogLevel=warn",
        f"{logger}.log.kafka.server=info",
        f"{logger}.showDateTime=true",
        f"{logger}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-cp",
        str(KAFKA_LIB_DIR / "*"),
    ]


def command(settings: Settings) -> list[str]:
    """Return the command that runs the broker in the foreground."""
    return [*_java(512), "kafka.Kafka", str(_properties_file(settings))]


def trouble(settings: Settings) -> str | None:
    """Explain why the broker cannot be used yet; None if it answers and has the topic.

    Creates the topic if it never existed.

    Raises:
        NonRetryableError: the broker has lost the topic.
    """
    from confluent_kafka import KafkaException

    from daybook.kafka.admin import kafka_admin

    try:
        # librdkafka logs to the terminal while the broker is unavailable
        socket.create_connection(("127.0.0.1", settings.kafka_port), timeout=2).close()
    except OSError as error:
        return f"nothing answers on port {settings.kafka_port} ({error.strerror or error})"
    try:
        if settings.kafka_topic not in kafka_admin(settings).list_topics(timeout=5).topics:
            ensure_topic(settings, timeout_seconds=5)
    except KafkaException as error:
        return str(error.args[0].str())
    except NonRetryableError:
        raise
    except DaybookError as error:
        return str(error)
    return None
