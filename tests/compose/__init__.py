"""Tests that run the stack of docker-compose.yaml."""
