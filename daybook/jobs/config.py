"""Jars and configuration of Spark for Daybook's jobs and tests. Imports no Spark.

A comment at each setting explains the problem that it solves.
"""

from __future__ import annotations

from pathlib import Path

from daybook.errors import NonRetryableError
from daybook.jobs.jars import S3_SPARK_LIB_DIR, SPARK_LIB_DIR
from daybook.jobs.java import FIXED_OPTIONS
from daybook.jobs.temp_files import driver_dir
from daybook.lake.config import spark_properties
from daybook.lake.tables import CATALOG
from daybook.settings import REPOSITORY, Settings

JOBS_DIR = REPOSITORY / "spark" / "jobs"
LOG4J2_FILE = REPOSITORY / "spark" / "log4j2.properties"

SMALL_HEAP = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java options with a small heap: only Java's first compiler, and the serial collector."""
LARGE_HEAP = (
    "-XX:+UseSerialGC -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000"
    " -XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
"""Java options with a large heap: the second compiler too, at ten times Java's default thresholds."""
LARGE_HEAP_MB = 2048
"""Heap size from which :data:`LARGE_HEAP` applies: a heap above the default is set for large days (docs/sizing.md).

Seconds of a whole day on a warm server with the first compiler alone, and with both (2 cores, the last of two to four
days in a row): 20,000 events 24 and 29, a million 140 and 64. Thresholds five times higher gave 33 and 64. The second
compiler needs profiles of the code of the first, which make that slower.
"""


def jars(settings: Settings) -> str:
    """Return a job's jars, comma separated: Kafka source, Iceberg, JDBC drivers of the catalogs, S3 if used.

    ``make setup`` fetched and checked these files: nothing is resolved at run time.

    Raises:
        NonRetryableError: a folder is empty.
    """
    found = sorted(SPARK_LIB_DIR.glob("*.jar"))
    if not found:
        raise NonRetryableError(f"no Spark jars in {SPARK_LIB_DIR}; run `make setup`, then repeat the step")
    if settings.is_on_s3:
        for_s3 = sorted(S3_SPARK_LIB_DIR.glob("*.jar"))
        if not for_s3:
            raise NonRetryableError(
                f"the warehouse is in a bucket, but there is no jar in {S3_SPARK_LIB_DIR}; run `make setup-s3`, then "
                "repeat the step"
            )
        found += for_s3
    return ",".join(str(jar) for jar in found)


def _heap_mb(settings: Settings) -> int:
    heap = settings.spark_driver_memory
    return int(heap[:-1]) * (1024 if heap.endswith("g") else 1)


def submit_conf(settings: Settings, temporary_dir: Path | None = None) -> dict[str, str]:
    """Return the Spark configuration of every job, for ``--conf``.

    Args:
        settings: where lake and brokers are, and how large a driver is.
        temporary_dir: the driver's; None = the shared folder of all drivers that end with their job.
    """
    catalog = f"spark.sql.catalog.{CATALOG}"
    java_options = [
        *FIXED_OPTIONS,
        # the task's log repeats each line of Spark, so log only warnings and our own messages
        f"-Dlog4j2.configurationFile={LOG4J2_FILE.as_uri()}",
        f'"-Djava.io.tmpdir={temporary_dir or driver_dir(settings)}"',
        # without the second compiler Java reserves 48 MB for compiled code and stops compiling when they are full. A
        # small day's driver fills 31 MB, so a process that builds many days would end up interpreting. 240 MB is Java's
        # default with both compilers; memory is used only as needed
        "-XX:ReservedCodeCacheSize=240m",
        # An out-of-memory error can end one thread of Spark while the others wait for it for ever. A driver that ends
        # is retried, a server that ends is started again
        "-XX:+ExitOnOutOfMemoryError",
        settings.spark_driver_java_options or (LARGE_HEAP if _heap_mb(settings) >= LARGE_HEAP_MB else SMALL_HEAP),
    ]
    return {
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": " ".join(java_options),
        "spark.executor.defaultJavaOptions": " ".join(FIXED_OPTIONS),
        # no web server and no port for a job of seconds; two parallel jobs would compete for port 4040
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # the driver listens only on loopback if Spark runs locally in its JVM
        **(
            {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
            if settings.has_local_spark
            else {}
        ),
        "spark.sql.session.timeZone": "UTC",  # days are UTC days wherever the driver runs
        # a step reads its cached data two or three times: for a million events compression costs 3 of landing's 37 s
        # and saves 40 MB
        "spark.sql.inMemoryColumnarStorage.compressed": "false",
        # a day generates about 170 classes; Spark caches only 100 by default and would generate all again for the next
        # day. Of two tests that build two days each in one driver, the second took 65 s without this, and 48 with it
        "spark.sql.codegen.cache.maxEntries": "1000",
        # disable the first-level aggregation map of 65,536 groups: most questions group by player or visit, and a large
        # day has more of them. All answers on a warm server, taking turns, with and without the map: five million
        # events 34 and 26 s (56 and 44 CPU s), a million 6.8 and 6.0, 20,000 3.0 and 2.8
        "spark.sql.codegen.aggregate.map.twolevel.enabled": "false",
        "spark.sql.shuffle.partitions": str(settings.spark_shuffle_partitions),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{catalog}.{name}": value for name, value in spark_properties(settings).items()},
        # Hadoop sets file modes itself and ignores the process' umask; a cluster's storage has its own permissions
        **({"spark.hadoop.fs.permissions.umask-mode": "077"} if settings.warehouse.startswith("file:") else {}),
        **settings.spark_conf,
    }
