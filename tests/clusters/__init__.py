"""The same code on real clusters, configured by settings alone.

``DAYBOOK_CLUSTERS=full`` (``make test-clusters``) runs all tests, ``make test`` only the quick ones.
"""

from __future__ import annotations

import os

import pytest

in_full = pytest.mark.skipif(os.environ.get("DAYBOOK_CLUSTERS") != "full", reason="in make test-clusters")
"""Marks a slow test, which runs only with all of them."""
