"""``python -m daybook.stack.scheduler``: runs Airflow's scheduler after terminating the workers of a killed one.

Airflow's workers are forks of the scheduler. If the kernel kills only the scheduler, they stay alive without work and
hold its connections to the database open. If it was killed inside a transaction, that transaction stays open too, with
the lock on the pools of slots. Then no later scheduler can start a task. A container or a service manager terminates
all processes of a part together, but supervisor starts the next scheduler alongside the old workers.
"""

from __future__ import annotations

import os
import sys

import psutil

from daybook.jobs.environment import venv_bin
from daybook.settings import Settings, load_settings
from daybook.stack import supervisor

WORKER_TITLE = "airflow worker -- LocalExecutor"
"""Prefix of a worker's command line, whether busy or idle (Airflow 3.3)."""


def workers(loaded: Settings) -> list[psutil.Process]:
    """Return the workers of this stack's schedulers: the running one's and those of killed ones."""
    found = []
    for process in supervisor.processes(loaded):
        try:
            if " ".join(process.cmdline()).startswith(WORKER_TITLE):
                found.append(process)
        except psutil.Error:  # it has ended since
            continue
    return found


def end_workers_of_a_killed_scheduler(loaded: Settings) -> int:
    """Terminate every worker and its tasks; return the number of workers.

    Call it only before a scheduler starts. The new scheduler retries the tasks: Airflow's LocalExecutor adopts no tasks
    of another scheduler.
    """
    left = workers(loaded)
    trees = [one for worker in left for one in (worker, *_below(worker))]
    for process in trees:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(trees, timeout=10)
    return len(left)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    """Terminate leftover workers, then become the scheduler."""
    ended = end_workers_of_a_killed_scheduler(load_settings())
    if ended:
        sys.stderr.write(f"terminated {ended} workers that a killed scheduler left; Airflow retries their tasks\n")
    program = str(venv_bin() / "airflow")
    os.execv(program, [program, "scheduler", "--skip-serve-logs"])


if __name__ == "__main__":
    main()
