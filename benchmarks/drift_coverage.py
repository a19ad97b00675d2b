"""``python -m benchmarks.drift_coverage``: how often the drift's interval contains the true distance.

The true distance is known in these worlds. Players play by chance, more or less often, and each has a personal mix
around the world's mix. The days before may have their own mixes, around the usual one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from daybook.analysis.drift import check_drift, distance_between

DAY = date(2026, 5, 3)
DAYS_SIMULATED = 400
GROUPS = 4096


@dataclass(frozen=True)
class World:
    """The parameters of a simulated day."""

    categories: int
    players: int
    """Players of a day; each has 12 events on average, as in the generator."""
    moved: float
    """Share of all events that moves today from the first category to the last."""
    days: int = 7
    taste: float = 10.0
    """Similarity of players: the pseudo-events of the Dirichlet mix of a player; a small number means strong taste."""
    day_taste: float | None = None
    """The same for the days before; None: each has the usual mix."""


def usual_mix(world: World) -> NDArray[np.float64]:
    """As with the generator's items, each category is less popular than the previous one."""
    weights = 1.0 / np.arange(1, world.categories + 1) ** 0.7
    mix: NDArray[np.float64] = weights / weights.sum()
    return mix


def players_events(
    random: np.random.Generator, mix: NDArray[np.float64], players: int, taste: float
) -> NDArray[np.int64]:
    """Events of a day, players x categories."""
    events = random.poisson(12.0 * random.lognormal(-0.5, 1.0, size=players))
    tastes = np.maximum(random.gamma(np.maximum(mix * taste, 1e-12), size=(players, len(mix))), 1e-12)
    return random.multinomial(events, tastes / tastes.sum(axis=1, keepdims=True))


def grouped(random: np.random.Generator, counts: NDArray[np.int64], groups: int = GROUPS) -> NDArray[np.int64]:
    """Group the players into the buckets of a hash."""
    into = np.zeros((groups, counts.shape[1]), dtype=np.int64)
    np.add.at(into, random.integers(0, groups, size=len(counts)), counts)
    return into


@dataclass(frozen=True)
class Coverage:
    """Results as shares of simulated days."""

    true: float
    held: float
    """The interval contained the true distance."""
    beyond_chance: float
    """The distance was beyond :attr:`~daybook.analysis.drift.Drift.chance`."""
    mean: float
    width: float


def coverage(world: World, simulated: int, seed: int) -> Coverage:
    """Simulate days of a world and check the drift of each."""
    import pandas as pd

    mix = usual_mix(world)
    now = mix.copy()
    now[0] -= world.moved
    now[-1] += world.moved
    true = distance_between(mix.tolist(), now.tolist())
    names = tuple(f"category {number}" for number in range(world.categories))
    held, beyond, distances, widths = 0, 0, [], []
    for number in range(simulated):
        random = np.random.default_rng([seed, number])
        rows = []
        for back in range(1, world.days + 1):
            of_day = mix
            if world.day_taste is not None:
                of_day = random.dirichlet(mix * world.day_taste)
            counts = players_events(random, of_day, world.players, world.taste).sum(axis=0).tolist()
            rows += [(DAY - timedelta(days=back), name, count) for name, count in zip(names, counts, strict=True)]
        today = grouped(random, players_events(random, now, world.players, world.taste))
        usual = pd.DataFrame(rows, columns=["event_date", "category", "events"])
        players = dict.fromkeys(usual["event_date"], min(world.players, GROUPS))
        found = check_drift("event mix", DAY + timedelta(days=number), usual, today, names, players_before=players)
        bounds = (found.low, found.distance, found.high, found.chance)
        low, distance, high, chance = (np.nan if bound is None else bound for bound in bounds)
        held += low <= true <= high
        beyond += distance > chance
        distances.append(distance)
        widths.append(high - low)
    return Coverage(true, held / simulated, beyond / simulated, float(np.mean(distances)), float(np.mean(widths)))


WORLDS = [
    World(categories, players, moved, days=days, day_taste=day_taste)
    for categories, players, moved, days, day_taste in (
        *((6, 40, moved, 7, None) for moved in (0.0, 0.05, 0.15)),
        *((6, 400, moved, 7, None) for moved in (0.0, 0.02, 0.05, 0.15)),
        *((2, 400, moved, 7, None) for moved in (0.0, 0.02, 0.05, 0.15)),
        *((50, 400, moved, 7, None) for moved in (0.0, 0.02, 0.05)),
        *((6, 400, moved, 3, None) for moved in (0.0, 0.05, 0.15)),
        *((6, 400, moved, 7, 500.0) for moved in (0.0, 0.05, 0.15)),
        *((6, 400, moved, 3, 500.0) for moved in (0.0, 0.05, 0.15)),
    )
]


def main() -> None:
    """Print the table."""
    console = Console(width=130)
    console.print(
        "| categories | players | days before | day's own mix | true | mean distance | width | held | beyond chance |"
    )
    console.print("|--:|--:|--:|:--|--:|--:|--:|--:|--:|")
    for world in WORLDS:
        found = coverage(world, DAYS_SIMULATED, 1)
        own = "no" if world.day_taste is None else "yes"
        console.print(
            f"| {world.categories} | {world.players} | {world.days} | {own} | {found.true:.3f} | {found.mean:.3f} "
            f"| {found.width:.3f} | {found.held:.1%} | {found.beyond_chance:.1%} |"
        )


if __name__ == "__main__":
    main()
