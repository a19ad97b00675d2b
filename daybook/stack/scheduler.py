"""``python -m daybook.stack.scheduler``: Airflow's scheduler, once the workers of a killed one have been ended.

Airflow's workers are forks of the scheduler. When the kernel kills the scheduler alone, they live on without work, and
hold its connections to the database open. If it was killed in the middle of a transaction, that one stays open too,
with the lock on the pools of slots, and no later scheduler starts a task again. A container or a service manager ends
all processes of a part together; supervisor starts the next one beside them.
"""

from __future__ import annotations

import os
import sys

import psutil

from daybook.jobs.environment import venv_bin
from daybook.settings import Settings, settings
from daybook.stack import supervisor

WORKER_TITLE = "airflow worker -- LocalExecutor"
"""How a worker's command line begins, whether it works or waits (Airflow 3.3)."""


def workers(loaded: Settings) -> list[psutil.Process]:
    """The workers of this stack's schedulers, the living one's and those of killed ones."""
    found = []
    for process in supervisor.processes(loaded):
        try:
            if " ".join(process.cmdline()).startswith(WORKER_TITLE):
                found.append(process)
        except psutil.Error:  # it has ended since
            continue
    return found


def end_workers_of_a_killed_scheduler(loaded: Settings) -> int:
    """End every worker, and the tasks that they run; returns how many workers there were.

    Only before a scheduler starts. The tasks are tried again by the new one: Airflow's LocalExecutor takes up none of
    another scheduler's.
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
    """End what is left, and become the scheduler."""
    ended = end_workers_of_a_killed_scheduler(settings())
    if ended:
        sys.stderr.write(f"ended {ended} workers that a killed scheduler left; their tasks are tried again\n")
    program = str(venv_bin() / "airflow")
    os.execv(program, [program, "scheduler", "--skip-serve-logs"])


if __name__ == "__main__":
    main()
