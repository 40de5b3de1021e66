#!/bin/sh
# Runs what docs/reliability.md records: JPEG files of every kind against libjpeg-turbo, then 10,000 damaged files of all kinds.
# Needs a C compiler and libjpeg-turbo's header (Debian: apt-get install gcc libjpeg62-turbo-dev).
#   tests/reliability.sh [CASES] [SEED]
set -eu
cd "$(dirname "$0")/.."
grid=$(mktemp -d)
trap 'rm -rf "$grid"' EXIT
cc -O1 -o "$grid/jpeg_grid" tests/data/reliability/jpeg_grid.c -ljpeg
"$grid/jpeg_grid" "$grid"
cargo test --test all --no-run
TRELLIS_JPEG_GRID=$grid cargo test --quiet --test all every_jpeg_is_read -- --ignored --nocapture
# With more than 4 GiB of address space the process would end, and the run fail.
ulimit -v 4194304
TRELLIS_DAMAGED=${1:-10000} TRELLIS_DAMAGED_SEED=${2:-1} cargo test --quiet --test all damaged_files_are_refused -- --nocapture
