"""The lake: its tables, and how they are read without Spark.

:func:`load`, :func:`read_answer` and :func:`open_lake` are for other programs; docs/tasks.md shows them.
"""

from daybook.lake.answers import read_answer
from daybook.lake.catalog import load
from daybook.lake.query import open_lake

__all__ = ["load", "open_lake", "read_answer"]
