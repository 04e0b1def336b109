#!/bin/sh
# Writes the secrets that docker-compose.yml mounts, with random values; one that is there already stays as it is.
# Usage: deploy/make_secrets.sh [folder]
set -eu

folder=${1:-$(dirname "$0")/secrets}
# Nobody but the owner gets into the folder. The files may be read by all: each is mounted alone into its
# containers, whose accounts are not the owner's.
mkdir -p "$folder"
chmod 700 "$folder"

write() {
    file=$folder/$1
    [ -e "$file" ] && return
    cat > "$file.begun"
    chmod 444 "$file.begun"
    mv "$file.begun" "$file"
}

random() { LC_ALL=C tr -dc 'A-Za-z0-9' < /dev/urandom | head -c "$1"; }

random 40 | write postgres_password
random 40 | write redis_password
random 64 | write secret_key
random 24 | write grafana_password
printf 'first:%s' "$(head -c 32 /dev/urandom | base64)" | write vault_keys
# Where the mail server asks for none, it stays empty.
printf '' | write smtp_password
# Where alerts go; nobody listens there until a real address is written into the file.
printf 'http://127.0.0.1:9/' | write alert_webhook_url

# The same passwords in the form that the programs read.
printf 'postgres://often:%s@postgres:5432/often' "$(cat "$folder/postgres_password")" | write database_url
printf 'redis://default:%s@redis:6379/0' "$(cat "$folder/redis_password")" | write redis_url
printf 'requirepass %s\n' "$(cat "$folder/redis_password")" | write redis.conf
