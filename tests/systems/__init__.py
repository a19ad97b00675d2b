"""The two commands of the README on other Linux systems."""
