"""The lake: its tables, and how they are read without Spark.

:func:`load`, :func:`read_answer` and :func:`open_lake` are for other programs; docs/tasks.md shows them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daybook.lake.answers import read_answer
    from daybook.lake.catalog import load
    from daybook.lake.query import open_lake

__all__ = ["load", "open_lake", "read_answer"]
_MODULES = {"load": "catalog", "open_lake": "query", "read_answer": "answers"}


def __getattr__(name: str) -> Any:
    """Import a reader on first use: a DAG file that needs only the tables' names then loads no reader."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
