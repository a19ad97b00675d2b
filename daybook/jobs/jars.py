"""Folders of the jars of the broker and Spark; :mod:`daybook.setup.jars` fetches them."""

from __future__ import annotations

from daybook.settings import REPOSITORY

JARS_DIR = REPOSITORY / "jars"
LIB_DIR = JARS_DIR / "lib"
"""Jars that every stack needs, one folder for each part."""
KAFKA_LIB_DIR = LIB_DIR / "kafka"
SPARK_LIB_DIR = LIB_DIR / "spark"
S3_LIB_DIR = JARS_DIR / "lib-s3"
"""Additional jars for a warehouse in a bucket."""
S3_SPARK_LIB_DIR = S3_LIB_DIR / "s3"
