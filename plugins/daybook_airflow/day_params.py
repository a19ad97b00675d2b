"""The parameters of a run of the daily DAG, which Airflow shows as a form."""

from __future__ import annotations

from airflow.sdk import Param

from daybook.settings import Settings

MAX_EVENTS = 10_000_000


def day_params(settings: Settings) -> dict[str, Param]:
    """Return the parameters by name, in the order of the form; the defaults are those of a run that sets none."""
    by_default = (
        f"Runs that set no number generate {settings.events_of_a_run}, unless the day has events from other senders."
        if settings.events_of_a_run
        else "Runs that set no number build live traffic."
    )
    # bounds are in allOf: the form silently changes -1 to a field's minimum, but -1 must be refused
    return {
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="The day to build, UTC. Empty: yesterday, or the day of the logical date. Backfills ignore it.",
        ),
        "events": Param(
            settings.events_of_a_run,
            type="integer",
            allOf=[{"minimum": 0, "maximum": MAX_EVENTS}],
            title="Generated events",
            description=f"Number of events of made-up players to send first. 0: live traffic only. {by_default}",
        ),
        "seed": Param(
            settings.generated_seed,
            type="integer",
            allOf=[{"minimum": 0}],
            title="Seed",
            description="Determines the generated events: the same seed gives the same day.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Build again",
            description="Build and publish the day again even if nothing has changed.",
        ),
        **{
            name: Param(
                0,
                type="number",
                allOf=[{"minimum": 0, "maximum": 1}],
                title=title,
                description=description,
                section="Bad clients",
            )
            for name, title, description in (
                ("duplicates", "Share sent twice", "Share of the generated events, 0 to 1."),
                (
                    "late",
                    "Share that arrives late",
                    "Share of the generated events, 0 to 1; they happened 1 to 30 days ago.",
                ),
                (
                    "invalid",
                    "Share of invalid events",
                    "Share sent in addition, 0 to 1; the intake refuses them.",
                ),
            )
        },
    }
