#!/bin/sh
# Makes sure that redis-server, redis-cli and redis-benchmark (7.0, from the distribution) and tmux are here: by apt when
# they are missing and we are root.
set -eu
missing=""
for tool in redis-server redis-cli redis-benchmark tmux; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "the tests need$missing: install redis-server, redis-tools and tmux (on Debian: apt-get install redis-server redis-tools tmux)" >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server redis-tools tmux libjemalloc2 >/dev/null
# the package starts a server of its own on 6379, which nobody asked for
service redis-server stop >/dev/null 2>&1 || true
