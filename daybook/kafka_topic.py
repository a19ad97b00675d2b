"""The topic of the events: made and enlarged from the settings, never made smaller; ``daybook create-topic``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from daybook.errors import DaybookError
from daybook.kafka_offsets import REQUEST_TIMEOUT_SECONDS, BrokerAway, BrokerRefuses, TopicMissing, topic_offsets
from daybook.settings import Settings
from daybook.settings import settings as settings_of_this_process

if TYPE_CHECKING:
    from confluent_kafka.admin import TopicDescription  # type: ignore[attr-defined]  # its documented home

    from daybook.kafka_admin import KafkaAdmin

MIN_INSYNC_FROM_REPLICATION: Final = 3
"""With so many replicas two must have an event before it counts as taken: one broker may be lost with all it has, and
one may be away without the topic being closed to writers."""
_PAUSE_SECONDS = 0.3


def topic_config(settings: Settings) -> dict[str, str]:
    """The topic's own configuration, as it is made with."""
    return {
        # compaction would take an event for the newest state of its player and remove the others
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_days * 24 * 3_600_000),
        "min.insync.replicas": "2" if settings.kafka_replication >= MIN_INSYNC_FROM_REPLICATION else "1",
    }


def ensure_topic(settings: Settings, timeout_seconds: float = 30.0) -> list[str]:
    """Make the topic if it is missing, and add the partitions that it lacks; safe to repeat.

    Args:
        settings: the brokers, and what the topic shall be.
        timeout_seconds: how long brokers are waited for that do not answer yet, or are fewer than the replicas.

    Returns:
        What was done, or why nothing was, in lines for the reader; the first begins with "made", "raised" or "kept".

    Raises:
        DaybookError: brokers that do not answer, refuse, or are too few; or a topic that is compacted.
    """
    from confluent_kafka import KafkaError, KafkaException, TopicCollection

    from daybook.kafka_admin import kafka_admin, said

    admin = kafka_admin(settings)
    name = settings.kafka_topic
    deadline = time.monotonic() + timeout_seconds
    worth_waiting = (
        *(KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN),
        *(KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_CONTROLLER),
    )
    while True:
        try:
            described = admin.describe_topics(TopicCollection([name]), request_timeout=_left(deadline))[name]
            lines = _enlarged(admin, settings, admin.answer(described), deadline)
            break
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            missing = reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        try:
            if missing:
                lines = _made(admin, settings, deadline)
                break
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another one has made it since
        if reason.code() not in worth_waiting or time.monotonic() + _PAUSE_SECONDS > deadline:
            raise DaybookError(
                f"Kafka at {settings.bootstrap_servers} {_trouble(settings, reason) or said(KafkaException(reason))}; "
                "nothing was changed. Put that right, then repeat `daybook create-topic`"
            )
        time.sleep(_PAUSE_SECONDS)  # between two looks
    _wait_until_served(admin, settings, deadline)
    return lines


def _trouble(settings: Settings, reason: object) -> str | None:
    from confluent_kafka import KafkaError

    assert isinstance(reason, KafkaError)
    if reason.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return f"cannot make DAYBOOK_KAFKA_REPLICATION={settings.kafka_replication} replicas ({reason.str()})"
    if reason.code() == KafkaError.POLICY_VIOLATION:
        return f"has a policy against such a topic ({reason.str()})"
    return None


def _made(admin: KafkaAdmin, settings: Settings, deadline: float) -> list[str]:
    from confluent_kafka.cimpl import NewTopic

    config = topic_config(settings)
    topic = NewTopic(
        settings.kafka_topic,
        num_partitions=settings.kafka_partitions,
        replication_factor=settings.kafka_replication,
        config=config,
    )
    admin.answer(admin.create_topics([topic], request_timeout=_left(deadline))[settings.kafka_topic])
    listed = ", ".join(f"{key}={value}" for key, value in config.items())
    return [
        f"made topic {settings.kafka_topic}: {settings.kafka_partitions} partitions, "
        f"{settings.kafka_replication} replicas, {listed}"
    ]


