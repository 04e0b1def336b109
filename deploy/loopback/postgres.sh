#!/bin/sh
# The part of the official image's entry point that docker-compose.yml relies on: PGDATA,
# POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE create the database on the first start, and
# the scripts in /docker-entrypoint-initdb.d run in it.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 \
        --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" > /dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single postgres > /dev/null
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses= -c unix_socket_directories=/var/run/postgresql" start > /dev/null
    PGHOST=/var/run/postgresql /docker-entrypoint-initdb.d/roles.sh
    pg_ctl -D "$PGDATA" -w -m fast stop > /dev/null
fi
exec "$@" -c listen_addresses=127.77.0.2 -c unix_socket_directories=/var/run/postgresql
