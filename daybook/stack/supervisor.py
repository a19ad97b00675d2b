"""The process manager of the stack: supervisord, told what to run, and the search for processes that outlived it."""

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
"""How long a part may take to stop by itself; a gunicorn request under way is answered within ten."""


@dataclass(frozen=True)
class State:
    """What supervisor knows about a part."""

    name: str
    """Supervisor's state in lower case: running, starting, backoff, stopping, exited, fatal, stopped, unknown."""
    pid: int
    started: float
    """Start of its process, seconds since 1970."""


def _socket(settings: Settings) -> Path:
    return sockets_dir(settings) / "sv"


def _pid_file(settings: Settings) -> Path:
    return run_dir(settings) / "supervisord.pid"


def write_config(settings: Settings, parts: Iterable[Part]) -> Path:
    """Write ``supervisord.conf``; nothing in it starts by itself, ``up`` starts the parts in order."""

    def quoted(value: object) -> str:
        # supervisor expands %(name)s in every value
        return str(value).replace("%", "%%")

    manager = {
        "logfile": settings.logs_dir / "supervisord.log",
        "logfile_maxbytes": "5MB",
        "logfile_backups": 1,
        "pidfile": _pid_file(settings),
        "directory": settings.home,
        # supervisor's default of 1024 is below what the system allows, and a broker needs more
        "minfds": 1024,
        # it would make it 022: what the parts write names players
        "umask": "077",
    }
    if os.geteuid() == 0:
        manager["user"] = "root"  # said aloud, so that it does not warn of it at each start
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
            # PostgreSQL and gunicorn tell their children themselves; Airflow's parts leave theirs behind
            "stopasgroup": "true" if part.name.startswith("airflow") else "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # relative to the state folder: supervisor expands this value twice, so no path with a % would survive
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
    """The interface of the running supervisord; its calls raise OSError when there is none."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, serverurl=f"unix://{_socket(settings)}")
    try:
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    finally:
        transport.close()


def states(settings: Settings) -> dict[str, State] | None:
    """What supervisor says of each part, or none when no supervisor of this stack answers."""
    if not (settings.home / "run").exists():
        return None
    try:
        with _manager(settings) as manager:
            found = manager.getAllProcessInfo()
    except (OSError, xmlrpc.client.ProtocolError):
        return None
    return {info["name"]: State(info["statename"].lower(), info["pid"], float(info["start"])) for info in found}


def launch(settings: Settings, parts: Iterable[Part]) -> None:
    """Start supervisord in the background, with no part running yet.

    Raises:
        DaybookError: it does not come up.
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
    """Start a part; returns at once, and does nothing if it runs."""
    try:
        with _manager(settings) as manager:
            manager.startProcess(part.name, False)
    except xmlrpc.client.Fault as fault:
        if "ALREADY_STARTED" not in fault.faultString:
            raise DaybookError(f"{part.name} cannot be started: {fault.faultString}") from None


def stop(settings: Settings, parts: Iterable[Part]) -> None:
    """Stop the parts side by side, and wait until the last has gone."""
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
    """Stop supervisord itself, and wait until its process is gone."""
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
    """Every process of this stack that lives, whoever its parent is now; never the caller or what called it.

    They are known by the marker in their environment. PostgreSQL's children write over theirs, and end with the server.
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
            # somebody else's, or gone between the two looks
            continue
        if marked or is_database:
            found.append(process)
    return found


def end_processes(settings: Settings) -> int:
    """End what :func:`processes` finds: asked first, then killed; returns how many there were.

    Raises:
        DaybookError: one of them cannot be ended.
    """
    found = processes(settings)
    for process in found:
        with_interrupt = process.is_running() and process.pid == postgres.server_pid(settings)
        _signal(process, signal.SIGINT if with_interrupt else signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=_STOP_SECONDS)
    # what was started by one of them in its last moment is in nobody's list yet
    alive = list({process.pid: process for process in [*alive, *processes(settings)]}.values())
    for process in alive:
        _signal(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(alive, timeout=_STOP_SECONDS)
    if alive:
        raise DaybookError(f"processes that do not end: {', '.join(str(process.pid) for process in alive)}")
    return len(found)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def remove_sockets(settings: Settings) -> None:
    """Remove the folder in ``/tmp``, if this stack has one."""
    shutil.rmtree(short_dir(settings), ignore_errors=True)
