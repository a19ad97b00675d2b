"""The broker: client configuration, topic and offsets."""
