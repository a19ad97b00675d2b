"""Gunicorn's configuration: ``gunicorn -c services/game_api/gunicorn_conf.py 'game_api.app:create_app()'``.

All that differs between installations comes from the settings. Gunicorn writes nothing but its log to standard error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daybook.settings import settings
from game_api.app import PRODUCER
from game_api.logs import LOGGING

_settings = settings()

bind = f"127.0.0.1:{_settings.api_port}"
workers = _settings.api_workers
worker_class = "game_api.worker.IntakeWorker"
threads = _settings.api_threads
# above the longest wait for an acknowledgement: a stop lets every request under way be answered
graceful_timeout = int(_settings.ack_timeout_seconds) + 5
timeout = 30
# longer than a generator's or a game server's pause between two batches, so that pooled connections are reused
keepalive = 15

logconfig_dict = LOGGING
# on by default since gunicorn 25, in ~/.gunicorn: a second stack would fight over it, and nobody here uses it
control_socket_disable = True
# the worker's heartbeat file belongs on a file system without a disk behind it; it is unlinked at once
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
# nobody stands before the intake: SCRIPT_NAME or X-Forwarded-Proto from a client is not obeyed (the default trusts
# 127.0.0.1, and a stray SCRIPT_NAME would be answered with a 500)
forwarded_allow_ips = ""
forwarder_headers = ""


def worker_exit(server: Any, worker: Any) -> None:
    """Flush the worker's producer; ``worker.wsgi`` is missing when the application could not be loaded."""
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions[PRODUCER].close()
