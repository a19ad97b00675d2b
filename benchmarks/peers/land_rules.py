"""Rules for all programs that land and answer a day; they differ only in their tool.

Each is written as an expert in its tool would write it. It reads the topic of the settings to its end, and writes below
the folder in its first argument: ``events/event_date=YYYY-MM-DD/*.parquet``, zstd, the columns of
``daybook.contract.RECORD_FIELDS`` and ``provider``. All resolve a provider once for each distinct host, with
:func:`daybook.providers.resolve`, because that is not part of the comparison. A record counts if it is a JSON object
with the fields of :data:`REQUIRED`. If several have the same ``event_id``, any one of them counts.
"""

from __future__ import annotations

from functools import cache

from daybook.providers import resolve

REQUIRED = ("event_id", "event_type", "user_id", "occurred_at")


@cache
def provider(host: str) -> str:
    """Return the provider of a host; each process resolves it once."""
    return resolve(host).provider
