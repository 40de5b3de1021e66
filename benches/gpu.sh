#!/usr/bin/env bash
# Measures Trellis on the GPU at hand and tests its numbers there, in under 8 minutes once it is built.
#
#   benches/gpu.sh [FOLDER]      (FOLDER: gpu in cargo's target folder)
#
# FOLDER gets small.jsonl and large.jsonl (times), kernels.txt (where the time of some steps goes), torch.jsonl (PyTorch, eager and
# as CUDA graphs, where python3 has torch with CUDA), ratios.txt and tests.log. Send them to us with the card's name, or put the
# ratios into docs/benchmarks.md with adapter, driver and date.
# COMPILED=1 times PyTorch through torch.compile too, which takes some minutes more.
# TRELLIS and TESTS name programs that are built already; otherwise cargo builds them. SECONDS_EACH is the time for a workload.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
target=${CARGO_TARGET_DIR:-target}
folder=${1:-$target/gpu}
each=${SECONDS_EACH:-0.25}
mkdir -p "$folder"
begin=$(date +%s)
say() { echo "--- $* ($(($(date +%s) - begin)) s)"; }

trellis=${TRELLIS:-}
if [ -z "$trellis" ]; then
  cargo build --release -p trellis || exit 1
  trellis=$target/release/trellis
fi
"$trellis" devices | tee "$folder/devices.txt"
command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

say "small workloads"
"$trellis" --json bench --seconds "$each" > "$folder/small.jsonl"
say "large workloads"
"$trellis" --json bench --size large --seconds "$each" --filter "${FILTER:-.}" > "$folder/large.jsonl"
say "kernels"
"$trellis" bench --size large --seconds 0.05 --kernels --filter "${KERNELS:-resnet50|vit_b16|deep_fcn_guided}" > "$folder/kernels.txt"
cat "$folder/small.jsonl" "$folder/large.jsonl" > "$folder/trellis.jsonl"

if python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  say "PyTorch"
  python3 benches/peers/torch_bench.py --graph ${COMPILED:+--compiled} --seconds "$each" > "$folder/torch.jsonl"
  python3 benches/peers/torch_bench.py --graph ${COMPILED:+--compiled} --seconds "$each" --size large --filter "${FILTER:-.}" >> "$folder/torch.jsonl"
else
  say "PyTorch: left out, python3 has no torch with CUDA"
fi
python3 benches/peers/table.py "$folder/trellis.jsonl" "$folder/torch.jsonl" | tee "$folder/ratios.txt"

say "tests"
if [ -n "${TESTS:-}" ]; then
  timeout "${TEST_SECONDS:-180}" "$TESTS" > "$folder/tests.log" 2>&1
else
  cargo test --test all > "$folder/tests.log" 2>&1
fi
status=$?
grep -E "FAILED|panicked|test result" "$folder/tests.log"
say "done: $folder"
exit $status
