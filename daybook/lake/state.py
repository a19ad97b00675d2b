"""The marker of a state folder: which state it is, where it was made, when, by whom and in which format.

``up`` and every writer and reader of the lake check it first (:func:`check_state`). Tables name their files by absolute
paths, so a folder that was copied or moved still points at the original's files. The marker reveals that before a file
is read, written or removed.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import uuid
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from daybook.errors import BadInput, NonRetryableError
from daybook.files import write_private
from daybook.lake.uris import is_local
from daybook.settings import Settings

FORMAT = 1
"""Version of the state folder's layout. It is raised when an older Daybook could no longer work with the folder."""
STATE_FOLDERS = ("lake", "kafka", "postgres", "airflow", "manifests", "reports")
"""Folders that show that a state folder without a marker has been used before."""


_REFUSED_IN_PATHS = (
    (r"#", "a #", "PyIceberg truncates the path there"),
    (r"\?", "a ?", "PyIceberg truncates the path there"),
    (r",", "a comma", "Kafka and PostgreSQL's clients read the path as a list of folders"),
    (r"\s;", "a ; after a space", "supervisor treats the rest as a comment"),
    (r"\\", "a backslash", "Java and Spark treat it as an escape character"),
    (r'"', 'a "', "Spark and PostgreSQL treat it as the end of the path"),
    (r"\s$", "a trailing space", "supervisor removes it"),
)
"""What some part of Daybook does not support in the path of the state folder: pattern, its name, and the reason."""


@dataclass(frozen=True)
class State:
    """The content of a state folder's marker."""

    id: str
    """UUID, the same for the life of the state."""
    format: int
    home: str
    """The folder that contains the tables' files."""
    made_at: str
    """UTC, ISO 8601."""
    made_by: str
    """User name."""
    made_with: str
    """Version of Daybook."""

    @classmethod
    def read(cls, home: Path) -> State | None:
        """Return the state of a folder; None if the folder has no marker.

        Raises:
            NonRetryableError: the marker cannot be read.
        """
        file = marker_file(home)
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            # a later version may have added fields
            state = cls(**{field.name: values[field.name] for field in fields(cls)})
            if not isinstance(state.format, int):
                raise ValueError(f"format is {state.format!r}")
        except FileNotFoundError:
            return None
        except PermissionError:
            raise NonRetryableError(
                f"{file} cannot be read: the state folder belongs to another user. Nothing was changed. Run Daybook as "
                "that user, or set DAYBOOK_HOME to another folder"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise NonRetryableError(
                f"{file} cannot be read ({type(error).__name__}: {error}). Nothing was changed. Restore a backup "
                "(`daybook restore`), or remove this file if the folder was never copied or moved: `daybook up` "
                "creates a new one"
            ) from None
        return state

    @classmethod
    def create(cls, settings: Settings) -> State:
        """Write the marker of a new state; an existing one is left unchanged and returned."""
        made = cls(
            id=str(uuid.uuid4()),
            format=FORMAT,
            home=str(settings.home.resolve()),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            made_by=who(),
            made_with=metadata.version("daybook"),
        )
        own_file = write_private(settings.home / f".state.json.{made.id}", made._text())
        try:
            os.link(own_file, marker_file(settings.home))  # of two concurrent calls only one succeeds
        except FileExistsError:
            return cls.read(settings.home) or made
        finally:
            own_file.unlink()
        return made

    def write(self, home: Path) -> None:
        """Write this marker in place of the existing one."""
        write_private(marker_file(home), self._text())

    def _text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def marker_file(home: Path) -> Path:
    """Return the path of a state folder's marker."""
    return home / "state.json"


def unfinished_file(home: Path) -> Path:
    """Return the file that exists while a backup is restored into a state folder; it contains the backup folder."""
    return home / "restore-unfinished"


def who() -> str:
    """Return the name of the user who runs this process; ``uid N`` for a user id without a name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return f"uid {os.getuid()}"


def check_state(settings: Settings) -> State | None:
    """Refuse a state folder whose tables may belong to another state. Reads two small files, changes nothing.

    Returns:
        The state; None for a folder without a marker: a new one, or one of an older Daybook.

    Raises:
        NonRetryableError: a restore into the folder was not finished, the folder was copied or moved, or it belongs to
            a newer Daybook. The message names the next step.
    """
    home = settings.home.resolve()
    unfinished = unfinished_file(home)
    if os.path.exists(unfinished):  # False also where this user has no access
        raise NonRetryableError(
            f"a restore into {home} was interrupted, so the state in it is incomplete. Nothing was changed. "
            f"Repeat the restore: daybook restore --from {_text(unfinished)}"
        )
    state = State.read(home)
    if state is None:
        return None
    if state.format > FORMAT:
        raise NonRetryableError(
            f"the state in {home} has format {state.format} and belongs to a newer Daybook ({state.made_with}); this "
            f"version ({metadata.version('daybook')}) supports format {FORMAT}. Nothing was changed. Use the newer "
            "version"
        )
    if state.home != str(home) and not _is_all_elsewhere(settings):
        raise NonRetryableError(_elsewhere(state, home))
    return state


def _is_all_elsewhere(settings: Settings) -> bool:
    """Return whether broker, catalog and warehouse are external: cluster machines may mount the folder differently."""
    return bool(settings.kafka_bootstrap_servers and settings.lake_catalog_uri and settings.lake_warehouse)


def refuse_path(settings: Settings) -> None:
    """Refuse a state folder, or a warehouse on this machine, with a path that some part does not support.

    Raises:
        BadInput: the message names the character.
    """
    places = [("DAYBOOK_HOME", str(settings.home.resolve()))]
    if is_local(settings.lake_warehouse):
        places.append(("DAYBOOK_LAKE_WAREHOUSE", settings.lake_warehouse))
    for name, path in places:
        found = [(what, why) for pattern, what, why in _REFUSED_IN_PATHS if re.search(pattern, path)]
        if not path.isprintable():
            found.append(("a non-printable character", "configuration files cannot contain it"))
        if found:
            what, why = found[0]
            raise BadInput(
                f"the path of {name} contains {what}: {path!r}. Daybook does not support such a path: {why}. Nothing "
                "was changed. Choose another folder; to move an existing state, use `daybook backup` and `daybook "
                "restore`"
            )


def _elsewhere(state: State, home: Path) -> str:
    original = Path(state.home)
    try:
        other = State.read(original)
    except NonRetryableError:
        other = None
    if other is not None and other.id == state.id:
        return (
            f"{home} is a copy of the state in {original}, and its tables refer to the original's files. Nothing was "
            f"changed. Use the original (DAYBOOK_HOME={original}), or make this copy a state of its own: "
            "`daybook adopt`"
        )
    return (
        f"the state in {home} was moved or copied from {original}, and its tables refer to files there. Nothing was "
        "changed. Move it back, or make it a state of its own here: `daybook adopt`"
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() or "BACKUP"
    except (OSError, ValueError):
        return "BACKUP"
