"""The report of a day and the overview: HTML with plots."""
