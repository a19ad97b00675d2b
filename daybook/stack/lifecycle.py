"""Starts and stops the embedded stack."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator

from daybook import airflow_client
from daybook.airflow_client import USER
from daybook.errors import BadInput, DaybookError
from daybook.files import last_lines, private_opener, run_dir, state_dir, write_private
from daybook.jobs.environment import stack_environment
from daybook.kafka.topic import ensure_topic
from daybook.lake.opening import open_state
from daybook.settings import Settings
from daybook.stack import airflow, kafka, postgres, spark_connect, supervisor
from daybook.stack.parts import Part, log_of, parts, ports

Say = Callable[[str], None]
"""Prints a line for the reader."""
_LOOK_EVERY_SECONDS = 0.4


@contextlib.contextmanager
def _alone(loaded: Settings) -> Iterator[None]:
    """Wait until no other ``up`` or ``down`` of this stack is running."""
    with open(run_dir(loaded) / "lock", "w", encoding="utf-8", opener=private_opener) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _refuse_taken_ports(loaded: Settings) -> None:
    seen: dict[int, str] = {}
    problems: list[str] = []
    for part, port, setting in ports(loaded):
        if port in seen:
            problems.append(f"{setting} and {seen[port]} are both {port}")
        elif not kafka.port_is_free(port):
            problems.append(f"port {port} ({part}) is in use; set {setting} to another one")
        seen[port] = setting
    if problems:
        raise BadInput(f"{'; '.join(problems)}. Nothing was started")


def _wait(loaded: Settings, waiting: list[Part], say: Say, show_waiting: Say, deadline: float) -> None:
    """Wait until these parts are healthy, and report each one.

    Raises:
        DaybookError: a part failed or did not become healthy in time. The last lines of its log are printed.
    """
    began = time.monotonic()
    reasons: dict[str, str] = {part.name: "not started yet" for part in waiting}
    while waiting:
        states = supervisor.states(loaded)
        if states is None:
            raise DaybookError(f"supervisord has stopped; log: {log_of(loaded, 'supervisord')}")
        for part in list(waiting):
            state = states[part.name]
            reason = part.trouble(loaded, state.started) if state.name == "running" else f"it is {state.name}"
            if reason is None:
                waiting.remove(part)
                say(f"{part.name:<22} healthy after {time.monotonic() - began:3.0f} s")
                continue
            reasons[part.name] = reason
            if state.name == "fatal" or time.monotonic() > deadline:
                log = log_of(loaded, part.name)
                for line in last_lines(loaded.logs_dir / f"{part.name}.log"):
                    sys.stderr.write(f"  | {line}\n")
                late = "does not start" if state.name == "fatal" else f"did not become healthy in time ({reason})"
                raise DaybookError(
                    f"{part.name} {late}; its log: {log}. The other parts were not stopped; `daybook down` stops all"
                )
        if waiting:
            names = ", ".join(part.name for part in waiting)
            show_waiting(f"waiting for {names}  {time.monotonic() - began:.0f} s")
            time.sleep(_LOOK_EVERY_SECONDS)  # between two checks of the parts


def bring_up(loaded: Settings, say: Say, show_waiting: Say = lambda _text: None) -> bool:
    """Start the missing parts and wait until all are healthy; return whether anything had to be started.

    Args:
        loaded: the settings: which parts to start, and where.
        say: prints a line: each action, and each part that becomes healthy.
        show_waiting: shows the parts that are not healthy yet, replacing its previous text.

    Raises:
        BadInput: a port is taken, the stack runs with other settings or is managed externally. Nothing was changed.
        NonRetryableError: the state folder was copied, moved, half restored or belongs to a newer Daybook, or its
            lake is elsewhere. Nothing was started.
        DaybookError: a part does not become healthy in time.
    """
    if loaded.airflow_server_url:
        raise BadInput(
            f"DAYBOOK_AIRFLOW_SERVER_URL names an external Airflow at {loaded.airflow_url}: start and stop this stack "
            "as that Airflow was started (make compose-up, make compose-down). Nothing was started"
        )
    for line in open_state(loaded):  # before anything else is written, the lock included
        say(line)
    with _alone(loaded):
        environment = json.dumps(stack_environment(loaded), indent=1, sort_keys=True)
        noted = run_dir(loaded) / "environment.json"
        states = supervisor.states(loaded)
        table = parts(loaded)
        if states is None:
            if ended := supervisor.end_processes(loaded):
                say(f"terminated {ended} processes of an earlier stack")
            _refuse_taken_ports(loaded)
            state_dir(loaded, "logs")
            if not loaded.kafka_bootstrap_servers:
                kafka.prepare(loaded)
            postgres.prepare(loaded)
            airflow.write_config(loaded)
            if loaded.has_spark_connect:
                spark_connect.prepare(loaded)
            supervisor.launch(loaded, table)
            write_private(noted, environment)
        elif differ := _differing(noted.read_text(encoding="utf-8"), environment):
            raise BadInput(
                f"the stack is up with different settings: {', '.join(differ)}. Run `daybook down`, then `daybook up`, "
                "or set them to their previous values"
            )
        elif all(state.name == "running" for state in states.values()) and not any(
            part.trouble(loaded, states[part.name].started) for part in table
        ):
            return False
        deadline = time.monotonic() + loaded.up_timeout_seconds
        base = [part for part in table if part.is_base]
        for part in [*base, *(part for part in table if part.is_early)]:
            supervisor.start(loaded, part)
        # the migration takes some seconds; the broker starts meanwhile
        _wait(loaded, [part for part in base if part.name == "postgres"], say, show_waiting, deadline)
        airflow.migrate(loaded, deadline - time.monotonic())
        _wait(loaded, [part for part in base if part.name != "postgres"], say, show_waiting, deadline)
        _enlarge_topic(loaded, say)
        others = [part for part in table if not part.is_base]
        for part in others:
            if not part.is_early:
                supervisor.start(loaded, part)
        _wait(loaded, others, say, show_waiting, deadline)
        airflow.ensure_pools(loaded)
        return True


def _enlarge_topic(loaded: Settings, say: Say) -> None:
    """Adjust the embedded broker's topic to the settings; operators manage the topics of other brokers."""
    if loaded.kafka_bootstrap_servers:
        return
    did, *more = ensure_topic(loaded, set_config=True)
    for line in more if did.startswith("kept") else (did, *more):
        say(f"topic {loaded.kafka_topic}: {line}")


