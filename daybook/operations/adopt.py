"""``daybook adopt``: turn a state folder that was copied or moved into a state of its own, in its new place.

The lake's metadata names files by their full paths. They are rewritten here as ``daybook restore`` does it: the catalog
last, then the marker. Until then every other command refuses the folder, so an interrupted adoption can be repeated.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from dataclasses import replace
from pathlib import Path

from daybook.errors import BadInput
from daybook.files import private_dir
from daybook.lake.files import copy_catalog, metadata_files, move
from daybook.lake.state import FORMAT, State, marker_file, refuse_path, unfinished_file
from daybook.lake.uris import is_local, path_of
from daybook.settings import Settings


def adopt_state(loaded: Settings) -> list[str]:
    """Make the configured folder a state of its own; returns what was done, as lines.

    Raises:
        BadInput: the stack is up, a restore was not finished, the folder's path cannot be used, or its lake is outside
            the folder. Nothing was changed.
        DaybookError: the lake's paths cannot be rewritten.
    """
    from daybook.stack import postgres, supervisor

    refuse_path(loaded)
    if unfinished_file(loaded.home).exists():
        raise BadInput(f"a restore into {loaded.home} was not finished; repeat that restore. Nothing was changed")
    if supervisor.states(loaded) is not None:
        raise BadInput(f"the stack of {loaded.home} is running; run `daybook down` first. Nothing was changed")
    state = State.read(loaded.home)
    if state is not None and state.format > FORMAT:
        raise BadInput(f"the state in {loaded.home} belongs to a newer Daybook; use that version. Nothing was changed")
    home = str(loaded.home.resolve())
    if state is not None and state.home != home and _shares_a_lake(loaded):
        raise BadInput(
            f"the lake of {home} is outside that folder, in {loaded.warehouse}, and {state.home} has a catalog of it "
            "too. Two catalogs over one warehouse delete each other's files. Nothing was changed. If the other folder "
            f"no longer exists, remove {marker_file(loaded.home)}: `daybook up` creates a new one"
        )
    lines = _move_lake(loaded)
    postgres.remove_other_pid_file(loaded)
    if state is None:
        State.create(loaded)
    elif state.home != home:
        # the original may still be in use: two states must not share a name
        replace(state, id=str(uuid.uuid4()), home=home, format=FORMAT).write(loaded.home)
    else:
        return [*lines, f"{loaded.home} was already a state of its own"]
    return [*lines, f"{loaded.home} is a state of its own; `daybook up` starts it"]


def _shares_a_lake(loaded: Settings) -> bool:
    """Return whether the catalog was copied with the folder, but the tables were not."""
    if loaded.catalog_file is None:
        return False
    return not is_local(loaded.warehouse) or loaded.home.resolve() not in path_of(loaded.warehouse).resolve().parents


def _move_lake(loaded: Settings) -> list[str]:
    """Rewrite the paths in a lake that is in the state folder but refers to another place."""
    catalog = loaded.catalog_file
    if catalog is None or not is_local(loaded.warehouse) or not catalog.exists():
        return []
    try:
        places = metadata_files(catalog)
    except sqlite3.Error as error:
        raise BadInput(f"the lake's catalog {catalog} cannot be read ({error}); nothing was changed") from None
    roots = {location.rpartition(f"/game/{table}/metadata/")[0] for table, location in places.items()}
    others = {str(path_of(root)) for root in roots} - {str(path_of(loaded.warehouse))}
    if not others:
        return []
    if len(others) > 1:
        raise BadInput(f"the lake's tables are in several places: {', '.join(sorted(others))}. Nothing was changed")
    (previous,) = others
    here = path_of(loaded.warehouse)
    quoted = path_of((loaded.home / "lake" / "warehouse").as_uri())
    if not here.exists() and Path(previous) == quoted != here and quoted.is_dir():
        private_dir(here.parent)
        quoted.rename(here)  # an earlier Daybook wrote the lake there, under the quoted name of the folder
    kinds = {path: kind for path in sorted(here.rglob("*")) if (kind := _kind(path))}
    missing = [table for table, location in places.items() if here / _below(location, previous) not in kinds]
    if missing:
        raise BadInput(
            f"the files of {', '.join(sorted(missing))} are not in {here}: the catalog refers to {previous}, and "
            "the copy is incomplete. Nothing was changed. Copy the whole folder, or restore a backup "
            "(`daybook restore`)"
        )
    moved = catalog.with_name(f".{catalog.name}.adopted")
    moved.unlink(missing_ok=True)
    copy_catalog(catalog, moved)
    move(moved, here, kinds, previous, loaded.warehouse)
    os.replace(moved, catalog)
    return [f"the lake's paths were changed from {previous} to {here}: {len(places)} tables, {len(kinds)} files"]


def _below(location: str, root: str) -> str:
    return str(path_of(location))[len(root) :].lstrip("/")


def _kind(path: Path) -> str | None:
    """Return a file's kind for :func:`daybook.lake.files.move`; None for files that name no other file."""
    if path.name.startswith(".") or path.parent.name != "metadata":
        return None
    if path.name.endswith(".metadata.json"):
        return "metadata"
    if path.suffix == ".avro":
        return "manifest_list" if path.name.startswith("snap-") else "manifest"
    return None
