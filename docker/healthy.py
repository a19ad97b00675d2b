"""Compose's health check of one of Airflow's components: ``healthy.py scheduler``; exits with 1 and the reason if not.

Healthy means the same as in the embedded stack. The heartbeats come from Airflow's API, so that no Python process of
Airflow has to start.
"""

from __future__ import annotations

import sys

from daybook.settings import load_settings
from daybook.stack import airflow


def main(component: str) -> int:
    """Return the exit status for a component: ``api_server``, ``scheduler``, ``dag_processor`` or ``triggerer``."""
    loaded = load_settings()
    if component == "api_server":
        trouble = airflow.api_trouble(loaded)
    else:
        trouble = airflow.component_trouble(loaded, component, since=0)
    if component == "dag_processor":  # a DAG can be triggered once its file has been read
        trouble = trouble or airflow.dags_trouble(loaded)
    if trouble:
        sys.stderr.write(f"{component}: {trouble}\n")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
