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

# Administrators of the two servers. Services connect as roles and users of their own.
random 40 | write postgres_password
random 40 | write redis_password
for service in migrate api worker scheduler; do random 40 | write "postgres_password_$service"; done
for service in api worker scheduler; do random 40 | write "redis_password_$service"; done
random 64 | write secret_key
random 24 | write grafana_password
printf 'first:%s' "$(head -c 32 /dev/urandom | base64)" | write vault_keys
# Where the mail server asks for no password, and where an outside service is not used, the file stays empty.
for name in smtp_password serp_api_key travclan_api_key travclan_merchant_id travclan_user_id stripe_secret_key \
    vapid_private_key; do
    printf '' | write "$name"
done
# Where alerts go; nobody listens there until a real address is written into the file.
printf 'http://127.0.0.1:9/' | write alert_webhook_url

# The same passwords in the form that the programs read.
secret() { cat "$folder/$1"; }
for service in migrate api worker scheduler; do
    printf 'postgres://often_%s:%s@postgres:5432/often' "$service" "$(secret "postgres_password_$service")" \
        | write "database_url_$service"
done
for service in api worker scheduler; do
    printf 'redis://often_%s:%s@redis:6379/0' "$service" "$(secret "redis_password_$service")" \
        | write "redis_url_$service"
done
# The server refuses comments in this file.
sed -n -e "s/@ADMIN_PASSWORD@/$(secret redis_password)/" -e "s/@API_PASSWORD@/$(secret redis_password_api)/" \
    -e "s/@WORKER_PASSWORD@/$(secret redis_password_worker)/" \
    -e "s/@SCHEDULER_PASSWORD@/$(secret redis_password_scheduler)/" -e '/^user /p' \
    "$(dirname "$0")/../shared/redis_users.acl" | write redis_users.acl
