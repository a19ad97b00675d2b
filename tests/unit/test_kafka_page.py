"""docs/kafka.md names only existing commands, settings and targets; tests/clusters runs its commands."""

from __future__ import annotations

import re

from daybook.kafka.topic_rules import topic_config
from daybook.settings import REPOSITORY, Settings

PAGE = (REPOSITORY / "docs" / "kafka.md").read_text(encoding="utf-8")


def test_each_setting_of_kafkas_is_explained() -> None:
    known = {f"DAYBOOK_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"DAYBOOK_[A-Z_]+", PAGE))
    embedded = {"DAYBOOK_KAFKA_PORT", "DAYBOOK_KAFKA_CONTROLLER_PORT"}
    assert {name for name in known if name.startswith("DAYBOOK_KAFKA_")} - embedded <= named


def test_the_topic_is_created_as_documented() -> None:
    made = topic_config(Settings(kafka_bootstrap_servers="kafka-1:9092", kafka_replication=3))
    assert "| `min.insync.replicas` | 2 |" in PAGE
    assert made["min.insync.replicas"] == "2"
    assert "| `cleanup.policy` | `delete` |" in PAGE
    assert made["cleanup.policy"] == "delete"
    assert "| `retention.ms` | 30 days |" in PAGE
    assert made["retention.ms"] == str(30 * 24 * 3_600_000)
    assert "| `retention.bytes` | -1 |" in PAGE
    assert made["retention.bytes"] == "-1"
    assert "| `message.timestamp.type` | `LogAppendTime` |" in PAGE
    assert made["message.timestamp.type"] == "LogAppendTime"
