"""Which topic a state folder's events went to: its id, noted the first time that the topic is seen.

Without it a broker that has lost its log looks like one that never had a topic: the topic would be made again, empty,
and what was acknowledged and not landed would be gone without a word.
"""

from __future__ import annotations

import json
from pathlib import Path

from daybook.errors import DaybookError
from daybook.files import write_private
from daybook.settings import Settings


def noted_topic(settings: Settings) -> str | None:
    """The id of the topic that these brokers had; none if this state folder never saw one.

    Raises:
        DaybookError: the note cannot be read.
    """
    return _notes(settings).get(_name(settings))


def note_topic(settings: Settings, topic_id: str) -> None:
    """Note the id of the topic that these brokers have."""
    notes = _notes(settings)
    if notes.get(_name(settings)) != topic_id:
        write_private(_file(settings), json.dumps({**notes, _name(settings): topic_id}, indent=1))


def _file(settings: Settings) -> Path:
    return settings.home / "topics.json"


def _name(settings: Settings) -> str:
    # another cluster's topic is another topic; of the embedded broker only the port may change
    return f"{settings.kafka_topic} at {settings.kafka_bootstrap_servers or 'the embedded broker'}"


def _notes(settings: Settings) -> dict[str, str]:
    try:
        return {str(name): str(topic_id) for name, topic_id in json.loads(_file(settings).read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise DaybookError(
            f"{_file(settings)}, which says which topic the events went to, cannot be read ({error}). Nothing was "
            "changed. If the topic is there and whole, remove that file: it is written again"
        ) from None
