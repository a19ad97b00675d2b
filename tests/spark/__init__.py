"""Needs a local Spark session and a lake in a temporary folder; no broker."""
