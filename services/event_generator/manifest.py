"""What a generated day must come to: the answers the lake has to give, and the file that says so.

The answers are worked out from what the generator meant, never through :mod:`daybook.providers` or Spark: they are
evidence from another source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daybook.errors import BadInput, DaybookError
from daybook.settings import Settings
from event_generator.day import JOIN_GUILD, LABELS, MICROSECONDS_PER_HOUR, PROVIDER_WEIGHTS, Day
from event_generator.mischief import Mischief

Row = dict[str, Any]


def manifest_path(settings: Settings, day: date) -> Path:
    """Where the day's manifest lies once the day has been played."""
    return settings.manifests_dir / f"{day}.json"


def ids_path(settings: Settings, day: date) -> Path:
    """Where the day's accepted event ids lie: one on a line, sorted."""
    return settings.manifests_dir / f"{day}.ids"


def read_manifest(settings: Settings, day: date) -> dict[str, Any] | None:
    """The manifest of a generated day, or none if the day was not generated, or not to its end.

    Raises:
        DaybookError: the file is not a manifest.
    """
    path = manifest_path(settings, day)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise DaybookError(
            f"{day}: the manifest {path} cannot be read; remove it and generate the day again with its seed: "
            "the same ids are sent, which is harmless"
        ) from None
    return manifest


@dataclass(frozen=True)
class Request:
    """What was asked of the generator: it decides every byte that is sent."""

    day: date
    events: int
    seed: int
    mischief: Mischief = field(default_factory=Mischief)

    def as_json(self) -> dict[str, Any]:
        """As the manifest and the progress file keep it."""
        asked = {"day": str(self.day), "seed": self.seed, "requested": self.events}
        return {**asked, "mischief": asdict(self.mischief)}

    def refuse_other(self, played: dict[str, Any], was: str) -> None:
        """See that a day was played, or begun, with just this request.

        Raises:
            BadInput: with another one; playing it twice would mix two days into one.
        """
        if {name: played[name] for name in self.as_json()} == self.as_json():
            return
        options = [f"--seed {played['seed']}", f"--events {played['requested']}"]
        options += [f"--{name} {share}" for name, share in played["mischief"].items() if share]
        raise BadInput(
            f"{self.day} was already {was} with seed {played['seed']} and {played['requested']} events; nothing was "
            f"sent. Ask for these ({' '.join(options)}) or for another day"
        )


def played_before(settings: Settings, request: Request) -> dict[str, Any] | None:
    """The manifest, if the day has been played with just this request; none if it has not been played.

    Raises:
        BadInput: it was played with another one.
    """
    manifest = read_manifest(settings, request.day)
    if manifest is not None:
        request.refuse_other(manifest, "played")
    return manifest


def write_manifest(settings: Settings, day: date, manifest: dict[str, Any], accepted_ids: Iterable[str]) -> None:
    """Write the ids, then the manifest, each whole or not at all: a manifest says that its day is complete."""
    settings.manifests_dir.mkdir(parents=True, exist_ok=True)
    _replace(ids_path(settings, day), "".join(f"{event_id}\n" for event_id in sorted(accepted_ids)))
    _replace(manifest_path(settings, day), json.dumps(manifest, indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def expected_answers(day: Day, accepted: NDArray[np.bool_]) -> dict[str, list[Row]]:
    """What each answer must say of the day's accepted events: its rows, in the answer's order of columns and rows.

    Late events are the business of the days they happened on.

    Args:
        day: the events.
        accepted: for each event whether the intake has acknowledged it.
    """
    here = accepted & (day.days_back == 0)
    item, user, label = day.item[here], day.user[here], day.label[here]
    hour = day.microsecond[here] // MICROSECONDS_PER_HOUR
    events = len(user)
    named = int((label < len(PROVIDER_WEIGHTS)).sum())
    by_event: list[Row] = [
        {**_event(day, code), "events": count, "users": users, "share": count / events}
        for (code,), count, users in _counted(user, item)
    ]
    by_provider: list[Row] = [
        {"provider": LABELS[code], "events": count, "users": users, "share": count / events, "coverage": named / events}
        for (code,), count, users in _counted(user, label)
    ]
    by_provider_event: list[Row] = [
        {"provider": LABELS[code], **_event(day, item_code), "events": count, "users": users}
        for (code, item_code), count, users in _counted(user, label, item)
    ]
    return {
        "event_popularity": sorted(_ranked(by_event), key=lambda row: (row["rank"], *_event_order(row))),
        "daily_activity": [_activity(user, item, hour)] if events else [],
        "hourly_activity": [
            {"hour": at, "events": count, "users": users} for (at,), count, users in _counted(user, hour)
        ],
        "provider_usage": sorted(by_provider, key=lambda row: (-row["events"], row["provider"])),
        "provider_event_popularity": sorted(
            _ranked(by_provider_event, within="provider"),
            key=lambda row: (row["provider"], row["rank"], *_event_order(row)),
        ),
    }


def _activity(user: NDArray[np.int64], item: NDArray[np.int64], hour: NDArray[np.int64]) -> Row:
    players = len(np.unique(user))
    purchases = int((item != JOIN_GUILD).sum())
    return {
        "events": len(user),
        "users": players,
        "events_per_user": len(user) / players,
        "purchases": purchases,
        "guild_joins": len(user) - purchases,
        "busiest_hour": int(np.bincount(hour, minlength=24).argmax()),  # the first one where several are as busy
    }


def _counted(user: NDArray[np.int64], *keys: NDArray[np.int64]) -> list[tuple[tuple[int, ...], int, int]]:
    """Key values in ascending order, with their number of events and of distinct players."""
    code = np.zeros(len(user), dtype=np.int64)
    for key in keys:
        values, place = np.unique(key, return_inverse=True)
        code = code * len(values) + place
    _, first, group, counts = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    beyond = user.max(initial=0) + 1
    users = np.bincount(np.unique(group * beyond + user) // beyond, minlength=len(counts))
    found = zip(*(key[first].tolist() for key in keys), strict=True)
    return list(zip(found, counts.tolist(), users.tolist(), strict=True))


def _event(day: Day, code: int) -> Row:
    if code == JOIN_GUILD:
        return {"event_type": "join_guild", "item": None}
    return {"event_type": "purchase_item", "item": day.items[code]}


def _event_order(row: Row) -> tuple[str, bool, str]:
    return row["event_type"], row["item"] is not None, row["item"] or ""


def _ranked(rows: list[Row], within: str | None = None) -> list[Row]:
    """The rows with SQL's RANK() by events, the most first: ties share a rank, and the next one is skipped."""
    return [
        {
            **row,
            "rank": 1
            + sum(
                other["events"] > row["events"] and (within is None or other[within] == row[within]) for other in rows
            ),
        }
        for row in rows
    ]
