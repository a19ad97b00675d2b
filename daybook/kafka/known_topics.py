"""Stores the id of the topic that a state folder's events went to, from the first time that the topic is seen.

Without this id a broker that has lost its log looks like one that never had the topic. The topic would be created
again, empty, and acknowledged events that had not landed would be lost silently.
"""

from __future__ import annotations

import json
from pathlib import Path

from daybook.errors import DaybookError
from daybook.files import write_private
from daybook.settings import Settings


def noted_topic(settings: Settings) -> str | None:
    """Return the stored id of these brokers' topic; None if this state folder never saw one.

    Raises:
        DaybookError: the note cannot be read.
    """
    return _notes(settings).get(_name(settings))


def note_topic(settings: Settings, topic_id: str) -> None:
    """Store the id of these brokers' topic."""
    notes = _notes(settings)
    if notes.get(_name(settings)) != topic_id:
        write_private(_file(settings), json.dumps({**notes, _name(settings): topic_id}, indent=1))


def _file(settings: Settings) -> Path:
    return settings.home / "topics.json"


def _name(settings: Settings) -> str:
    # another cluster's topic is a different one; for the embedded broker only the port may change
    return f"{settings.kafka_topic} at {settings.kafka_bootstrap_servers or 'the embedded broker'}"


def _notes(settings: Settings) -> dict[str, str]:
    try:
        return {str(name): str(topic_id) for name, topic_id in json.loads(_file(settings).read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise DaybookError(
            f"{_file(settings)}, which stores the id of the topic that the events went to, cannot be read ({error}). "
            "Nothing was changed. If the topic exists and is complete, remove that file: it is written again"
        ) from None
