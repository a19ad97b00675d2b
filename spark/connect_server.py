"""The main program of the embedded Spark Connect server (:mod:`daybook.stack.spark_connect`).

It does what Spark's own main class for the server does, but for one thing: that class gives each client's session a
class loader of its own, whatever its configuration says. Spark keeps the code that it generates by class loader, so
each step of each day would generate and compile all of its code anew.
"""

from __future__ import annotations

import contextlib

from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

if __name__ == "__main__":
    # the session first, and then the port: a client that came in between would find none to start from. This is why the
    # server is not the plugin that Spark has for it
    session = SparkSession.builder.getOrCreate()
    assert session._jvm is not None
    service = getattr(getattr(session._jvm.org.apache.spark.sql.connect.service, "SparkConnectService$"), "MODULE$")
    service.start(session._jsc.sc())
    with contextlib.suppress(Py4JNetworkError):  # that is the end of the JVM that runs this program
        service.server().awaitTermination()
