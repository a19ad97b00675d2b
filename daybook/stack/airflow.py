"""The embedded Airflow: its configuration, secrets, database, and the pools that Spark's tasks share."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from datetime import datetime
from pathlib import Path

from daybook.airflow_client import USER, AirflowRefused, airflow_home, api, password_file
from daybook.errors import DaybookError, NonRetryableError
from daybook.files import last_lines, state_dir, write_private
from daybook.jobs import connect
from daybook.jobs.environment import venv_bin
from daybook.settings import REPOSITORY, Settings
from daybook.stack import postgres
from daybook.stack.environment import process_environment

"""Airflow's pool of the Spark drivers: one slot, or on a cluster as many as fit.

A Spark driver takes a gigabyte and both cores of a laptop, so only one runs at a time. Measured on two cores under
other load, on a backfill of four days of 2,000 events with three runs at once: 237 s with one slot, 266 s with two.
"""

DAGS_DIR = REPOSITORY / "dags"


def _secrets(settings: Settings) -> dict[str, str]:
    """Return the keys that Airflow signs and encrypts with, created once for the life of the state folder.

    Raises:
        NonRetryableError: they are missing or cannot be read, and Airflow's database has connections that need them.
    """
    file = airflow_home(settings) / "secrets.json"
    if not file.exists() and not postgres.version_file(settings).exists():
        made = {
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "secret_key": secrets.token_urlsafe(48),
        }
        write_private(file, json.dumps(made))
    try:
        loaded: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NonRetryableError(
            f"{file} cannot be read ({error}): it has the keys of the connections that Airflow has stored. Nothing was "
            "changed. Put the file back, or restore a backup into an empty folder (`daybook restore`). To continue "
            f"with new keys, remove it and {postgres.version_file(settings)}, repeat, and store those connections again"
        ) from None
    return loaded


def write_config(settings: Settings) -> None:
    """Write ``airflow.cfg`` and, the first time, the secrets and the login; the same settings give the same file.

    With an externally managed Airflow, the environment sets the differences: its database and its listen address.
    """
    state_dir(settings)  # make an existing folder private too; the sockets may be elsewhere
    # written here: Airflow itself would create a world-readable file and print the password to a log
    if not password_file(settings).exists():
        write_private(password_file(settings), json.dumps({USER: secrets.token_urlsafe(12)}))
    made = _secrets(settings)
    logs = settings.logs_dir
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": DAGS_DIR,
            "plugins_folder": REPOSITORY / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 4,
            "max_active_tasks_per_dag": 4,
            "load_examples": False,
            "default_timezone": "utc",
            "fernet_key": made["fernet_key"],
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": password_file(settings),
            "execution_api_server_url": f"{settings.airflow_url}/execution/",
            # the default asks DNS for the machine's full name, which takes seconds on a machine without one
            "hostname_callable": "socket.gethostname",
        },
        "database": {}
        if settings.airflow_server_url
        else {
            "sql_alchemy_conn": postgres.uri(settings, "psycopg2"),
            "sql_alchemy_conn_async": postgres.uri(settings, "asyncpg"),
        },
        "api": {
            "host": "127.0.0.1",
            "port": settings.airflow_port,
            "base_url": settings.airflow_url,
            # the line with a task's error is long, and the remedy is at its end
            "default_wrap": True,
            "workers": 1,
            "secret_key": made["secret_key"],
        },
        "api_auth": {"jwt_secret": made["jwt_secret"]},
        "scheduler": {
            # detect tasks of a killed scheduler after one minute instead of five
            "task_instance_heartbeat_timeout": 60,
            "orphaned_tasks_check_interval": 60,
        },
        "triggerer": {"capacity": 100},
        "dag_processor": {
            "refresh_interval": 30,
            "parsing_processes": 1,
            "dag_bundle_storage_path": airflow_home(settings) / "bundles",
        },
        "logging": {
            "base_log_folder": logs / "airflow",
            "dag_processor_child_process_log_directory": logs / "airflow-dag-files",
            "colored_console_log": False,
            # Airflow's command line logs to standard output, which must be pure JSON with `-o json`. Silence Python's
            # warnings (graphviz is not installed, a library is deprecated), and two lines for each run it creates
            "namespace_levels": "py.warnings=ERROR airflow.serialization.definitions.dag=WARNING "
            "airflow.models.backfill=WARNING",
            # the log servers are off: all components share this disk, and they would listen on every address. If
            # Airflow still sends a request to one, it gets 404 from this stack's own API, never another stack's
            "worker_log_server_port": settings.airflow_port,
            "trigger_log_server_port": settings.airflow_port,
        },
    }
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        # Airflow interpolates values, so a percent sign in a path must be doubled
        lines += [f"{name} = {str(value).replace('%', '%%')}" for name, value in options.items()]
        lines.append("")
    text, file = "\n".join(lines), airflow_home(settings) / "airflow.cfg"
    # containers that share the state folder build the same text, and must not overwrite a file that another reads
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_private(file, text)


def migrate(settings: Settings, timeout_seconds: float) -> None:
    """Migrate Airflow's database to the installed version; skipped if this state folder records it as done.

    Raises:
        DaybookError: the migration failed or timed out. It can be repeated.
    """
    from importlib.metadata import version

    installed = version("apache-airflow-core")
    stamp = postgres.version_file(settings)
    (found,) = postgres.query(settings, "SELECT to_regclass('alembic_version') IS NOT NULL")
    if found[0] and stamp.exists() and stamp.read_text(encoding="utf-8") == installed:
        return
    log = settings.logs_dir / "airflow-migrate.log"
    try:
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(
                [venv_bin() / "airflow", "db", "migrate"],
                env=process_environment(settings),
                stdout=output,
                stderr=output,
                timeout=max(timeout_seconds, 0.1),
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise DaybookError(f"the migration of Airflow's database did not finish in time; its log: {log}") from None
    if done.returncode != 0:
        reason = " ".join(last_lines(log, 1))
        raise DaybookError(f"Airflow's database could not be migrated: {reason}; its log: {log}")
    stamp.write_text(installed, encoding="utf-8")


def ensure_pools(settings: Settings) -> None:
    """Create missing pools of Spark's tasks; a number of slots that an operator changed is not reset."""
    client = api(settings)
    pools = [(connect.DRIVER_POOL, connect.DRIVER_POOL_SLOTS, "one Spark driver at a time")]
    if settings.has_spark_connect:
        pools.append((connect.SERVER_POOL, connect.SERVER_POOL_SLOTS, "answers, on the Spark server"))
    for name, slots, description in pools:
        try:
            client.call("GET", f"/pools/{name}")
        except AirflowRefused as refused:
            if refused.status != 404:
                raise
            pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            client.call("POST", "/pools", pool)