def _enlarged(admin: KafkaAdmin, settings: Settings, found: TopicDescription, deadline: float) -> list[str]:
    """Add partitions if the setting is larger; say what else differs, and change none of it.

    Raises:
        DaybookError: the topic is compacted.
    """
    from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its documented home

    name, wanted, have = settings.kafka_topic, settings.kafka_partitions, len(found.partitions)
    differs = _differences(admin, settings, found, deadline)
    if have < wanted:
        admin.answer(admin.create_partitions([NewPartitions(name, wanted)], request_timeout=_left(deadline))[name])
        return [
            f"raised topic {name} from {have} to {wanted} partitions",
            "most players' events go to another partition from now on: Kafka keeps their order within each of the two, "
            "not across them; a day's answers go by occurred_at and do not change",
            "nothing is to be restarted: the intake sees the new ones within five minutes, landing reads them from 0",
            *differs,
        ]
    if have > wanted:
        differs.insert(
            0,
            f"it has more partitions than DAYBOOK_KAFKA_PARTITIONS={wanted}: Kafka never removes one, and landing "
            "reads all that there are",
        )
    return [f"kept topic {name} as it is: {have} partitions, {len(found.partitions[0].replicas)} replicas", *differs]


def _differences(admin: KafkaAdmin, settings: Settings, found: TopicDescription, deadline: float) -> list[str]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

    name = settings.kafka_topic
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        config = admin.answer(admin.describe_configs([resource], request_timeout=_left(deadline))[resource])
    except KafkaException as error:
        return [f"its configuration was not looked at: {error.args[0].str()}"]
    if "compact" in config["cleanup.policy"].value:
        raise DaybookError(
            f"topic {name} has cleanup.policy={config['cleanup.policy'].value}: Kafka would remove all events of a "
            "player but the newest. Nothing was changed. Set it to delete before an event is sent (`kafka-configs.sh "
            f"--alter --entity-type topics --entity-name {name} --add-config cleanup.policy=delete`), or name another "
            "topic: DAYBOOK_KAFKA_TOPIC"
        )
    wanted = topic_config(settings)
    lines = [
        f"its {key} is {config[key].value}, the settings say {wanted[key]}; left as it is, kafka-configs.sh changes it"
        for key in ("retention.ms", "min.insync.replicas")
        if config[key].value != wanted[key]
    ]
    replicas = len(found.partitions[0].replicas)
    if replicas != settings.kafka_replication:
        lines.append(
            f"it has {replicas} replicas, the settings say {settings.kafka_replication}; left as it is, "
            "kafka-reassign-partitions.sh changes it"
        )
    return lines


def _wait_until_served(admin: KafkaAdmin, settings: Settings, deadline: float) -> None:
    """Until every partition answers: the controller has made them, the brokers lead them some moments later."""
    while True:
        try:
            if len(topic_offsets(admin, settings.kafka_topic)) >= settings.kafka_partitions:
                return
            problem = "does not show all partitions yet"
        except TopicMissing:
            problem = "does not show the topic yet"
        except BrokerRefuses as error:
            raise DaybookError(f"Kafka at {settings.bootstrap_servers} has the topic and {error}") from None
        except BrokerAway as error:
            problem = f"does not lead all partitions yet ({error})"
        if time.monotonic() > deadline:
            raise DaybookError(
                f"Kafka at {settings.bootstrap_servers} has made the topic and {problem}; repeat `daybook create-topic`"
            )
        time.sleep(_PAUSE_SECONDS)  # between two looks


def _left(deadline: float) -> float:
    """Seconds for a request: no more than are left, and enough for an answer."""
    return max(1.0, min(REQUEST_TIMEOUT_SECONDS, deadline - time.monotonic()))


@click.command("create-topic")
@click.option(
    "--timeout", "timeout_seconds", default=30.0, show_default=True, help="Seconds to wait for brokers that start."
)
def create_topic(timeout_seconds: float) -> None:
    """Make the topic from the settings, or add partitions to it; repeat it as often as you like.

    Nothing else of a topic that is there is changed, and no partition is ever removed.
    """
    for line in ensure_topic(settings_of_this_process(), timeout_seconds):
        click.echo(line)
