"""Tests that kill, freeze and mislead parts: accepted events are in Kafka, refused ones are nowhere."""