def component_trouble(settings: Settings, component: str, since: float) -> str | None:
    """Explain why a component is not healthy yet; None if it is.

    Args:
        settings: the stack's.
        component: its name in the health endpoint: ``scheduler``, ``dag_processor`` or ``triggerer``.
        since: start of the component's process, seconds since 1970; an older heartbeat is from its predecessor.
    """
    try:
        state = api(settings, 5).health()[component]
    except DaybookError as error:
        return str(error)
    beat = state[f"latest_{component}_heartbeat"]
    if state["status"] != "healthy":
        return f"its last heartbeat: {beat or 'no heartbeat yet'}"
    if datetime.fromisoformat(beat).timestamp() < since:
        return "no heartbeat since its start"
    return None


def api_trouble(settings: Settings) -> str | None:
    """Explain why Airflow's API cannot be used yet; None if it can."""
    try:
        database = api(settings, 5).health()["metadatabase"]["status"]
    except DaybookError as error:
        return str(error)
    return None if database == "healthy" else f"its database is {database}"


def dags_trouble(settings: Settings) -> str | None:
    """Explain why Airflow has not loaded the DAG files yet, naming files with import errors; None if it has."""
    files = {path.stem for path in DAGS_DIR.glob("*.py") if not path.name.startswith("_")}
    client = api(settings, 5)
    try:
        errors = client.call("GET", "/importErrors")["import_errors"]
        known = {Path(dag["relative_fileloc"]).stem for dag in client.call("GET", "/dags?limit=100")["dags"]}
    except DaybookError as error:
        return str(error)
    if errors:
        return f"{errors[0]['filename']}: {errors[0]['stack_trace'].strip().splitlines()[-1]}"
    missing = sorted(files - known)
    return f"not loaded yet: {', '.join(missing)}" if missing else None


def secret_files(settings: Settings) -> list[Path]:
    """Return the files that only the user may read."""
    return [airflow_home(settings) / name for name in ("airflow.cfg", "secrets.json", "passwords.json")]
