#!/bin/bash
# Takes the disk away from runs in four ways: it is full, read-only, gone, or another process writes there. Each must end with an error that
# names the file, and go on afterwards to the weights and metrics of a run that nothing happened to.
#   tests/trouble.sh      needs root on Linux, to mount small disks
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "skipped: mounting a disk needs root"; exit 0; }
cargo build --quiet --release -p trellis
trellis=$PWD/target/release/trellis
place=$(mktemp -d)
disk=$place/disk
mkdir "$disk"
mount -t tmpfs -o size=16m none "$disk" 2> /dev/null || { rm -rf "$place"; echo "skipped: no disk can be mounted here"; exit 0; }
trap 'umount "$disk"; rm -rf "$place"' EXIT
export LP_NUM_THREADS=0 TRELLIS_TUNING=off
cat > "$place/x.toml" << TOML
name = "run"
seeds = [1]
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
steps = 200
[training]
steps = 4000
batch = 16
eval_every = 50
TOML
"$trellis" train "$place/x.toml" --out "$place/whole" > /dev/null
# Runs until it ends, and demands an error with these words.
fails() {
  if "$trellis" train "$place/x.toml" --out "$disk/runs" --resume > /dev/null 2> "$place/errors"; then echo "no error: $1"; exit 1; fi
  grep -q "^error: .*$1" "$place/errors" || { echo "not told: $1"; cat "$place/errors"; exit 1; }
  echo "$(grep '^error:' "$place/errors" | cut -c 1-160)"
}
# Runs to the end, and compares.
goes_on() {
  "$trellis" train "$place/x.toml" --out "$disk/runs" --resume > /dev/null 2> "$place/errors" || { cat "$place/errors"; exit 1; }
  tests/same_run.sh "$place/whole/run" "$disk/runs/run"
  rm -rf "$disk/runs"
}

mount -o remount,size=300k "$disk"
fails "No space left on device"
mount -o remount,size=16m "$disk"
goes_on

begin() { "$trellis" train "$place/x.toml" --out "$disk/runs" --resume > /dev/null 2> "$place/errors" & process=$!; }
kept() { for _ in $(seq 400); do [ -f "$disk/runs/run/alone-1.state.safetensors" ] && return; sleep 0.02; done; echo "no state"; exit 1; }

begin; kept
fails "another run is writing to it"
wait $process
goes_on

begin; kept; kill -9 $process; wait $process 2> /dev/null || true
mount -o remount,ro "$disk"
fails "Read-only file system"
mount -o remount,rw "$disk"
goes_on

begin; kept
mv "$disk/runs" "$disk/elsewhere"
if wait $process; then echo "no error: the folder is gone"; exit 1; fi
grep -q '^error: .*No such file or directory' "$place/errors" || { cat "$place/errors"; exit 1; }
grep '^error:' "$place/errors" | cut -c 1-160
mv "$disk/elsewhere" "$disk/runs"
goes_on
echo "a full disk, a second process, a read-only disk and a folder that went away: told, and gone on from with the same bits"
