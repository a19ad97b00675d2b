"""The process manager of the stack: configures supervisord, and finds processes that outlived it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from daybook.errors import DaybookError
from daybook.files import last_lines, run_dir, write_private
from daybook.jobs.environment import venv_bin
from daybook.settings import Settings
from daybook.stack import postgres
from daybook.stack.environment import MARKER, process_environment
from daybook.stack.folders import short_dir, sockets_dir
from daybook.stack.parts import Part, log_of

_STOP_SECONDS = 12
"""How long a part may take to stop gracefully; gunicorn finishes a running request within ten seconds."""


@dataclass(frozen=True)
class State:
    """Supervisor's state of a part."""

    name: str
    """Supervisor's state in lower case: running, starting, backoff, stopping, exited, fatal, stopped, unknown."""
    pid: int
    started: float
    """Start time of its process, seconds since 1970."""


def _socket(settings: Settings) -> Path:
    return sockets_dir(settings) / "sv"


def _pid_file(settings: Settings) -> Path:
    return run_dir(settings) / "supervisord.pid"


def write_config(settings: Settings, parts: Iterable[Part]) -> Path:
    """Write ``supervisord.conf``; no part starts automatically, ``up`` starts them in order."""

    def quoted(value: object) -> str:
        # supervisor expands %(name)s in every value
        return str(value).replace("%", "%%")

    manager = {
        "logfile": settings.logs_dir / "supervisord.log",
        "logfile_maxbytes": "5MB",
        "logfile_backups": 1,
        "pidfile": _pid_file(settings),
        "directory": settings.home,
        # the least that supervisor starts with; a higher limit of the shell is not changed
        "minfds": 1024,
        # supervisor's default is 022, but files of the parts contain names of players
        "umask": "077",
    }
    if os.geteuid() == 0:
        manager["user"] = "root"  # set explicitly to avoid a warning at each start
    sections: list[tuple[str, dict[str, Any]]] = [
        ("unix_http_server", {"file": _socket(settings), "chmod": "0700"}),
        ("supervisord", manager),
        (
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
    ]
    for part in parts:
        program = {
            "command": shlex.join(part.command(settings)),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 2,
            "startretries": 5,
            "stopsignal": part.stop_signal,
            "stopwaitsecs": _STOP_SECONDS,
            # PostgreSQL and gunicorn stop their own children; Airflow's parts leave theirs running
            "stopasgroup": "true" if part.name.startswith("airflow") else "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # relative to the state folder: supervisor expands this value twice, which breaks a path with a %
            "stdout_logfile": Path(log_of(settings, part.name)).relative_to(settings.home),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 2,
        }
        sections.append((f"program:{part.name}", program))
    lines: list[str] = []
    for title, options in sections:
        lines += [f"[{title}]", *(f"{name} = {quoted(value)}" for name, value in options.items()), ""]
    return write_private(run_dir(settings) / "supervisord.conf", "\n".join(lines))


@contextlib.contextmanager
def _manager(settings: Settings) -> Iterator[Any]:
    """Yield the RPC interface of supervisord; its calls raise OSError if it does not run."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, serverurl=f"unix://{_socket(settings)}")
    try:
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    finally:
        transport.close()


def states(settings: Settings) -> dict[str, State] | None:
    """Return supervisor's state of each part, or None if no supervisor of this stack answers."""
    if not (settings.home / "run").exists():
        return None
    try:
        with _manager(settings) as manager:
            found = manager.getAllProcessInfo()
    except (OSError, xmlrpc.client.ProtocolError):
        return None
    return {info["name"]: State(info["statename"].lower(), info["pid"], float(info["start"])) for info in found}


def launch(settings: Settings, parts: Iterable[Part]) -> None:
    """Start supervisord in the background, without starting any part.

    Raises:
        DaybookError: supervisord does not start.
    """
    configuration = write_config(settings, parts)
    log = settings.logs_dir / "supervisord.log"
    with log.open("a", encoding="utf-8") as output:
        started = subprocess.run(
            [venv_bin() / "supervisord", "-c", configuration],
            env=process_environment(settings),
            cwd=settings.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    deadline = time.monotonic() + 20
    while started.returncode == 0 and time.monotonic() < deadline:
        if states(settings) is not None:
            return
        time.sleep(0.1)
    raise DaybookError(f"supervisord does not start: {' '.join(last_lines(log, 1))}; log: {log}")


def start(settings: Settings, part: Part) -> None:
    """Start a part without waiting; does nothing if it runs."""
    try:
        with _manager(settings) as manager:
            manager.startProcess(part.name, False)
    except xmlrpc.client.Fault as fault:
        if "ALREADY_STARTED" not in fault.faultString:
            raise DaybookError(f"{part.name} cannot be started: {fault.faultString}") from None


def stop(settings: Settings, parts: Iterable[Part]) -> None:
    """Stop the parts in parallel, and wait until all have ended."""
    names = [part.name for part in parts]
    with _manager(settings) as manager:
        for name in names:
            try:
                manager.stopProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if "NOT_RUNNING" not in fault.faultString and "BAD_NAME" not in fault.faultString:
                    raise
    deadline = time.monotonic() + _STOP_SECONDS + 10
    while time.monotonic() < deadline:
        known = states(settings) or {}
        if not any(known[name].pid for name in names if name in known):
            return
        time.sleep(0.1)


def shut_down(settings: Settings) -> None:
    """Stop supervisord itself, and wait until its process has ended."""
    with _manager(settings) as manager:
        pid = manager.getPID()
        manager.shutdown()
    try:
        psutil.Process(pid).wait(timeout=_STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        psutil.Process(pid).kill()


def processes(settings: Settings) -> list[psutil.Process]:
    """Return every running process of this stack, whatever its parent; never the caller or its ancestors.

    They are identified by the marker in their environment. PostgreSQL's children overwrite theirs, and end with the
    server.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    home = str(settings.home)
    database = postgres.server_pid(settings)
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            marked = process.environ().get(MARKER) == home
            is_database = process.pid == database and process.name() == "postgres"
        except (psutil.AccessDenied, psutil.ZombieProcess, psutil.NoSuchProcess, OSError):
            # it belongs to another user, or has ended meanwhile
            continue
        if marked or is_database:
            found.append(process)
    return found


def end_processes(settings: Settings) -> int:
    """Terminate the processes that :func:`processes` finds, then kill the remaining ones; return their number.

    Raises:
        DaybookError: a process cannot be terminated.
    """
    found = processes(settings)
    for process in found:
        with_interrupt = process.is_running() and process.pid == postgres.server_pid(settings)
        _signal(process, signal.SIGINT if with_interrupt else signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=_STOP_SECONDS)
    # processes that one of them started at its very end are not in the first list
    alive = list({process.pid: process for process in [*alive, *processes(settings)]}.values())
    for process in alive:
        _signal(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(alive, timeout=_STOP_SECONDS)
    if alive:
        raise DaybookError(
            f"these processes could not be terminated: {', '.join(str(process.pid) for process in alive)}"
        )
    return len(found)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def remove_sockets(settings: Settings) -> None:
    """Remove this stack's folder in ``/tmp``, if it has one."""
    shutil.rmtree(short_dir(settings), ignore_errors=True)