def _differing(noted: str, environment: str) -> list[str]:
    """Return the names of settings that differ between two stored environments; values may be private."""
    before, now = _shell_independent(noted), _shell_independent(environment)
    differ = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    # a derived variable differs together with its setting, and is less informative
    return [name for name in differ if name.startswith("DAYBOOK_")] or differ


def _shell_independent(environment: str) -> dict[str, str]:
    """Return the settings in a stored environment, without variables that differ from shell to shell."""
    noted: dict[str, str] = json.loads(environment)
    return {name: value for name, value in noted.items() if name.startswith(("DAYBOOK_", "AIRFLOW_", "PYICEBERG_"))}


def take_down(loaded: Settings) -> int:
    """Stop the stack and everything it started; return how many of its processes were running.

    Raises:
        DaybookError: a process cannot be terminated.
    """
    if not loaded.home.exists():
        return 0
    with _alone(loaded):
        count = len(supervisor.processes(loaded))
        if supervisor.states(loaded) is not None:
            table = parts(loaded)
            supervisor.stop(loaded, [part for part in table if not part.is_base])
            supervisor.stop(loaded, [part for part in table if part.is_base])
            supervisor.shut_down(loaded)
        supervisor.end_processes(loaded)
        supervisor.remove_sockets(loaded)
        return count


def where(loaded: Settings) -> list[str]:
    """Return lines for the reader with the addresses of the running parts."""
    return [
        f"intake      {loaded.intake_url}",
        f"Airflow     {loaded.airflow_url}  user {USER}, password in {airflow_client.password_file(loaded)}",
        f"logs        {loaded.logs_dir}",
    ]
