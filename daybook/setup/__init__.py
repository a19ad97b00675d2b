"""The parts that `make setup` installs besides Python packages."""
