"""The main program of the embedded Spark Connect server (:mod:`daybook.stack.spark_connect`).

It does the same as Spark's own main class for the server, with two exceptions:

- That class gives each client's session its own class loader, whatever the configuration. Spark caches generated code
  by class loader, so each step of each day would generate and compile all of its code again.
- The data that a killed step has cached would stay as long as the server. It is dropped when the server has no session.
"""

from __future__ import annotations

import contextlib
import sys

from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

LOOKS_EVERY_SECONDS = 10

if __name__ == "__main__":
    # Create the session before opening the port: a client that connected earlier would find no session to start from.
    # For this reason the server is not started by Spark's own plugin
    session = SparkSession.builder.getOrCreate()
    assert session._jvm is not None
    service = getattr(getattr(session._jvm.org.apache.spark.sql.connect.service, "SparkConnectService$"), "MODULE$")
    service.start(session._jsc.sc())
    seconds = session._jvm.java.util.concurrent.TimeUnit.SECONDS
    sessions = service.sessionManager()
    with contextlib.suppress(Py4JNetworkError):  # raised when the JVM that runs this program ends
        while not service.server().awaitTermination(LOOKS_EVERY_SECONDS, seconds):
            # all sessions share one cache. A session that starts at this moment reads what it had cached a second time
            if sessions.listActiveSessions().isEmpty() and not session._jsc.getPersistentRDDs().isEmpty():
                session.catalog.clearCache()
                sys.stdout.write("dropped the cached data of steps that have ended\n")
                sys.stdout.flush()
