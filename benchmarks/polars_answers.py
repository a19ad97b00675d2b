"""The answers written by hand for Polars: lazy frames in, lazy frames out, in idiomatic Polars.

The frames of a day have the columns of ``spark/sql``. Their test is the benchmark itself, which compares their rows
with the truth before their time counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta

import polars as pl

Query = Callable[[pl.LazyFrame], pl.LazyFrame]


def _counted(events: pl.LazyFrame, *keys: str) -> pl.LazyFrame:
    return events.group_by(keys).agg(pl.len().cast(pl.Int64).alias("events"), pl.n_unique("user_id").alias("users"))


def _rank() -> pl.Expr:
    return pl.col("events").rank("min", descending=True)


def _event_popularity(events: pl.LazyFrame) -> pl.LazyFrame:
    counted = _counted(events, "event_type", "item")
    return counted.with_columns(share=pl.col("events") / pl.col("events").sum(), rank=_rank())


def _daily_activity(events: pl.LazyFrame) -> pl.LazyFrame:
    hours = (
        events.group_by(pl.col("occurred_at").dt.hour().alias("hour"))
        .len()
        .sort(["len", "hour"], descending=[True, False])
        .select(pl.first("hour").alias("busiest_hour"))
    )
    kind = pl.col("event_type")
    totals = events.select(
        pl.len().alias("events"),
        pl.n_unique("user_id").alias("users"),
        (kind == "purchase_item").sum().alias("purchases"),
        (kind == "join_guild").sum().alias("guild_joins"),
    )
    whole = totals.with_columns(events_per_user=pl.col("events") / pl.col("users"))
    return pl.concat([whole, hours], how="horizontal")


def _hourly_activity(events: pl.LazyFrame) -> pl.LazyFrame:
    return _counted(events.with_columns(hour=pl.col("occurred_at").dt.hour()), "hour")


def _guild_joins(events: pl.LazyFrame) -> pl.LazyFrame:
    counted = _counted(events.filter(pl.col("event_type") == "join_guild"), "guild")
    return counted.with_columns(share=pl.col("events") / pl.col("events").sum(), rank=_rank())


def _bought(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("event_type") == "purchase_item")


def _purchases(events: pl.LazyFrame) -> pl.LazyFrame:
    bought = _bought(events)
    buyers = bought.select(pl.n_unique("user_id").alias("buyers"))
    return (
        _counted(bought, "item")
        .join(buyers, how="cross")
        .with_columns(
            share=pl.col("events") / pl.col("events").sum(),
            buyers_share=pl.col("users") / pl.col("buyers"),
            events_per_user=pl.col("events") / pl.col("users"),
            rank=_rank(),
        )
        .drop("buyers")
    )


def _item_affinity(events: pl.LazyFrame) -> pl.LazyFrame:
    bought = _bought(events).select("user_id", "item").unique()
    buyers = bought.select(pl.n_unique("user_id").cast(pl.Int64).alias("buyers"))
    singles = bought.group_by("item").agg(pl.len().cast(pl.Int64).alias("single"))
    pairs = (
        bought.join(bought, on="user_id", suffix="_other")
        .filter(pl.col("item") < pl.col("item_other"))
        .group_by("item", pl.col("item_other").alias("other_item"))
        .agg(pl.len().cast(pl.Int64).alias("users"))
    )
    return (
        pairs.join(singles, on="item")
        .join(singles, left_on="other_item", right_on="item", suffix="_other")
        .join(buyers, how="cross")
        .select(
            "item",
            "other_item",
            "users",
            (pl.col("users") / pl.col("buyers")).alias("buyers_share"),
            (pl.col("users") * pl.col("buyers") / (pl.col("single") * pl.col("single_other"))).alias("lift"),
        )
    )


def _purchase_funnel(events: pl.LazyFrame) -> pl.LazyFrame:
    at, kind = pl.col("occurred_at"), pl.col("event_type")
    players = events.group_by("user_id").agg(
        at.filter(kind == "join_guild").min().alias("joined"), at.filter(kind == "purchase_item").max().alias("bought")
    )
    counted = players.select(
        pl.len().cast(pl.Int64).alias("played"),
        pl.col("joined").count().cast(pl.Int64).alias("joined"),
        (pl.col("bought") > pl.col("joined")).sum().cast(pl.Int64).alias("bought"),
    )
    steps = [("played", "played", "played"), ("joined a guild", "joined", "played")]
    steps += [("bought after joining", "bought", "joined")]
    return pl.concat(
        counted.select(
            pl.lit(step).alias("step"),
            pl.lit(name).alias("name"),
            pl.col(users).alias("users"),
            (pl.col(users) / pl.col("played")).alias("players_share"),
            pl.when(pl.col(before) > 0).then(pl.col(users) / pl.col(before)).alias("step_share"),
        )
        for step, (name, users, before) in enumerate(steps, start=1)
    )


def _user_activity(events: pl.LazyFrame) -> pl.LazyFrame:
    kind = pl.col("event_type")
    return events.group_by("user_id").agg(
        pl.len().alias("events"),
        (kind == "purchase_item").sum().alias("purchases"),
        (kind == "join_guild").sum().alias("guild_joins"),
    )


def _is_known() -> pl.Expr:
    return ~pl.col("provider").str.starts_with("(")


def _provider_usage(events: pl.LazyFrame) -> pl.LazyFrame:
    total = pl.col("events").sum()
    return _counted(events, "provider").with_columns(
        share=pl.col("events") / total, coverage=pl.col("events").filter(_is_known()).sum() / total
    )


def _provider_event_popularity(events: pl.LazyFrame) -> pl.LazyFrame:
    return _counted(events, "provider", "event_type", "item").with_columns(rank=_rank().over("provider"))


def _provider_switchers(events: pl.LazyFrame) -> pl.LazyFrame:
    providers = pl.col("provider").unique().sort()
    players = (
        events.filter(_is_known())
        .group_by("user_id")
        .agg(providers.alias("providers"), pl.len().cast(pl.Int64).alias("events"))
        .with_columns(pl.col("providers").list.join(" + "), provider_count=pl.col("providers").list.len())
    )
    return (
        players.group_by("providers", "provider_count")
        .agg(pl.len().cast(pl.Int64).alias("users"), pl.col("events").sum())
        .with_columns(users_share=pl.col("users") / pl.col("users").sum())
        .filter(pl.col("provider_count") > 1)
    )


OF_A_DAY: Mapping[str, Query] = {
    "event_popularity": _event_popularity,
    "daily_activity": _daily_activity,
    "hourly_activity": _hourly_activity,
    "guild_joins": _guild_joins,
    "purchases": _purchases,
    "item_affinity": _item_affinity,
    "purchase_funnel": _purchase_funnel,
    "user_activity": _user_activity,
    "provider_usage": _provider_usage,
    "provider_event_popularity": _provider_event_popularity,
    "provider_switchers": _provider_switchers,
}
"""Answer -> the same answer from the events of one day."""


def new_users(activity: pl.LazyFrame, last: date, days: int) -> pl.LazyFrame:
    """The answer ``new_users`` from the rows of ``user_activity``.

    Args:
        activity: of all days.
        last: the last day of the answer.
        days: how many days are shown, the last one included.
    """
    played = activity.filter(pl.col("event_date") <= last).select("user_id", "event_date")
    first_days = played.group_by("user_id").agg(pl.min("event_date").alias("first_day"))
    is_new = pl.col("event_date") == pl.col("first_day")
    return (
        played.filter(pl.col("event_date") > last - timedelta(days=days))
        .join(first_days, on="user_id")
        .group_by("event_date")
        .agg(
            pl.len().alias("users"),
            is_new.sum().alias("new_users"),
            (~is_new).sum().alias("returning_users"),
            is_new.mean().alias("new_share"),
        )
    )
