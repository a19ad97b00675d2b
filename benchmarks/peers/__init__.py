"""What Daybook is held against: programs that do the same work by other means, each run as a process of its own.

Each is written as somebody who knows the tool would write it, reads the topic of the settings to its end, and writes
below the folder that is its first argument: ``events/event_date=YYYY-MM-DD/*.parquet``, zstd, the columns of
``daybook.contract.RECORD_FIELDS`` and ``provider``. All resolve a provider once for each distinct host, by
:func:`daybook.providers.resolve`: which provider a host belongs to is no part of the comparison. A record counts if it
is a JSON object with the fields of :data:`REQUIRED`; of several with one ``event_id`` any one.
"""

from __future__ import annotations

from functools import cache

from daybook.providers import resolve

REQUIRED = ("event_id", "event_type", "user_id", "occurred_at")


@cache
def provider(host: str) -> str:
    """The provider of a host, resolved once in each process."""
    return resolve(host).provider
