#!/bin/sh
# Writes the secrets that docker-compose.yml mounts, with random values. Existing passwords are kept.
# Usage: deploy/make_secrets.sh [folder]
set -eu

folder=${1:-$(dirname "$0")/secrets}
# Only the owner may enter the folder. Everyone may read the files: each is mounted alone into its
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

# Passwords of the two servers' administrators. Services connect with their own roles and users.
random 40 | write postgres_password
random 40 | write redis_password
for service in migrate api worker scheduler monitor; do random 40 | write "postgres_password_$service"; done
for service in api worker scheduler monitor; do random 40 | write "redis_password_$service"; done
random 64 | write secret_key
random 24 | write grafana_password
printf 'first:%s' "$(head -c 32 /dev/urandom | base64)" | write vault_keys
# These files stay empty when the mail server needs no password, or an outside service is not used.
for name in smtp_password serp_api_key travclan_api_key travclan_merchant_id travclan_user_id stripe_secret_key \
    vapid_private_key; do
    printf '' | write "$name"
done
# URLs to which alerts are sent: urgent ones, those that can wait, and the watchdog. Nothing listens at these URLs;
# write real ones into the files. Earlier releases had a single file, whose URL is taken over.
former=$(cat "$folder/alert_webhook_url" 2> /dev/null || true)
printf '%s' "${former:-http://127.0.0.1:9/}" | write alert_page_url
printf '%s' "${former:-http://127.0.0.1:9/}" | write alert_ticket_url
printf 'http://127.0.0.1:9/' | write alert_watchdog_url

# The same passwords in the formats that the programs read.
secret() { cat "$folder/$1"; }
for service in migrate api worker scheduler; do
    printf 'postgres://often_%s:%s@postgres:5432/often' "$service" "$(secret "postgres_password_$service")" \
        | write "database_url_$service"
done
for service in api worker scheduler; do
    printf 'redis://often_%s:%s@redis:6379/0' "$service" "$(secret "redis_password_$service")" \
        | write "redis_url_$service"
done
# The users of Redis follow the rules of this release and the passwords above; other users in the file stay. A container
# mounts the file itself, not its folder, so it is rewritten in place. The server refuses comments in it. The last user
# reads statistics for Prometheus and may read no key.
users=$folder/redis_users.acl
{ sed -n -e "s/@ADMIN_PASSWORD@/$(secret redis_password)/" -e "s/@API_PASSWORD@/$(secret redis_password_api)/" \
    -e "s/@WORKER_PASSWORD@/$(secret redis_password_worker)/" \
    -e "s/@SCHEDULER_PASSWORD@/$(secret redis_password_scheduler)/" -e '/^user /p' \
    "$(dirname "$0")/../shared/redis_users.acl"
    # Reads statistics for Prometheus, and no key.
    printf 'user often_monitor reset on >%s +ping +info +client|setname\n' "$(secret redis_password_monitor)"
    grep -vE '^user (default|often_(api|worker|scheduler|monitor)) ' "$users" 2> /dev/null || true
} > "$users.begun"
if ! cmp -s "$users.begun" "$users"; then
    [ ! -e "$users" ] || chmod u+w "$users"
    cat "$users.begun" > "$users"
    chmod 444 "$users"
fi
rm "$users.begun"
printf '{"redis://often_monitor@redis:6379": "%s"}' "$(secret redis_password_monitor)" | write redis_exporter_passwords
