#!/bin/sh
# Builds and starts everything of compose.yaml; makes the secrets first, once. Safe to run again.
#   sh infra/compose/up.sh
set -eu
cd "$(dirname "$0")"
umask 077

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
secret() { [ -s "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; }

mkdir -p secrets
secret admin_key "$(random)"
secret secret_keys "$(random)"
secret clickhouse_password "$(random)"
secret clickhouse_url "http://tidemark:$(cat secrets/clickhouse_password)@clickhouse:8123/tidemark"
# The containers run as you, so that they alone can read your secrets.
printf 'CONTAINER_UID=%s\nCONTAINER_GID=%s\n' "$(id -u)" "$(id -g)" >.env

docker compose up --build --detach --wait
echo "query API: http://127.0.0.1:8080    admin key: $(pwd)/secrets/admin_key"
