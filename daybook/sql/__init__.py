"""The questions and checks, which are `.sql` files: found and parsed."""
