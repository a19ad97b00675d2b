"""The broker: how it is reached, its topic, its offsets."""
