"""Tests that need only Python: no broker, no JVM, no network."""
