#!/bin/sh
# Runs a command with what Airflow, Spark and every reader of the lake need in their environment; beside the settings
# that Compose gives, these are the passwords' file, the generator's key, and what `daybook env` makes of the settings.
set -eu
umask 077
# the catalog's and Airflow's drivers (libpq, asyncpg, Java's) read passwords from this file, so none stands in a URI or
# on a command line; they take it only if nobody else may read it, and a mounted secret belongs to the host's user
install -m 0600 /run/secrets/pgpass /tmp/pgpass
export PGPASSFILE=/tmp/pgpass
DAYBOOK_API_KEY=$(cat /run/secrets/generator_key)
export DAYBOOK_API_KEY
# where a Spark driver listens and its executors reach it: this container's address in the network of the database. The
# intake shares the other network, and whoever reaches a driver can run code in it. Connecting by UDP sends nothing
SPARK_LOCAL_HOSTNAME=$(python -c 'import socket
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.connect(("postgres", 5432))
print(probe.getsockname()[0])')
export SPARK_LOCAL_HOSTNAME
environment=$(daybook env)
eval "$environment"
exec "$@"
