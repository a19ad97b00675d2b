"""Reads the settings from the environment into one frozen object, and lists every problem at once.

Each setting is an environment variable ``DAYBOOK_<NAME>``; ``.env.example`` lists them all with default and unit (a
test checks that the two agree). Nothing here reads a file, opens a connection or creates a folder.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, computed_field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from daybook.errors import BadInput
from daybook.secret_names import holds_a_secret, names_a_secret

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout that this code runs from, with ``dags/``, ``plugins/``, ``spark/`` and ``jars/``."""

DAILY_EVENTS = 20_000
"""Default number of events of a generated day."""

SQLITE = "jdbc:sqlite:"
"""Begins the URI of a catalog in a SQLite file, whose path follows."""

Port = Annotated[int, Field(ge=1, le=65535)]


def sqlite_uri(file: Path) -> str:
    """Return the URI of a catalog in a SQLite file."""
    return f"{SQLITE}{file}"


def _json_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('is not a JSON list, such as ["sword", "shield"]') from None


OUR_SPARK_CONF = ("spark.sql.session.timeZone", "spark.sql.extensions", "spark.sql.catalog.lake", "spark.master")
"""Spark settings that define a day and where it lands. No user setting may change them, or any setting whose name is
one of them followed by a dot and more."""


def _spark_conf(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict) or not all(isinstance(one, str | int | float | bool) for one in value.values()):
        raise ValueError('is not a JSON object of texts, numbers and booleans, such as {"spark.executor.memory": "4g"}')
    for key, text in value.items():
        if not key.startswith("spark."):
            raise ValueError(f"{key} is not a Spark setting: their names begin with spark.")
        if any(key == ours or key.startswith(f"{ours}.") for ours in OUR_SPARK_CONF):
            raise ValueError(
                f"{key} is set by Daybook itself: days are UTC days, and DAYBOOK_LAKE_* and DAYBOOK_SPARK_MASTER "
                "name the lake and the master"
            )
        if (is_secret := names_a_secret(key)) or holds_a_secret(str(text)):
            raise ValueError(
                f"{key} {'is' if is_secret else 'contains'} a secret, which every command line would show; "
                "docs/clusters.md explains where secrets go"
            )
    return {key: str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()}


