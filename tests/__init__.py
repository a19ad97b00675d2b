"""Daybook's tests: `unit` runs alone, `spark` with a lake, `integration` with the whole stack."""
