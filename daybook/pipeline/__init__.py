"""The rules of a day: its balance, when it is stale, the next position, and lost, rejected or erased records."""
