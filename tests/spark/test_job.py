"""The frame of a job: how it reports an unexpected error."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from daybook_spark.job import root_cause


def test_the_innermost_cause_of_a_jvm_error_is_reported(spark: SparkSession) -> None:
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    full = jvm.java.io.IOException("No space left on device")
    outer = jvm.org.apache.spark.SparkException("Job aborted\nby a hundred lines", full)
    failed = jvm.java.util.concurrent.CompletableFuture()
    failed.completeExceptionally(outer)
    with pytest.raises(Py4JJavaError) as caught:
        failed.join()
    assert root_cause(caught.value) == "java.io.IOException: No space left on device"


def test_the_first_line_of_a_python_error_is_reported() -> None:
    assert root_cause(ValueError("not this\nand more")) == "ValueError: not this"


@pytest.mark.parametrize(
    "message",
    [
        "[BUG] Expected sorted snapshot log entries.",
        "[BUG] Expected sorted previous metadata log entries.",
        "Invalid update timestamp 5: before last snapshot log entry at 60006",
    ],
)
def test_a_clock_that_was_set_back_is_reported_as_such(message: str) -> None:
    cause = root_cause(ValueError(f"java.lang.IllegalArgumentException: {message}\nand more"))
    assert cause.startswith("this machine's clock is more than a minute behind the lake's newest commit")
    assert "Nothing was committed. Correct the clock" in cause
