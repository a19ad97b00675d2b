#!/bin/sh
# Runs a command with the environment that Airflow, Spark and every reader of the lake need. In addition to the settings
# from Compose, it contains the password file, the generator's key, and the output of `daybook env`.
set -eu
umask 077
# the drivers of the catalog and of Airflow (libpq, asyncpg, Java's) read passwords from this file, so no URI or command
# line contains one; they accept it only if nobody else may read it, and a mounted secret belongs to the host's user
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
