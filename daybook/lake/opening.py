"""Opens a state folder for writing: the check before the first write, and the migration of an older format."""

from __future__ import annotations

from dataclasses import replace

from daybook.lake.catalog import load
from daybook.lake.place import refuse_other_catalog
from daybook.lake.state import FORMAT, STATE_FOLDERS, State, check_state, refuse_path
from daybook.lake.tables import RAW_EVENTS
from daybook.settings import Settings


def open_state(settings: Settings) -> list[str]:
    """Check the state folder before the first write to it, and create its marker if it is missing.

    A folder of an older Daybook is adopted if its tables are in it; an older format is migrated.

    Returns:
        What was done to an existing folder, as lines for the reader.

    Raises:
        BadInput: the folder's path has a character that some part does not support.
        NonRetryableError: as :func:`check_state`; or the folder has no marker and its tables are elsewhere; or its
            catalog has lost them, or was restored without them.
    """
    refuse_path(settings)
    state = check_state(settings)
    refuse_other_catalog(settings)
    if state is None:
        was_used = any((settings.home / name).exists() for name in STATE_FOLDERS)
        load(settings, RAW_EVENTS)  # raises if the tables are elsewhere, or if the catalog has lost them
        made = State.create(settings)
        return [f"adopted the state in {settings.home}, which had no marker, as {made.id}"] if was_used else []
    if state.format < FORMAT:
        replace(state, format=FORMAT).write(settings.home)
        return [f"migrated the state in {settings.home} from format {state.format} to {FORMAT}"]
    return []
