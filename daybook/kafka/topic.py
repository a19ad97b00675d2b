"""Creates and enlarges the topic of the events from the settings, and never shrinks it; ``daybook create-topic``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from daybook.errors import DaybookError, NonRetryableError
from daybook.kafka.known_topics import note_topic, noted_topic
from daybook.kafka.offsets import (
    REQUEST_TIMEOUT_SECONDS,
    BrokerRejected,
    BrokerUnavailable,
    TopicMissing,
    config_of,
    topic_offsets,
)
from daybook.kafka.topic_rules import differences, topic_config, unfit
from daybook.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka.admin import TopicDescription  # type: ignore[attr-defined]  # its documented home

    from daybook.kafka.admin import KafkaAdmin

_PAUSE_SECONDS = 0.3


def ensure_topic(
    settings: Settings, timeout_seconds: float = 30.0, *, set_config: bool = False, recreate: bool = False
) -> list[str]:
    """Create the topic if it never existed, and add missing partitions; safe to repeat.

    Args:
        settings: the brokers, and the topic's intended configuration.
        timeout_seconds: how long to wait for brokers that do not answer yet, or are fewer than the replicas.
        set_config: set the configuration of an existing topic where it is weaker than the settings.
        recreate: create it even if it existed before and the brokers have lost it.

    Returns:
        Lines for the reader: what was done, or why nothing was. The first begins with "created", "increased" or "kept".

    Raises:
        DaybookError: brokers do not answer, deny the request, or are too few; or the topic is unfit.
        NonRetryableError: the brokers have lost the topic.
    """
    from confluent_kafka import KafkaError, KafkaException, TopicCollection

    from daybook.kafka.admin import kafka_admin, said

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
            lines = _enlarged(admin, settings, admin.answer(described), deadline, set_config)
            break
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            missing = reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        try:
            if missing:
                _refuse_lost(settings, recreate)
                lines = _made(admin, settings, deadline)
                break
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another process has created it since
        if reason.code() not in worth_waiting or time.monotonic() + _PAUSE_SECONDS > deadline:
            raise DaybookError(
                f"Kafka at {settings.bootstrap_servers} {_trouble(settings, reason) or said(KafkaException(reason))}; "
                "nothing was changed. Fix that, then repeat `daybook create-topic`"
            )
        time.sleep(_PAUSE_SECONDS)  # between two attempts
    _wait_until_served(admin, settings, deadline)
    return [*lines, *_noted(admin, settings, deadline)]


def _refuse_lost(settings: Settings, recreate: bool) -> None:
    noted = noted_topic(settings)
    if noted and not recreate:
        raise NonRetryableError(
            f"Kafka at {settings.bootstrap_servers} has lost topic {settings.kafka_topic} ({noted}), and with it every "
            "event that was accepted but has not landed. Nothing was created. If its log can be restored (for the "
            "embedded broker: the folder kafka in DAYBOOK_HOME), restore it, then run `daybook up`. If not, `daybook "
            "create-topic --recreate` creates an empty topic, and `daybook accept-loss` lets ingestion continue"
        )


def _noted(admin: KafkaAdmin, settings: Settings, deadline: float) -> list[str]:
    """Store the topic's id; return a line if the topic is not the previous one."""
    from confluent_kafka import TopicCollection

    name, before = settings.kafka_topic, noted_topic(settings)
    described = admin.describe_topics(TopicCollection([name]), request_timeout=_left(deadline))[name]
    topic_id = str(admin.answer(described).topic_id)
    note_topic(settings, topic_id)
    if before in {None, topic_id}:
        return []
    return [
        f"it is not the previous topic ({topic_id}, not {before}): records of the previous one that had not landed "
        "are lost"
    ]


def _trouble(settings: Settings, reason: object) -> str | None:
    from confluent_kafka import KafkaError

    assert isinstance(reason, KafkaError)
    if reason.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return f"cannot create DAYBOOK_KAFKA_REPLICATION={settings.kafka_replication} replicas ({reason.str()})"
    if reason.code() == KafkaError.POLICY_VIOLATION:
        return f"has a policy that forbids such a topic ({reason.str()})"
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
        f"created topic {settings.kafka_topic}: {settings.kafka_partitions} partitions, "
        f"{settings.kafka_replication} replicas, {listed}"
    ]


