"""The `daybook` command: one module for each group of verbs. Only this package imports Click and Rich."""
