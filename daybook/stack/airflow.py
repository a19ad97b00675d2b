"""The embedded Airflow: its configuration, its secrets, its database and the pools that Spark's tasks share."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from datetime import datetime
from pathlib import Path

from daybook.airflow_client import USER, AirflowRefused, airflow_home, api, password_file
from daybook.errors import DaybookError, NeedsDecision
from daybook.files import last_lines, state_dir, write_private
from daybook.jobs import connect
from daybook.jobs.environment import venv_bin
from daybook.settings import REPOSITORY, Settings
from daybook.stack import postgres
from daybook.stack.environment import process_environment

SPARK_POOL = "spark"
"""Of drivers: one slot, and on a cluster as many as it has room for."""
"""A Spark driver takes a gigabyte and both cores of a laptop: one at a time.

Measured on two cores, other work beside, on a backfill of four days of 2,000 events with three runs at once: 237 s with
one slot, 266 s with two.
"""

DAGS_DIR = REPOSITORY / "dags"


def _secrets(settings: Settings) -> dict[str, str]:
    """Keys that Airflow signs and encrypts with: made once, kept as long as the state folder.

    Raises:
        NeedsDecision: they are gone or cannot be read, and Airflow's database has connections that need them.
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
        raise NeedsDecision(
            f"{file} cannot be read ({error}): it holds the keys of the connections that Airflow has stored. Nothing "
            "was changed. Bring it back, or restore a backup into an empty folder (`daybook restore`); to go on with "
            f"new keys, remove it and {postgres.version_file(settings)}, repeat, and store those connections again"
        ) from None
    return loaded


def write_config(settings: Settings) -> None:
    """Write ``airflow.cfg`` and, the first time, the secrets and the login; the same settings give the same file.

    Where other means start Airflow, the environment says what differs: its database and the address it listens on.
    """
    state_dir(settings)  # private also where it was there before, and the sockets lie elsewhere
    # written here, since Airflow itself would make a file that everybody can read and print the password to a log
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
            # the default asks DNS for the machine's full name, which takes seconds where it has none
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
            # the line that says why a task failed is long, and its end says what to do
            "default_wrap": True,
            "workers": 1,
            "secret_key": made["secret_key"],
        },
        "api_auth": {"jwt_secret": made["jwt_secret"]},
        "scheduler": {
            # a task of a killed scheduler is noticed after a minute, not five
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
            # the command line logs to standard output, where `-o json` is to be JSON: python's warnings (graphviz is
            # not installed, a library is deprecated), and two lines for each run that a command makes
            "namespace_levels": "py.warnings=ERROR airflow.serialization.definitions.dag=WARNING "
            "airflow.models.backfill=WARNING",
            # the log servers are off (all components share this disk, and they would listen on every address); what
            # Airflow asks of one all the same goes to this stack's own API and gets 404, never to another stack
            "worker_log_server_port": settings.airflow_port,
            "trigger_log_server_port": settings.airflow_port,
        },
    }
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        # the file is read with interpolation: a percent sign in a path is written twice
        lines += [f"{name} = {str(value).replace('%', '%%')}" for name, value in options.items()]
        lines.append("")
    text, file = "\n".join(lines), airflow_home(settings) / "airflow.cfg"
    # containers that share the state folder all say the same, and none writes below another that reads
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_private(file, text)


def migrate(settings: Settings, timeout_seconds: float) -> None:
    """Bring Airflow's database to the installed version; skipped when this state folder has seen that done.

    Raises:
        DaybookError: the migration failed, or took longer. It can be repeated.
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
        raise DaybookError(f"the migration of Airflow's database is late; its log: {log}") from None
    if done.returncode != 0:
        reason = " ".join(last_lines(log, 1))
        raise DaybookError(f"Airflow's database could not be migrated: {reason}; its log: {log}")
    stamp.write_text(installed, encoding="utf-8")


def ensure_pools(settings: Settings) -> None:
    """See that the pools of Spark's tasks are there; an operator's other number of slots is left alone."""
    client = api(settings)
    pools = [(SPARK_POOL, 1, "one Spark driver at a time")]
    if settings.has_spark_connect:
        pools.append((connect.POOL, connect.POOL_SLOTS, "answers, on the Spark server"))
    for name, slots, description in pools:
        try:
            client.call("GET", f"/pools/{name}")
        except AirflowRefused as refused:
            if refused.status != 404:
                raise
            pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            client.call("POST", "/pools", pool)


def component_trouble(settings: Settings, component: str, since: float) -> str | None:
    """Why a component is not healthy yet, or none.

    Args:
        settings: the stack's.
        component: as the health page names it: ``scheduler``, ``dag_processor`` or ``triggerer``.
        since: when the component's process was started, seconds since 1970; an older heartbeat is its predecessor's.
    """
    try:
        state = api(settings, 5).health()[component]
    except DaybookError as error:
        return str(error)
    beat = state[f"latest_{component}_heartbeat"]
    if state["status"] != "healthy":
        return f"its last heartbeat: {beat or 'none yet'}"
    if datetime.fromisoformat(beat).timestamp() < since:
        return "no heartbeat since its start"
    return None


def api_trouble(settings: Settings) -> str | None:
    """Why Airflow's API cannot be used yet, or none if it can."""
    try:
        database = api(settings, 5).health()["metadatabase"]["status"]
    except DaybookError as error:
        return str(error)
    return None if database == "healthy" else f"its database is {database}"


def dags_trouble(settings: Settings) -> str | None:
    """Why the DAG files are not known to Airflow yet, or none if they are; a file that cannot be imported is named."""
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
    return f"not read yet: {', '.join(missing)}" if missing else None


def secret_files(settings: Settings) -> list[Path]:
    """The files that nobody but the user may read."""
    return [airflow_home(settings) / name for name in ("airflow.cfg", "secrets.json", "passwords.json")]
