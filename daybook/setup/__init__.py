"""What `make setup` installs besides Python packages."""
