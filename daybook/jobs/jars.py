"""Where the jars of the broker and of Spark are; :mod:`daybook.setup.jars` fetches them."""

from __future__ import annotations

from daybook.settings import REPOSITORY

JARS_DIR = REPOSITORY / "jars"
LIB_DIR = JARS_DIR / "lib"
"""What every stack needs, a folder for each part."""
KAFKA_LIB_DIR = LIB_DIR / "kafka"
SPARK_LIB_DIR = LIB_DIR / "spark"
S3_LIB_DIR = JARS_DIR / "lib-s3"
"""What a warehouse in a bucket needs besides."""
S3_SPARK_LIB_DIR = S3_LIB_DIR / "s3"
