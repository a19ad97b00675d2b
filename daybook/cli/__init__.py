"""The `daybook` command: a module for each group of verbs. Click and Rich are imported here alone."""
