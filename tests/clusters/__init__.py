"""The same code on real clusters, by settings alone.

``DAYBOOK_CLUSTERS=full`` (``make test-clusters``) runs all of them, ``make test`` those that take a moment.
"""

from __future__ import annotations

import os

import pytest

in_full = pytest.mark.skipif(os.environ.get("DAYBOOK_CLUSTERS") != "full", reason="in make test-clusters")
"""Of a test that takes long: it runs with all of them."""
