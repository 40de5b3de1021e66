# Everything here needs Rust and the C compiler that it links with; a software Vulkan is installed where no driver is found.

.PHONY: demo test lint book setup bench bench-peers

demo: setup
	cargo run --release -p trellis -- demo

# One thread of software Vulkan: small dispatches cost a fortieth, and the two tests run side by side. The examples were built with the
# tests; the long one takes only some of its steps. The page of `trellis export` is tried where there is a Chromium.
examples := $(notdir $(basename $(wildcard examples/*.rs)) $(patsubst %/main.rs,%,$(wildcard examples/*/main.rs)))
test: setup
	LP_NUM_THREADS=0 cargo test --workspace
	@for example in $(examples); do echo "example $$example"; \
		LP_NUM_THREADS=0 TRELLIS_SHORT_EXAMPLES=1 cargo run --quiet --example $$example || exit 1; done
	@tests/browser/run.sh

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	$(MAKE) book

# The book, in target/book. Without mdbook it is not built; tests check its links, its sentences and the code that it includes.
book:
	@if ! command -v mdbook > /dev/null; then echo "The book: not built, there is no mdbook (cargo install --locked mdbook)."; \
	else log=$$(mdbook build docs 2>&1) || { echo "$$log"; exit 1; }; \
		if echo "$$log" | grep -E 'ERROR|WARN'; then exit 1; fi; echo "The book: target/book/index.html"; fi

bench: setup
	cargo bench

# The same workloads in Burn and PyTorch, one engine after the other. A peer that is not there is left out.
burn := --release --locked --manifest-path benches/peers/burn/Cargo.toml
target := $(or $(CARGO_TARGET_DIR),target)
bench-peers: setup
	cargo build --release -p trellis
	@rm -f $(target)/bench-burn.jsonl $(target)/bench-torch.jsonl
	@echo "Burn: building it; the first time this takes 15 minutes and 1.3 GB of disk."
	@if ! cargo build $(burn); then echo "Burn: left out, it cannot be built here (see above)."; \
	elif ! cargo run --quiet $(burn) > $(target)/bench-burn.jsonl; then \
		rm $(target)/bench-burn.jsonl; echo "Burn: left out, it does not run here (see above)."; fi
	@if ! python3 -c 'import torch' 2> /dev/null; then echo "PyTorch: left out, python3 has no torch."; \
	elif ! python3 benches/peers/torch_bench.py --graph --compiled > $(target)/bench-torch.jsonl; then \
		rm $(target)/bench-torch.jsonl; echo "PyTorch: left out, it does not run here (see above)."; fi
	$(target)/release/trellis bench --json > $(target)/bench-trellis.jsonl
	@python3 benches/peers/table.py $(target)/bench-trellis.jsonl $(target)/bench-burn.jsonl $(target)/bench-torch.jsonl || \
		echo "No table without python3; the times are in $(target)/bench-*.jsonl."

setup:
	@.ci/setup
