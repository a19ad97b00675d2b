"""The main program of the embedded Spark Connect server (:mod:`daybook.stack.spark_connect`).

It does the same as Spark's own main class for the server, with one exception. That class gives each client's session
its own class loader, whatever the configuration. Spark caches generated code by class loader, so each step of each day
would generate and compile all of its code again.
"""

from __future__ import annotations

import contextlib

from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

if __name__ == "__main__":
    # Create the session before opening the port: a client that connected earlier would find no session to start from.
    # For this reason the server is not started by Spark's own plugin
    session = SparkSession.builder.getOrCreate()
    assert session._jvm is not None
    service = getattr(getattr(session._jvm.org.apache.spark.sql.connect.service, "SparkConnectService$"), "MODULE$")
    service.start(session._jsc.sc())
    with contextlib.suppress(Py4JNetworkError):  # raised when the JVM that runs this program ends
        service.server().awaitTermination()
