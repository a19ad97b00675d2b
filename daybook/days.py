"""The day rule: the day that a run is for, and the end of a day. All days are UTC calendar days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from daybook.errors import BadInput


def parse_day(text: str) -> date:
    """Parse a day written ``YYYY-MM-DD``.

    Raises:
        BadInput: the text is not such a day.

    >>> parse_day("2028-02-29")
    datetime.date(2028, 2, 29)
    """
    try:
        if len(text) != 10:
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is not a day; write it as YYYY-MM-DD, for example 2026-05-03") from None


def run_day(*, run_type: str, logical_date: datetime | None, run_after: datetime, day_param: str | None) -> date:
    """Return the day that an Airflow run is for.

    The ``day`` parameter takes precedence, except in a backfill, where every run would get the same day. Otherwise it
    is the day of the run's logical date, but never a day that had not ended when the run became due. A trigger without
    a date, or with the present moment as its date, therefore means yesterday.

    Args:
        run_type: Airflow's run type: ``scheduled``, ``manual``, ``backfill`` or ``asset_triggered``.
        logical_date: start of the run's data interval, if the run has one.
        run_after: when the run became due.
        day_param: the run's ``day`` parameter, ``YYYY-MM-DD``, or None.

    Raises:
        BadInput: ``day_param`` is not a day.
    """
    if day_param and run_type != "backfill":
        return parse_day(day_param)
    last_ended = run_after.astimezone(UTC).date() - timedelta(days=1)
    if logical_date is None:
        return last_ended
    return min(logical_date.astimezone(UTC).date(), last_ended)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of the day and the first moment after it."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)
