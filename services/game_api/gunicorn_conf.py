"""Gunicorn's configuration: ``gunicorn -c services/game_api/gunicorn_conf.py 'game_api.app:create_app()'``.

Everything that differs between installations comes from the settings. Gunicorn writes only its log, to standard error.
"""

from __future__ import annotations

import logging
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from daybook.errors import BadInput
from daybook.files import state_dir
from daybook.settings import load_settings
from game_api.logs import LOGGING
from game_api.shared_files import reserve

_settings = load_settings()

METRICS_FILES = ("counter", "histogram", "gauge_livesum")
"""A worker's metrics files: one for each kind of metric in :mod:`game_api.metrics`."""
METRICS_FILE_BYTES = 256 * 1024
"""Space for a thousand label values; some 130 exist. A file that had to grow could fail on a full disk."""

_metrics_dir = _settings.api_state_dir / "metrics"
# prometheus_client reads this when it is imported, so set it before anything imports it
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metrics_dir)

# without keys anybody could send events: then listen on this machine only
_host = _settings.api_host if _settings.api_keys_file else "127.0.0.1"
# the stack's health checks and the generator use loopback, so listen on it in addition to any other address
_hosts = [_host] if _host in {"0.0.0.0", "::", "127.0.0.1"} else ["127.0.0.1", _host]
bind = [f"[{one}]:{_settings.api_port}" if ":" in one else f"{one}:{_settings.api_port}" for one in _hosts]
workers = _settings.api_workers
worker_class = "game_api.worker.IntakeWorker"
threads = _settings.api_threads
# longer than the longest wait for an acknowledgement, so that a stop still answers every running request
graceful_timeout = int(_settings.ack_timeout_seconds) + 5
timeout = 30
# longer than a generator's or a game server's pause between two batches, so that pooled connections are reused
keepalive = 15

logconfig_dict = LOGGING
# on by default since gunicorn 25, in ~/.gunicorn: a second stack would use the same socket, and it is not needed here
control_socket_disable = True
# the worker's heartbeat file should be on a file system without a disk; it is unlinked at once
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
# there is no proxy in front of the intake: ignore SCRIPT_NAME or X-Forwarded-Proto from clients (the default trusts
# 127.0.0.1, and a wrong SCRIPT_NAME would cause a 500)
forwarded_allow_ips = ""
forwarder_headers = ""


def on_starting(server: Any) -> None:
    """Refuse to start if keys are required but the file has no key; workers that start later answer 401 then."""
    from game_api.access import check_at_start

    try:
        check_at_start(_settings)
    except BadInput as error:
        logging.getLogger("game_api").error("%s", error)
        raise SystemExit(1) from None


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker the lowest free place; a worker that takes a dead one's place continues its counts."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in count(1) if place not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Store the worker's metrics under its place, not its pid: as many files as workers, however many were killed.

    If the disk has no space for them, the worker still accepts events, but its metrics are not exported.
    """
    from prometheus_client import values

    try:
        for kind in METRICS_FILES:
            reserve(_metrics_dir / f"{kind}_{worker.place}.db", METRICS_FILE_BYTES)
    except OSError as error:
        logging.getLogger("game_api").error(
            "worker %s exports no metrics: %s; free space in %s, then restart the intake",
            worker.place,
            error.strerror,
            _settings.api_state_dir,
        )
        values.ValueClass = values.MutexValue
    else:
        values.ValueClass = values.MultiProcessValue(lambda: worker.place)  # type: ignore[no-untyped-call]  # prometheus_client's


def when_ready(server: Any) -> None:
    """Log who can reach the intake, and remove the files that the workers of an earlier intake shared.

    Gunicorn calls this after binding the sockets, so an intake whose port is in use removes no files of the running
    one. A reload does not call it.
    """
    log = logging.getLogger("game_api")
    shutil.rmtree(_settings.api_state_dir, ignore_errors=True)
    try:
        state_dir(_settings, *_metrics_dir.relative_to(_settings.home).parts)
    except OSError as error:
        log.error("no metrics: %s cannot be created: %s", _metrics_dir, error.strerror)
    if not _settings.api_keys_file:
        log.warning(
            "no API key is required (DAYBOOK_API_KEYS_FILE is not set): listening on loopback only, port %s",
            _settings.api_port,
        )


def child_exit(server: Any, worker: Any) -> None:
    """Drop a dead worker's gauges from the metrics; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.place)  # type: ignore[no-untyped-call]  # prometheus_client's


def worker_exit(server: Any, worker: Any) -> None:
    """Flush the worker's producer; ``worker.wsgi`` is missing when the application could not be loaded."""
    from game_api.app import PRODUCER

    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions[PRODUCER].close()
