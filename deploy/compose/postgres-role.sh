#!/bin/sh
# Runs once, when the database is made, after the schema and the role: the role's password.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set password="$CDC_PASSWORD" <<'SQL'
alter role affluent password :'password';
SQL
