"""Tests with a local Spark session and a lake in a temporary folder, without a broker."""
