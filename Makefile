# Everything here needs Rust and nothing else; a software Vulkan is installed where no driver is found.

# Mesa asks for it; without it, as in containers, it complains at every start.
export XDG_RUNTIME_DIR ?= /tmp

.PHONY: demo test lint setup bench bench-peers

demo: setup
	cargo run --release -p trellis -- demo

# One thread of software Vulkan: small dispatches cost a fortieth, and the two tests run side by side.
test: setup
	LP_NUM_THREADS=0 cargo test --workspace

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

bench: setup
	cargo bench

# The same workloads in PyTorch, if python3 has it. A ratio above 1: Trellis is faster.
bench-peers: setup
	cargo build --release -p trellis
	target/release/trellis bench --json > target/bench-trellis.jsonl
	python3 benches/peers/torch_bench.py > target/bench-torch.jsonl
	python3 benches/peers/table.py target/bench-trellis.jsonl target/bench-torch.jsonl

setup:
	@.ci/setup
