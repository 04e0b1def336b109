#!/bin/sh
# Creates the roles of the services with the passwords in /run/secrets. The official image runs this when it makes a
# database; `make up` runs it again each time, so that a database of an earlier release gets the roles as well.
set -eu

for service in migrate api worker scheduler; do
    variable=OFTEN_$(printf %s "$service" | tr a-z A-Z)_PASSWORD
    export "$variable=$(cat "/run/secrets/postgres_password_$service")"
done
exec psql -X --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --file=/opt/often/roles.sql
