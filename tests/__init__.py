"""Everything that is proved of Daybook: `unit` alone, `spark` with a lake, `integration` with the whole stack up."""
