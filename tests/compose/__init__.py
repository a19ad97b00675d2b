"""The stack of docker-compose.yaml, for real."""
