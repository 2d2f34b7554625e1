#!/bin/sh
# The modules with unsafe code under the address sanitizer. It needs a nightly toolchain: skipped without one.
set -eu
cd "$(dirname "$0")/.."
if ! rustup toolchain list 2>/dev/null | grep -q nightly; then
    echo "address sanitizer: skipped, there is no nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
target="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_TARGET_DIR=target/asan RUSTFLAGS=-Zsanitizer=address EMBERKV_SIM_LIVES=30
cargo +nightly test --target "$target" -p emberkv-log --lib -- memory table record frame segment no_crash damage salvage grace
cargo +nightly test --target "$target" -p emberkv-index --lib
cargo +nightly test --target "$target" -p emberkv-engine --lib -- foreign
cargo +nightly test --target "$target" -p emberkv-server --lib driver
