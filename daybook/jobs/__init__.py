"""Configures and submits Spark jobs, and connects them to the warm server."""
