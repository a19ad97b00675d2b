"""Measurements, separate from the tests: tests assert counts, benchmarks compare times within one run."""
