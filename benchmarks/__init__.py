"""Measurements, apart from the tests: tests assert counts, these compare times within one run."""
