#!/bin/sh
# Creates the roles of the services, and one that reads statistics, with the passwords in /run/secrets. The official
# image runs this script when it creates a database. `make up` runs it again each time, so that the database of an
# earlier release gets the roles as well.
set -eu

for service in migrate api worker scheduler monitor; do
    variable=OFTEN_$(printf %s "$service" | tr a-z A-Z)_PASSWORD
    export "$variable=$(cat "/run/secrets/postgres_password_$service")"
done
psql -X --quiet --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --set=ON_ERROR_STOP=1 << 'SQL'
\getenv password OFTEN_MONITOR_PASSWORD
SET log_statement = 'none';
SELECT 'CREATE ROLE often_monitor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'often_monitor')
\gexec
ALTER ROLE often_monitor LOGIN PASSWORD :'password' CONNECTION LIMIT 5;
GRANT pg_monitor TO often_monitor;
SQL
exec psql -X --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --file=/opt/often/roles.sql
