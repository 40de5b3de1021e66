#!/bin/bash
# Kills a run with -9 at random moments, again and again, and compares what it leaves at last with a run that was left alone: weights
# and metrics, bit for bit but for times.
#   tests/kills.sh [KILLS] [SEED]      by default 100 kills, seed 1; about two minutes
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-100}
RANDOM=${2:-1}
cargo build --quiet --release -p trellis
trellis=$PWD/target/release/trellis
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export LP_NUM_THREADS=0 TRELLIS_TUNING=off
cat > "$place/x.toml" << TOML
name = "killed"
seeds = [1, 2]
arms = ["alone", "trained"]
[data]
train = 200
validation = 40
test = 40
[target]
depth = 3
width = 24
[guide]
channels = [4]
strides = [2]
steps = 2000
[training]
steps = 6000
batch = 16
eval_every = 100
TOML
"$trellis" train "$place/x.toml" --out "$place/whole" > /dev/null
done=0
for ((kill = 1; kill <= kills; kill++)); do
  "$trellis" train "$place/x.toml" --out "$place/pieces" --resume > /dev/null 2>> "$place/errors" &
  process=$!
  # From before it has a folder to some seconds of training.
  sleep "$(printf '0.%03d' $((RANDOM % 1000)))"
  if kill -9 $process 2> /dev/null; then done=$((done + 1)); fi
  wait $process 2> /dev/null || true
done
"$trellis" train "$place/x.toml" --out "$place/pieces" --resume > /dev/null
tests/same_run.sh "$place/whole/killed" "$place/pieces/killed"
echo "$done of $kills kills came before the end; weights and metrics are those of a run that was left alone"
