#!/bin/sh
# Installs the clients and frameworks that cli/tests/clients.rs runs: those of python into the peers'
# environment, those of node into target/clients. It does nothing when all is there.
set -eu

cd "$(dirname "$0")/.."

fail() {
    echo "clients.sh: $*" >&2
    exit 1
}

python="$(torture/peers.sh | sed -n 's/^EMBERKV_TEST_PYTHON=//p')"
if ! "$python" -c 'import rq, django_redis, flask_caching' 2>/dev/null; then
    "$python" -m pip install --quiet --disable-pip-version-check rq django django-redis flask flask-caching >&2 ||
        fail "pip could not install rq, django, django-redis, flask and flask-caching"
fi

dir="$PWD/target/clients"
if [ ! -d "$dir/node_modules/@socket.io/redis-streams-adapter" ]; then
    command -v npm >/dev/null || fail "node and npm are needed (packages nodejs and npm)"
    mkdir -p "$dir"
    [ -f "$dir/package.json" ] || echo '{"private": true}' >"$dir/package.json"
    npm install --prefix "$dir" --silent --no-audit --no-fund ioredis@5 redis@5 connect-redis@9 express-session@1 \
        socket.io@4 socket.io-client@4 @socket.io/redis-adapter@8 @socket.io/redis-streams-adapter@0.3 >&2 ||
        fail "npm could not install the clients"
fi

for tool in redis-cli redis-benchmark; do
    command -v "$tool" >/dev/null || fail "$tool is needed (package redis-tools)"
done
