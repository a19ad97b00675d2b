"""What the topic of the events must be, and what is wrong with one that is otherwise; opens no connection.

A topic can be changed at any time by whoever administers the brokers. So ``daybook create-topic``, each landing and the
intake's readiness all ask these rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from daybook.settings import Settings

MIN_INSYNC_FROM_REPLICATION: Final = 3
"""With so many replicas two must have an event before it counts as taken: one broker may be lost with all it has, and
one may be away without the topic being closed to writers."""


def topic_config(settings: Settings) -> dict[str, str]:
    """The topic's own configuration, as it is made with."""
    return {
        # compaction would take an event for the newest state of its player and remove the others
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_days * 24 * 3_600_000),
        # records go by age alone: a busy day must not push out one that is not landed
        "retention.bytes": "-1",
        # the broker's clock says when a record was taken: one with a sender's wrong time could be deleted at once
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if settings.kafka_replication >= MIN_INSYNC_FROM_REPLICATION else "1",
        **({"flush.messages": "1"} if settings.flushes_each_write else {}),
    }


def unfit(topic: str, config: Mapping[str, str], replicas: int) -> str | None:
    """Why no event can be entrusted to a topic, with what cures it; none if it is fit.

    Args:
        topic: its name.
        config: its configuration as the broker tells it.
        replicas: of each of its partitions.
    """
    policy = config.get("cleanup.policy", "delete")
    if "compact" in policy:
        return (
            f"topic {topic} has cleanup.policy={policy}: Kafka would remove all events of a player but the newest. Set "
            f"it to delete (`{_alter(topic, 'cleanup.policy', 'delete')}`), or name another topic: DAYBOOK_KAFKA_TOPIC"
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
    """What the broker tells of the topic otherwise than the settings say."""

    name: str
    found: str
    shall: str
    weakness: str | None
    """What can be lost by it; none where the topic is as good as the settings say, or better."""

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, the settings say {self.shall}"


def differences(settings: Settings, config: Mapping[str, str]) -> list[Difference]:
    """Everything in which a topic's configuration is not that of the settings."""
    return [
        Difference(name, config[name], shall, _weakness(name, config[name], shall))
        for name, shall in topic_config(settings).items()
        if name in config and config[name] != shall
    ]


def doubts(settings: Settings, config: Mapping[str, str]) -> list[str]:
    """A line for each way in which a topic is weaker than the settings say; it can be landed from all the same."""
    return [
        f"topic {settings.kafka_topic}: {one}: {one.weakness}. `daybook create-topic --set` sets it"
        for one in differences(settings, config)
        if one.weakness
    ]


def _weakness(name: str, found: str, shall: str) -> str | None:
    if name == "retention.ms":
        return "Kafka deletes records sooner, landed or not" if -1 < int(found) < int(shall) else None
    if name == "min.insync.replicas":
        return "one broker that is lost takes acknowledged events with it" if int(found) < int(shall) else None
    return {
        "flush.messages": "a power cut takes what was acknowledged and is in memory alone",
        "retention.bytes": "Kafka deletes records by their size too, landed or not",
        "message.timestamp.type": "a record's time is its sender's clock, and Kafka deletes by it",
    }.get(name)


def _alter(topic: str, name: str, value: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={value}"
