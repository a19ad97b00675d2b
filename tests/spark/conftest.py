"""Fixtures for records without a broker."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from tests.spark.topic_records import Topic


@pytest.fixture
def topic(spark: SparkSession) -> Topic:
    return Topic(spark)