def _enlarged(
    admin: KafkaAdmin, settings: Settings, found: TopicDescription, deadline: float, set_config: bool
) -> list[str]:
    """Add partitions if the setting is larger; report other differences, and change them only on request.

    Raises:
        DaybookError: the topic is unfit.
    """
    from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its documented home

    name, wanted, have = settings.kafka_topic, settings.kafka_partitions, len(found.partitions)
    differs = _differences(admin, settings, found, deadline, set_config)
    if have < wanted:
        admin.answer(admin.create_partitions([NewPartitions(name, wanted)], request_timeout=_left(deadline))[name])
        return [
            f"increased topic {name} from {have} to {wanted} partitions",
            "most users' events go to another partition from now on: Kafka preserves their order within each of the "
            "two, not across them; a day's answers use occurred_at and do not change",
            "no restart is needed: the intake sees the new partitions within five minutes, landing reads them from 0",
            *differs,
        ]
    if have > wanted:
        differs.insert(
            0,
            f"it has more partitions than DAYBOOK_KAFKA_PARTITIONS={wanted}: Kafka never removes one, and landing "
            "reads all of them",
        )
    return [f"kept topic {name} as it is: {have} partitions, {len(found.partitions[0].replicas)} replicas", *differs]


def _differences(
    admin: KafkaAdmin, settings: Settings, found: TopicDescription, deadline: float, set_config: bool
) -> list[str]:
    from confluent_kafka import KafkaException

    name, replicas = settings.kafka_topic, len(found.partitions[0].replicas)
    try:
        config = config_of(admin, name, _left(deadline))
    except KafkaException as error:
        return [f"its configuration was not checked: {error.args[0].str()}"]
    if problem := unfit(name, config, replicas):
        raise DaybookError(f"{problem}. Nothing was changed")
    lines, differs = [], differences(settings, config)
    weak = [one for one in differs if one.weakness] if set_config else []
    if weak:
        _set(admin, name, {one.name: one.shall for one in weak}, deadline)
        lines.append("set " + ", ".join(f"{one.name} to {one.shall} (it was {one.found})" for one in weak))
    lines += [
        f"its {one}; unchanged, "
        f"{'`daybook create-topic --set` sets it' if one.weakness else 'kafka-configs.sh changes it'}"
        for one in differs
        if one not in weak
    ]
    if replicas != settings.kafka_replication:
        lines.append(
            f"it has {replicas} replicas, the settings specify {settings.kafka_replication}; unchanged, "
            "kafka-reassign-partitions.sh changes it"
        )
    return lines


def _set(admin: KafkaAdmin, name: str, values: Mapping[str, str], deadline: float) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # their documented home
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    [done] = admin.incremental_alter_configs([resource], request_timeout=_left(deadline)).values()
    admin.answer(done)


def _wait_until_served(admin: KafkaAdmin, settings: Settings, deadline: float) -> None:
    """Wait until every partition answers: the brokers become leaders some moments after the controller creates them."""
    while True:
        try:
            if len(topic_offsets(admin, settings.kafka_topic)) >= settings.kafka_partitions:
                return
            problem = "does not show all partitions yet"
        except TopicMissing:
            problem = "does not show the topic yet"
        except BrokerRejected as error:
            raise DaybookError(f"Kafka at {settings.bootstrap_servers} has the topic, but {error}") from None
        except BrokerUnavailable as error:
            problem = f"does not lead all partitions yet ({error})"
        if time.monotonic() > deadline:
            raise DaybookError(
                f"Kafka at {settings.bootstrap_servers} has created the topic but {problem}; repeat "
                "`daybook create-topic`"
            )
        time.sleep(_PAUSE_SECONDS)  # between two attempts


def _left(deadline: float) -> float:
    """Return the timeout of a request in seconds: at most the time left, and enough for an answer."""
    return max(1.0, min(REQUEST_TIMEOUT_SECONDS, deadline - time.monotonic()))
