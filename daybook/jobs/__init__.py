"""How a Spark job is configured, submitted and connected to the warm server."""