class Settings(BaseSettings):
    """The settings of one Daybook. The names include units; times are UTC."""

    model_config = SettingsConfigDict(env_prefix="DAYBOOK_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(
        default=REPOSITORY / ".daybook", description="state folder, with everything that Daybook writes at run time"
    )

    api_host: str = Field(
        default="127.0.0.1",
        description="address that the intake listens on; always loopback if no API keys are required",
    )
    api_port: Port = Field(default=5000, description="port of the intake")
    airflow_port: Port = Field(default=8080, description="port of Airflow's UI and API on 127.0.0.1")
    airflow_server_url: str = Field(
        default="", description="URL of an externally managed Airflow, such as Compose's; empty = the embedded one"
    )
    kafka_port: Port = Field(default=9092, description="port of the embedded broker on 127.0.0.1")
    kafka_controller_port: int = Field(
        default=0, ge=0, le=65535, description="port of the broker's controller; 0 = the next free one after kafka_port"
    )
    up_timeout_seconds: int = Field(
        default=240, ge=1, description="how long `daybook up` waits for the stack to be healthy"
    )

    api_url: str = Field(
        default="", description="URL that the generator sends events to; empty = the intake on api_port"
    )
    api_workers: int = Field(default=2, ge=1, le=64, description="gunicorn worker processes of the intake")
    api_threads: int = Field(default=16, ge=1, le=512, description="threads of each gunicorn worker")
    ack_timeout_seconds: float = Field(
        default=5.0, gt=0, le=60, description="how long the intake waits for Kafka's acknowledgement"
    )
    api_keys_file: str = Field(
        default="", description="file with the games' API keys, read again when it changes; empty = no key is required"
    )
    api_key: SecretStr = Field(default=SecretStr(""), description="API key that the generator sends; empty = no key")
    api_events_per_second: int = Field(
        default=0, ge=0, description="events per second that each API key may send; 0 = no limit"
    )
    api_trusted_proxies: str = Field(
        default="",
        description="addresses or networks whose X-Forwarded-Host is trusted, comma-separated; empty = no proxy",
    )
    legacy_routes: bool | None = Field(
        default=None,
        description="serve the 2019 routes, which accept no key; empty = only if no API keys are required",
    )
    # decoded here, not by the source, which would stop at the first invalid JSON text and report no other problem
    items: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_json_list)] = Field(
        default=("sword", "shield", "helmet", "knife", "gauntlets"),
        min_length=1,
        description="items that can be bought, a JSON list",
    )

    kafka_bootstrap_servers: str = Field(default="", description="Kafka brokers; empty = the embedded one")
    kafka_topic: str = Field(default="events", description="topic of the events")
    kafka_partitions: int = Field(
        default=3, ge=1, le=1000, description="partitions of the topic; `daybook create-topic` adds missing ones"
    )
    kafka_replication: int = Field(
        default=1, ge=1, le=32, description="replicas that the topic is created with; 3 or more on a cluster"
    )
    kafka_retention_days: int = Field(default=30, ge=1, le=3650, description="retention that the topic is created with")
    kafka_flush: bool | None = Field(
        default=None,
        description="let the topic flush events to disk before they are acknowledged; empty = only with 1 replica",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Kafka security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        default="SCRAM-SHA-512", description="SASL mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN"
    )
    kafka_sasl_username: str = Field(default="", description="Kafka user; required with SASL_PLAINTEXT and SASL_SSL")
    kafka_sasl_password: SecretStr = Field(default=SecretStr(""), description="password of the Kafka user")
    kafka_ssl_ca_file: str = Field(
        default="",
        description="PEM file of the certificate authority of the brokers; empty = the public authorities",
    )
    kafka_ssl_certificate_file: str = Field(
        default="",
        description="PEM file of the client certificate, for brokers that require one; empty = no certificate",
    )
    kafka_ssl_key_file: str = Field(
        default="", description="PEM file of the client certificate's key (PKCS#8, without a password)"
    )

    lake_catalog_uri: str = Field(
        default="",
        description="the lake's catalog: jdbc:sqlite:FILE, jdbc:postgresql://HOST/DB?user=USER, or https://HOST/PATH "
        "of an Iceberg REST catalog; empty = SQLite in home",
    )
    lake_catalog_token: SecretStr = Field(
        default=SecretStr(""), description="bearer token for a REST catalog; empty = no token"
    )
    lake_catalog_credential: SecretStr = Field(
        default=SecretStr(""),
        description="CLIENT_ID:CLIENT_SECRET that a REST catalog exchanges for a token; empty = no credential",
    )
    lake_warehouse: str = Field(
        default="",
        description="URI of the lake's data files, file:, s3: or hdfs:; with a REST catalog the warehouse's name "
        "there; empty = under home",
    )
    s3_endpoint: str = Field(
        default="", description="URL of the S3-compatible store that the warehouse is in; empty = AWS's"
    )
    s3_region: str = Field(
        default="us-east-1", description="region of the bucket; most stores other than AWS's accept us-east-1"
    )

    spark_master: str = Field(default="local[2]", description="Spark master of the day's jobs")
    spark_connect_port: int = Field(
        default=15002,
        ge=0,
        le=65535,
        description="port of the embedded Spark Connect server on 127.0.0.1, a warm Spark for every step; 0 = no "
        "server: each step starts its own driver, as with an external Spark master",
    )
    spark_driver_memory: str = Field(
        default="1g",
        pattern=r"^\d+[mg]$",
        description="heap of the Spark server, and of each Spark driver where there is no server, such as 512m or 2g; "
        "from 2g, its compilers suit days with hundreds of thousands of events",
    )
    spark_driver_java_options: str = Field(
        default="",
        description="JVM options of Spark drivers and the Spark server, such as -XX:+UseG1GC; empty = Daybook chooses "
        "them by the heap",
    )
    spark_shuffle_partitions: int = Field(
        default=2, ge=1, le=10_000, description="shuffle partitions of a job; 2 suit a laptop, 200 a cluster"
    )

    spark_conf: Annotated[dict[str, str], NoDecode, BeforeValidator(_spark_conf)] = Field(
        default_factory=dict,
        description="additional Spark settings of every job, which override Daybook's, a JSON object, such as "
        '{"spark.executor.memory": "4g"}',
    )

    day_grace_minutes: int = Field(
        default=15, ge=0, le=1440, description="wait after a day's end before the offsets of live traffic are frozen"
    )
    lateness_days: int = Field(
        default=30,
        ge=0,
        le=3650,
        description="late events restate days up to this many days back; an event_id is unique within as many days",
    )
    future_tolerance_minutes: int = Field(
        default=60, ge=0, le=1440, description="how far the time of an event may be ahead of its receipt"
    )
    snapshot_retention_days: int = Field(
        default=7, ge=1, description="how long the lake keeps old snapshots, including staged ones of failed runs"
    )
    raw_retention_days: int = Field(
        default=0,
        ge=0,
        description="how long raw records are retained; 0 = for ever, otherwise more than 2 * lateness_days + 1",
    )
    publish_within_hours: int = Field(
        default=6, ge=0, le=48, description="hours after a day's end when an alert reports that it is not published"
    )
    exporter_host: str = Field(
        default="127.0.0.1", description="address that the metrics exporter listens on; it has no authentication"
    )
    exporter_port: Port = Field(default=9465, description="port of the metrics exporter")
    notify_urls: SecretStr = Field(
        default=SecretStr(""),
        description="where failures and missed deadlines are sent besides the log: Apprise URLs, separated by spaces, "
        "such as slack://..., mailto://... or jsons://HOST/PATH (a webhook)",
    )
    generated_events: int | None = Field(
        default=None,
        ge=0,
        description="default number of events that a run generates; 0 = live traffic only; "
        f"empty = {DAILY_EVENTS} if only this machine can send events (no API keys are required), else 0",
    )
    generated_seed: int = Field(default=1, ge=0, description="default seed of a generated day")

    @model_validator(mode="after")
    def _raw_outlives_lateness(self) -> Settings:
        # yesterday's run restates days up to lateness_days back, and compares their ids with lateness_days more
        least = 2 * self.lateness_days + 1
        if 0 < self.raw_retention_days <= least:
            raise ValueError(
                f"DAYBOOK_RAW_RETENTION_DAYS is {self.raw_retention_days}; late events restate days up to "
                f"DAYBOOK_LATENESS_DAYS ({self.lateness_days}) back, and their ids are compared with the raw records "
                f"of as many days before. Retain raw records for more than {least} days, or for ever: 0"
            )
        return self

    @model_validator(mode="after")
    def _no_secret_is_in_the_open(self) -> Settings:
        others = {name: getattr(self, name) for name in type(self).model_fields if name != "lake_catalog_uri"}
        open_secrets = [
            f"DAYBOOK_{name.upper()}" for name, text in others.items() if isinstance(text, str) and holds_a_secret(text)
        ]
        if open_secrets:
            raise ValueError(
                f"{', '.join(open_secrets)} contains a secret, which command lines and `daybook env` would show; "
                "docs/security.md explains where secrets go"
            )
        return self

    @model_validator(mode="after")
    def _lake_settings_agree(self) -> Settings:
        problems = []
        if holds_a_secret(self.lake_catalog_uri):
            problems.append(
                "DAYBOOK_LAKE_CATALOG_URI contains a password, which every command line would show; put it into a "
                "file that PGPASSFILE names, or for a REST catalog into DAYBOOK_LAKE_CATALOG_TOKEN"
            )
        secrets = self.lake_catalog_token, self.lake_catalog_credential
        if any(one.get_secret_value() for one in secrets) and not self.has_rest_catalog:
            problems.append(
                "DAYBOOK_LAKE_CATALOG_TOKEN and DAYBOOK_LAKE_CATALOG_CREDENTIAL are for a REST catalog, but "
                "DAYBOOK_LAKE_CATALOG_URI is not the URI of one"
            )
        if self.s3_endpoint and not self.is_on_s3:
            problems.append("DAYBOOK_S3_ENDPOINT is set, but DAYBOOK_LAKE_WAREHOUSE is not in a bucket (s3://...)")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _kafka_settings_agree(self) -> Settings:
        protocol = self.kafka_security_protocol
        has_sasl, has_ssl = protocol.startswith("SASL"), protocol.endswith("SSL")
        named = bool(self.kafka_sasl_username), bool(self.kafka_sasl_password.get_secret_value())
        tls = self.kafka_ssl_ca_file, self.kafka_ssl_certificate_file, self.kafka_ssl_key_file
        problems = []
        if has_sasl and not all(named):
            problems.append(f"{protocol} needs DAYBOOK_KAFKA_SASL_USERNAME and DAYBOOK_KAFKA_SASL_PASSWORD")
        # if accepted, they would suggest protection that does not exist
        if not has_sasl and any(named):
            problems.append(f"DAYBOOK_KAFKA_SASL_* is set, but {protocol} uses no password")
        if not has_ssl and any(tls):
            problems.append(f"DAYBOOK_KAFKA_SSL_* is set, but {protocol} is not encrypted")
        if bool(self.kafka_ssl_certificate_file) != bool(self.kafka_ssl_key_file):
            problems.append("DAYBOOK_KAFKA_SSL_CERTIFICATE_FILE and DAYBOOK_KAFKA_SSL_KEY_FILE must be set together")
        if not self.kafka_bootstrap_servers and protocol != "PLAINTEXT":
            problems.append(
                f"{protocol} requires brokers in DAYBOOK_KAFKA_BOOTSTRAP_SERVERS; the embedded broker uses PLAINTEXT"
            )
        if not self.kafka_bootstrap_servers and self.kafka_replication > 1:
            problems.append(
                f"DAYBOOK_KAFKA_REPLICATION is {self.kafka_replication}, but there is only one embedded broker; name "
                "other brokers: DAYBOOK_KAFKA_BOOTSTRAP_SERVERS"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def bootstrap_servers(self) -> str:
        """List of the Kafka brokers in use, as ``host:port``."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def intake_url(self) -> str:
        """Root URL of the intake, without a trailing slash."""
        return (self.api_url or f"http://127.0.0.1:{self.api_port}").rstrip("/")

    @property
    def flushes_each_write(self) -> bool:
        """Whether events are flushed to disk before they are acknowledged: with one replica there is no other copy."""
        return self.kafka_replication == 1 if self.kafka_flush is None else self.kafka_flush

    @property
    def serves_legacy_routes(self) -> bool:
        """Whether the 2019 routes are served: as set, or by default only if no API keys protect the other routes."""
        return not self.api_keys_file if self.legacy_routes is None else self.legacy_routes

    @property
    def only_this_machine_sends(self) -> bool:
        """Whether only this machine can send events: without API keys the intake listens only on loopback.

        It is False with another intake, external brokers or a proxy in front of the intake: others can reach those.
        """
        return not (self.api_keys_file or self.api_url or self.kafka_bootstrap_servers or self.api_trusted_proxies)

    @property
    def events_of_a_run(self) -> int:
        """Default number of events that a run generates; 0 = live traffic only."""
        if self.generated_events is not None:
            return self.generated_events
        return DAILY_EVENTS if self.only_this_machine_sends else 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def airflow_url(self) -> str:
        """Root URL of Airflow's UI and API, without a trailing slash."""
        return (self.airflow_server_url or f"http://127.0.0.1:{self.airflow_port}").rstrip("/")

    @property
    def has_local_spark(self) -> bool:
        """Whether Spark runs only in the driver, without remote executors."""
        return self.spark_master.startswith("local")

    @property
    def has_spark_connect(self) -> bool:
        """Whether the embedded stack has a Spark Connect server."""
        return bool(self.spark_connect_port) and self.has_local_spark and not self.airflow_server_url

    @property
    def has_rest_catalog(self) -> bool:
        """Whether the lake's catalog is an Iceberg REST catalog."""
        return self.lake_catalog_uri.startswith(("http://", "https://"))

    @property
    def is_on_s3(self) -> bool:
        """Whether the lake's files are in a bucket; if a REST catalog names the warehouse, the endpoint decides."""
        warehouse = self.lake_warehouse
        named = self.has_rest_catalog and ":" not in warehouse
        return warehouse.startswith(("s3://", "s3a://")) or (named and bool(self.s3_endpoint))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def catalog_uri(self) -> str:
        """URI of the lake's catalog for Spark: JDBC or a REST catalog."""
        return self.lake_catalog_uri or sqlite_uri(self.home / "lake" / "catalog.db")

    @property
    def catalog_file(self) -> Path | None:
        """File of the lake's catalog in SQLite; None if the catalog is in PostgreSQL or an Iceberg REST catalog."""
        return Path(self.catalog_uri.removeprefix(SQLITE)) if self.catalog_uri.startswith(SQLITE) else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def warehouse(self) -> str:
        """URI of the lake's root folder, without a trailing slash.

        The path in it is not escaped: Iceberg, Hadoop and Arrow use the part after the scheme unchanged.
        """
        return (self.lake_warehouse or f"file://{self.home / 'lake' / 'warehouse'}").rstrip("/")

    @property
    def manifests_dir(self) -> Path:
        """Folder of the generator's manifests, one ``D.json`` for each generated day."""
        return self.home / "manifests"

    @property
    def reports_dir(self) -> Path:
        """Folder of the HTML reports, one ``D.html`` for each published day."""
        return self.home / "reports"

    @property
    def api_state_dir(self) -> Path:
        """Folder of the state that the intake's running workers share: metrics and limits."""
        return self.home / f"api-{self.api_port}"

    @property
    def logs_dir(self) -> Path:
        """Folder of the embedded stack's logs, one file for each part."""
        return self.home / "logs"


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Return the settings of this process, read from the environment once.

    Raises:
        BadInput: a variable is invalid; the text names every invalid one.
    """
    try:
        loaded = Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"DAYBOOK_{str(problem['loc'][0]).upper()}: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors()
        )
        raise BadInput(f"settings: {problems}") from None
    return loaded.model_copy(update={"home": loaded.home.expanduser().resolve()})


settings = load_settings
"""The name that other programs import (docs/tasks.md). Daybook's own code has settings in variables of this name."""
