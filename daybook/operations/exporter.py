"""``daybook exporter``: Prometheus metrics for published days and Kafka lag.

Needs neither Airflow nor Spark: it still reports a late day when both are unavailable. A separate thread reads the lake
and the broker every :data:`READ_EVERY_SECONDS`; a scrape shows the last reading and never waits. If a source's last
reading failed, only that failure is shown and its metrics are omitted: a stale lag would look healthy.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from daybook.kafka.offsets import Offsets, TopicState, record_time, topic_state
from daybook.lake.catalog import load
from daybook.lake.ledger import Ledger, read_ledger
from daybook.lake.tables import RAW_EVENTS
from daybook.pipeline.losses import loss_since
from daybook.pipeline.position import Position, accepted_losses, position
from daybook.settings import Settings

READ_EVERY_SECONDS = 15.0
"""Prometheus' default scrape interval. Reading an unchanged lake loads two tables' metadata; reading Kafka takes four
requests, and one record for each partition with records that have not landed."""
DAYS_SHOWN = 7
"""Number of newest days whose counts are shown: the values of a label must not grow with history."""
KINDS = ("events", "duplicates", "rejected", "late")


@dataclass(frozen=True)
class PublishedDay:
    """The metrics of a published day."""

    day: date
    revision: int
    landed: int
    records: dict[str, int]
    """Number of records for each of :data:`KINDS`."""


@dataclass(frozen=True)
class LakeReading:
    """The state of the lake."""

    position: Position
    """The next offsets, and their topic."""
    days: int
    """Number of published days."""
    newest: tuple[PublishedDay, ...]
    """The newest :data:`DAYS_SHOWN`, by day."""
    published_at: datetime | None
    """When the last revision was published."""
    lost_records: int
    """Records that operators have accepted to be lost, where their number is known."""
    losses: int
    """Number of decisions that accepted a loss, including losses of unknown size."""


@dataclass(frozen=True)
class KafkaReading:
    """The state of the broker."""

    topic: TopicState
    landed: Offsets
    """Partition -> the offset up to which this topic is landed: 0 where Kafka has other records than those landed."""
    waiting_since: dict[int, datetime]
    """Partition -> time of its first record that is not landed; partitions without such a record are left out."""


def read_lake(settings: Settings, ledger: Ledger) -> LakeReading:
    """Read the lake.

    Args:
        settings: where it is.
        ledger: its ledger.

    Raises:
        DaybookError: it cannot be read.
    """
    published, accepted = list(ledger.newest.values()), accepted_losses(settings)
    return LakeReading(
        position=position(settings, load(settings, RAW_EVENTS)),
        days=len(published),
        newest=tuple(
            PublishedDay(one.event_date, one.revision, one.landed, {kind: getattr(one, kind) for kind in KINDS})
            for one in published[-DAYS_SHOWN:]
        ),
        published_at=max((one.published_at for one in published), default=None),
        lost_records=sum(row["records"] or 0 for row in accepted),
        losses=len(accepted),
    )


def read_kafka(settings: Settings, start: Position) -> KafkaReading:
    """Read the broker.

    Args:
        settings: where it is.
        start: the next offsets.

    Raises:
        DaybookError: it does not answer.
    """
    topic = topic_state(settings)
    # for another topic, or a log that was truncated, the landed offsets are meaningless
    loss = loss_since(settings, start, topic)
    landed = loss.resume_from if loss else start.offsets
    waiting: dict[int, datetime] = {}
    for partition, end in topic.log_end.items():
        begin = max(landed.get(partition, 0), topic.first.get(partition, 0))
        taken_at = record_time(settings, partition, begin) if begin < end else None
        if taken_at is not None:
            waiting[partition] = taken_at
    return KafkaReading(topic, landed, waiting)


class LedgerCollector(Collector):
    """Exposes the last readings, which its own thread takes until :meth:`stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger: Ledger | None = None
        self._lake: LakeReading | None = None
        self._kafka: KafkaReading | None = None
        self._read_at: dict[str, float] = {}
        self._up = {"lake": False, "kafka": False}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="readings", daemon=True)

    def start(self) -> None:
        """Start the reading thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; returns when the thread has ended."""
        self._stopped.set()
        self._thread.join()

    def _read_on(self) -> None:
        while not self._stopped.is_set():
            self.read()
            self._stopped.wait(READ_EVERY_SECONDS)

    def read(self) -> None:
        """Read both sources; a failure is reported in the scrapes, and in a log line."""
        try:
            self._ledger = read_ledger(self._settings, self._ledger)
            self._lake = read_lake(self._settings, self._ledger)
        except Exception as error:  # whatever it is, the exporter keeps running and reports that it cannot read
            self._failed("lake", error)
            self._lake = None
        else:
            self._succeeded("lake")
        try:
            self._kafka = read_kafka(self._settings, self._lake.position if self._lake else Position({}))
        except Exception as error:  # as above
            self._failed("kafka", error)
            self._kafka = None
        else:
            self._succeeded("kafka")

    def _succeeded(self, source: str) -> None:
        self._up[source] = True
        self._read_at[source] = time.monotonic()

    def _failed(self, source: str, error: Exception) -> None:
        if self._up[source] or source not in self._read_at:  # once, not every time
            sys.stderr.write(f"{source} cannot be read: {error}\n")
            self._read_at.setdefault(source, time.monotonic())
        self._up[source] = False

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics of one scrape."""
        up = GaugeMetricFamily("daybook_exporter_up", "1 while the source's last reading succeeded.", labels=["source"])
        age = GaugeMetricFamily(
            "daybook_exporter_reading_age_seconds",
            "Seconds since the source's last successful reading.",
            labels=["source"],
        )
        for source, is_up in self._up.items():
            up.add_metric([source], is_up)
            if source in self._read_at:
                age.add_metric([source], time.monotonic() - self._read_at[source])
        yield up
        yield age
        within = timedelta(hours=self._settings.publish_within_hours).total_seconds()
        yield GaugeMetricFamily(
            "daybook_publish_within_seconds", "Time limit for publishing a day, counted from its end.", within
        )
        lake, kafka = self._lake, self._kafka
        if lake is not None:
            yield from _of_lake(lake)
        if kafka is not None:
            yield from _of_kafka(kafka)
        if lake is not None and kafka is not None:
            yield from _of_both(kafka)


def _of_lake(lake: LakeReading) -> Iterator[GaugeMetricFamily]:
    yield GaugeMetricFamily("daybook_days_published", "Number of published days.", lake.days)
    yield GaugeMetricFamily(
        "daybook_accepted_loss_records", "Records that an operator accepted as lost.", lake.lost_records
    )
    yield GaugeMetricFamily(
        "daybook_accepted_losses", "Accepted losses, including losses of unknown size.", lake.losses
    )
    landed = GaugeMetricFamily("daybook_landed_offset", "Offset after the last landed record.", labels=["partition"])
    for partition, offset in sorted(lake.position.offsets.items()):
        landed.add_metric([str(partition)], offset)
    yield landed
    if lake.published_at is None:
        return
    name = "daybook_last_publish_timestamp_seconds"
    yield GaugeMetricFamily(name, "When a day was last published.", lake.published_at.timestamp())
    newest = lake.newest[-1]
    began = datetime.combine(newest.day, datetime.min.time(), UTC).timestamp()
    yield GaugeMetricFamily("daybook_newest_day_timestamp_seconds", "Start of the newest published day, UTC.", began)
    records = GaugeMetricFamily("daybook_day_records", "Records of the newest days, by kind.", labels=["day", "kind"])
    revision = GaugeMetricFamily("daybook_day_revision", "Published revision of the newest days.", labels=["day"])
    for one in lake.newest:
        revision.add_metric([str(one.day)], one.revision)
        for kind, count in one.records.items():
            records.add_metric([str(one.day), kind], count)
    yield records
    yield revision
    share = newest.records["rejected"] / newest.landed if newest.landed else 0.0
    yield GaugeMetricFamily("daybook_rejected_share", "Rejected share of the newest day's records, 0 to 1.", share)


def _of_kafka(kafka: KafkaReading) -> Iterator[GaugeMetricFamily]:
    end = GaugeMetricFamily(
        "daybook_kafka_end_offset", "End of the topic's log, as the broker reports it.", labels=["partition"]
    )
    for partition, offset in sorted(kafka.topic.log_end.items()):
        end.add_metric([str(partition)], offset)
    yield end
    hidden = GaugeMetricFamily(
        "daybook_hidden_records", "Offsets that cannot be read until an open transaction ends.", labels=["partition"]
    )
    for partition in sorted(kafka.topic.end):
        hidden.add_metric([str(partition)], kafka.topic.hidden.get(partition, 0))
    yield hidden
    unfit = int(kafka.topic.unfit is not None)
    yield GaugeMetricFamily(
        "daybook_topic_unfit", "1 if the topic loses events because of its own configuration.", unfit
    )
    if kafka.topic.retention_ms >= 0:
        name = "daybook_kafka_retention_seconds"
        yield GaugeMetricFamily(name, "How long the topic retains a record.", kafka.topic.retention_ms / 1000)


def _of_both(kafka: KafkaReading) -> Iterator[GaugeMetricFamily]:
    lag = GaugeMetricFamily(
        "daybook_lag_records", "Records of the topic that are not landed yet.", labels=["partition"]
    )
    for partition, end in sorted(kafka.topic.log_end.items()):
        lag.add_metric([str(partition)], max(end - kafka.landed.get(partition, 0), 0))
    yield lag
    now = datetime.now(UTC)
    waits = GaugeMetricFamily(
        "daybook_oldest_unlanded_seconds", "Age of the first record that is not landed yet.", labels=["partition"]
    )
    left = GaugeMetricFamily(
        "daybook_retention_left_seconds",
        "Time until Kafka may delete a record that is not landed yet.",
        labels=["partition"],
    )
    for partition, since in sorted(kafka.waiting_since.items()):
        waited = (now - since).total_seconds()
        waits.add_metric([str(partition)], waited)
        if kafka.topic.retention_ms >= 0:
            left.add_metric([str(partition)], kafka.topic.retention_ms / 1000 - waited)
    yield waits
    yield left
