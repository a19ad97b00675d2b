"""Statistics over published days; nothing here writes."""
