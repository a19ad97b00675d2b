"""Finds and parses the `.sql` files of the questions and checks."""
