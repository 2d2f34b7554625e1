#!/bin/sh
# The static binary in an empty chroot: it needs nothing but itself. Needs root for the chroot: skipped without.
set -eu
cd "$(dirname "$0")/.."
make static
target="$(rustc -vV | sed -n 's/^host: //p')"
if [ "$(id -u)" != 0 ]; then
    echo "static binary: built; running it in a chroot needs root: skipped"
    exit 0
fi
root="$(mktemp -d)"
port=$((20000 + $$ % 20000))
pid=""
finish() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    rm -rf "$root"
}
trap finish EXIT
cp "${CARGO_TARGET_DIR:-target}/$target/release/emberkv" "$root/emberkv"
# what tests make a server do no release does
for variable in EMBERKV_PLANT=F1 EMBERKV_CLOCK=/off EMBERKV_FAILPOINTS=list; do
    status=0
    timeout 20 env "$variable" "$root/emberkv" server --port "$port" --dir "$root/refused" 2>/dev/null || status=$?
    [ "$status" = 1 ] || { echo "static binary: it takes $variable" >&2; exit 1; }
done
chroot "$root" /emberkv server --bind 127.0.0.1 --port "$port" --dir /data &
pid=$!
tries=0
until [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "static binary: no answer from the chroot" >&2; exit 1; }
    sleep 0.1
done
[ "$(redis-cli -p "$port" set key value)" = OK ]
[ "$(redis-cli -p "$port" get key)" = value ]
echo "static binary: serves from an empty chroot"
