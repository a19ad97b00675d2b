"""How Spark is started for Daybook's jobs and tests: jars and configuration. Imports no Spark.

Each setting says what it cured.
"""

from __future__ import annotations

from pathlib import Path

from daybook.errors import NeedsDecision
from daybook.jobs import class_archive
from daybook.jobs.jars import S3_SPARK_LIB_DIR, SPARK_LIB_DIR
from daybook.jobs.java import FIXED_OPTIONS
from daybook.jobs.temp_files import driver_dir
from daybook.lake.config import spark_properties
from daybook.lake.tables import CATALOG
from daybook.settings import REPOSITORY, Settings

JOBS_DIR = REPOSITORY / "spark" / "jobs"
LOG4J2_FILE = REPOSITORY / "spark" / "log4j2.properties"

FEW = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java options of a driver that lands few records or none: Java's first compiler alone, and the serial collector."""
MANY = (
    "-XX:+UseSerialGC -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000"
    " -XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
"""Of one that lands many: the second compiler too, for what runs ten times as often as Java asks for by itself."""
MANY_RECORDS = 300_000
"""From how many on. Seconds of a landing with the first compiler alone, and with both (2 cores, one to three rounds):
20,000 records 13.6 and 14.8, 100,000 16.2 and 17.4, 300,000 21.8 and 20.7, a million 50 and 37. Of a day of one event,
all steps, Java's own choice of compilers and collector took half as much processor time again as :data:`FEW`."""


def jars(settings: Settings) -> str:
    """The jars a job needs, comma separated: Kafka source, Iceberg, JDBC drivers of the catalogs, S3 if it is used.

    They are files that ``make setup`` fetched and checked: nothing is resolved at run time.

    Raises:
        NeedsDecision: a folder is empty.
    """
    found = sorted(SPARK_LIB_DIR.glob("*.jar"))
    if not found:
        raise NeedsDecision(f"no Spark jars in {SPARK_LIB_DIR}; run `make setup`, then repeat the step")
    if settings.is_on_s3:
        for_s3 = sorted(S3_SPARK_LIB_DIR.glob("*.jar"))
        if not for_s3:
            raise NeedsDecision(
                f"the warehouse is in a bucket, and there is no jar in {S3_SPARK_LIB_DIR}; run `make setup-s3`, then "
                "repeat the step"
            )
        found += for_s3
    return ",".join(str(jar) for jar in found)


def submit_conf(settings: Settings, temporary_dir: Path | None = None, *, records: int = 0) -> dict[str, str]:
    """Spark configuration of every job, as ``--conf`` takes it.

    Args:
        settings: where lake and brokers are, and how large a driver is.
        temporary_dir: of the driver; none = that of all drivers that live as long as their job.
        records: how many records the driver is to land.
    """
    catalog = f"spark.sql.catalog.{CATALOG}"
    java_options = [
        *FIXED_OPTIONS,
        # one Spark line per log line of the task: only warnings and our own words are worth it
        f"-Dlog4j2.configurationFile={LOG4J2_FILE.as_uri()}",
        f'"-Djava.io.tmpdir={temporary_dir or driver_dir(settings)}"',
        # without the second compiler Java keeps 48 MB for compiled code and stops compiling when they are full. A small
        # day's driver fills 31 of them, so one that builds many days would end up interpreting; this is Java's other
        # default, and is taken as it is needed
        "-XX:ReservedCodeCacheSize=240m",
        *class_archive.java_options(),
    ]
    return {
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": " ".join(
            [*java_options, settings.spark_driver_java_options or (MANY if records >= MANY_RECORDS else FEW)]
        ),
        "spark.executor.defaultJavaOptions": " ".join(FIXED_OPTIONS),
        # no web server and no port for a job of seconds; two jobs side by side would fight for 4040
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # the driver listens on loopback alone when it runs in this machine's own JVM
        **(
            {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
            if settings.has_local_spark
            else {}
        ),
        "spark.sql.session.timeZone": "UTC",  # days are UTC days wherever the driver stands
        # what is kept of a day is used within the step, two or three times: packing it costs a million events 3 s of
        # landing's 37, and saves 40 MB
        "spark.sql.inMemoryColumnarStorage.compressed": "false",
        # a day's code is some 170 different classes; Spark would keep 100, and make all of them anew for the next day:
        # of two tests that build two days each in one driver the second took 65 s without this, and 48 with it
        "spark.sql.codegen.cache.maxEntries": "1000",
        # Spark would ask a small map of 65,536 groups before the real one, and most questions group by player or visit,
        # of which a large day has more. All answers on a warm server, taking turns: of five million events 34 s with it
        # and 26 without (56 and 44 CPU s), of a million 6.8 and 6.0, of 20,000 3.0 and 2.8
        "spark.sql.codegen.aggregate.map.twolevel.enabled": "false",
        "spark.sql.shuffle.partitions": str(settings.spark_shuffle_partitions),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{catalog}.{name}": value for name, value in spark_properties(settings).items()},
        # Hadoop sets modes itself, whatever the process' umask; a cluster's storage has its own rights
        **({"spark.hadoop.fs.permissions.umask-mode": "077"} if settings.warehouse.startswith("file:") else {}),
        **settings.spark_conf,
    }
