"""Checks the configuration of a run of the daily DAG before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import ParamValidationError

from daybook.settings import Settings
from daybook_airflow.macros import daybook_day
from daybook_airflow.refused import RefusedRun

if TYPE_CHECKING:
    from airflow.sdk import Param

    from event_generator.manifest import Request

SHARES = ("duplicates", "late", "invalid")
"""Parameters for the misbehaviour of the generated clients."""


def checked_day(dag_run: Any, params: Mapping[str, Any], known: Mapping[str, Param]) -> date:
    """Return the run's day if the run can do what was requested.

    Airflow checks the values of parameters, but accepts any name.

    Args:
        dag_run: the run; its ``conf`` and ``run_after`` are read.
        params: the run's parameters.
        known: the DAG's parameters.

    Raises:
        RefusedRun: the configuration has a name that is not a parameter, or the day has not begun.
    """
    refuse_unknown_names(dag_run.conf, known, "Nothing was generated or landed")
    day = date.fromisoformat(daybook_day(dag_run, params))
    if day > dag_run.run_after.astimezone(UTC).date():
        raise RefusedRun(
            f"{day} has not begun (UTC); nothing was generated or landed. Trigger a run for a day that is over, or wait"
        )
    return day


def refuse_unknown_names(conf: Mapping[str, Any] | None, known: Mapping[str, Param], unchanged: str) -> None:
    """Refuse a run whose configuration has a name that is not a parameter of its DAG.

    Args:
        conf: the run's configuration.
        known: the DAG's parameters.
        unchanged: what was not done, for the message.

    Raises:
        RefusedRun: it has such a name.
    """
    asked = conf or {}
    unknown = sorted(set(asked) - set(known))
    if not unknown:
        return
    near = [(name, _nearest(name, asked[name], known)) for name in unknown]
    names = ", ".join(f"{name!r} (did you mean {found!r}?)" if found else f"{name!r}" for name, found in near)
    allowed = f"the DAG's parameters are: {', '.join(known)}" if known else "the DAG has no parameters"
    next_run = "with the right names" if known else "without a configuration"
    raise RefusedRun(
        f"the run's configuration names {names}, which is not a parameter; {allowed}. "
        f"{unchanged}; trigger a run {next_run}"
    )


def _nearest(name: str, value: Any, known: Mapping[str, Param]) -> str | None:
    """Return the most similar parameter, if any; those that accept the value come first, so "date" is not "late"."""

    def takes(param: Param) -> bool:
        try:
            copy(param).resolve(value)
        except ParamValidationError:
            return False
        return True

    names = [[one for one, param in known.items() if takes(param)], list(known)]
    return next((found for some in names for found in get_close_matches(name, some, 1, 0.5)), None)


def generated_request(settings: Settings, day: date, dag_run: Any, params: Mapping[str, Any]) -> Request | str:
    """Return what the generator must send for a run, or why it sends nothing.

    Args:
        settings: how many events a run generates by default.
        day: the run's day.
        dag_run: the run; its ``conf`` is read.
        params: the run's parameters: its ``conf`` over the defaults.

    Raises:
        DaybookError: the lake, the broker or a manifest cannot be read.
    """
    from event_generator.by_default import is_taken, request_by_default
    from event_generator.faults import FaultProfile
    from event_generator.manifest import Request

    if _asks_for_generated(settings, dag_run.conf or {}):
        # JSON Schema accepts 500.0 as an integer
        events, seed = int(params["events"]), int(params["seed"])
        faults = FaultProfile(**{name: params[name] for name in SHARES})
        return Request(day, events, seed, faults) if events else "live traffic: nothing to generate"
    if not settings.events_of_a_run:
        return "live traffic: nothing to generate"
    if day >= datetime.now(UTC).date():
        return f"{day} is not over: no events are generated for it; events that are sent before its end are landed"
    wanted = request_by_default(settings, day, lambda one: is_taken(settings, one))
    return wanted or (
        f"{day} has events from other senders, so no events are generated; `events` in the run's configuration adds "
        "generated ones"
    )


def _asks_for_generated(settings: Settings, conf: Mapping[str, Any]) -> bool:
    """Whether a run's configuration asks for generated events; Airflow's unchanged form does not.

    The form sends every parameter, changed or not.
    """
    form = {"events": settings.events_of_a_run, "seed": settings.generated_seed, **dict.fromkeys(SHARES, 0)}
    asked = {name: conf[name] for name in form if name in conf}
    return bool(asked) and asked != form
