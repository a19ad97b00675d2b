#!/bin/sh
# Creates a role and its database for each line of the secret (host:port:database:user:password) when the volume is
# empty: for Airflow and for the lake's catalog. Neither role sees the other's database.
set -eu
while IFS=: read -r _host _port database user password; do
    psql -v ON_ERROR_STOP=1 --no-psqlrc -U "$POSTGRES_USER" -d "$POSTGRES_DB" \
        -v database="$database" -v user="$user" -v password="$password" <<'SQL'
CREATE ROLE :"user" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"user";
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
done < /run/secrets/pgpass
