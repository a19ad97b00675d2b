"""Rules for the topic of the events, and the problems of a topic that breaks them; opens no connection.

The administrators of the brokers can change a topic at any time. So ``daybook create-topic``, each landing and the
intake's readiness check all apply these rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from daybook.settings import Settings

MIN_INSYNC_FROM_REPLICATION: Final = 3
"""With at least so many replicas, two must have an event before it is acknowledged. The cluster then tolerates the loss
of one broker with all its data, and stays writable while one broker is unavailable."""


def topic_config(settings: Settings) -> dict[str, str]:
    """Return the configuration that the topic is created with."""
    return {
        # compaction would treat an event as the newest state of its player and remove the others
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_days * 24 * 3_600_000),
        # records expire by age alone: a busy day must not push out records that have not landed
        "retention.bytes": "-1",
        # the broker's clock sets a record's time: with a sender's wrong clock a record could be deleted at once
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if settings.kafka_replication >= MIN_INSYNC_FROM_REPLICATION else "1",
        **({"flush.messages": "1"} if settings.flushes_each_write else {}),
    }


def unfit(topic: str, config: Mapping[str, str], replicas: int) -> str | None:
    """Explain why a topic must not be used, with the remedy; None if it is fit.

    Args:
        topic: its name.
        config: its configuration, from the broker.
        replicas: number of replicas of each partition.
    """
    policy = config.get("cleanup.policy", "delete")
    if "compact" in policy:
        return (
            f"topic {topic} has cleanup.policy={policy}: Kafka would remove all but the newest event of a user. Set "
            f"it to delete (`{_alter(topic, 'cleanup.policy', 'delete')}`), or use another topic: DAYBOOK_KAFKA_TOPIC"
        )
    insync = int(config.get("min.insync.replicas", "1"))
    if insync > replicas:
        return (
            f"topic {topic} has min.insync.replicas={insync} and {replicas} replicas: no event can be acknowledged. "
            f"Lower it (`{_alter(topic, 'min.insync.replicas', str(replicas))}`), or give the topic more replicas"
        )
    return None


@dataclass(frozen=True)
class Difference:
    """A difference between the topic's configuration and the settings."""

    name: str
    found: str
    shall: str
    weakness: str | None
    """The risk of losing data; None if the topic is at least as safe as the settings."""

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, the settings specify {self.shall}"


def differences(settings: Settings, config: Mapping[str, str]) -> list[Difference]:
    """Return every difference between a topic's configuration and the settings."""
    return [
        Difference(name, config[name], shall, _weakness(name, config[name], shall))
        for name, shall in topic_config(settings).items()
        if name in config and config[name] != shall
    ]


def doubts(settings: Settings, config: Mapping[str, str]) -> list[str]:
    """Return a line for each way in which a topic is weaker than the settings; landing from it still works."""
    return [
        f"topic {settings.kafka_topic}: {one}: {one.weakness}. `daybook create-topic --set` sets it"
        for one in differences(settings, config)
        if one.weakness
    ]


def _weakness(name: str, found: str, shall: str) -> str | None:
    if name == "retention.ms":
        return "Kafka deletes records sooner, landed or not" if -1 < int(found) < int(shall) else None
    if name == "min.insync.replicas":
        return "the loss of one broker can lose acknowledged events" if int(found) < int(shall) else None
    return {
        "flush.messages": "a power cut loses acknowledged events that are only in memory",
        "retention.bytes": "Kafka also deletes records by size, landed or not",
        "message.timestamp.type": "a record's time comes from its sender's clock, and Kafka deletes by that time",
    }.get(name)


def _alter(topic: str, name: str, value: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={value}"
