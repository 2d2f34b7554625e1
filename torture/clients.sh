#!/bin/sh
# Installs the clients that cli/tests/clients.rs runs: redis-py with the peers' python
# environment, ioredis into target/clients. It does nothing when all is there.
set -eu

cd "$(dirname "$0")/.."

fail() {
    echo "clients.sh: $*" >&2
    exit 1
}

torture/peers.sh >/dev/null

dir="$PWD/target/clients"
if [ ! -d "$dir/node_modules/ioredis" ]; then
    command -v npm >/dev/null || fail "node and npm are needed (packages nodejs and npm)"
    mkdir -p "$dir"
    [ -f "$dir/package.json" ] || echo '{"private": true}' >"$dir/package.json"
    npm install --prefix "$dir" --silent --no-audit --no-fund ioredis@5 >&2 ||
        fail "npm could not install ioredis"
fi

for tool in redis-cli redis-benchmark; do
    command -v "$tool" >/dev/null || fail "$tool is needed (package redis-tools)"
done
