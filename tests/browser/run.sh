#!/bin/sh
# Tests of the page that `trellis export --live` writes, in a headless Chromium. Left out, with a line, where there is no Chromium or
# no Node. Chromium's own software GPU runs the page: no driver is needed.
set -eu
cd "$(dirname "$0")/../.."

left_out() { echo "browser tests: left out, $1"; exit 0; }
command -v node > /dev/null || left_out "there is no node"
chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    [ -n "$chromium" ] || chromium=$(command -v "$name" || true)
done
[ -n "$chromium" ] || left_out "there is no chromium (set CHROMIUM to one)"

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
export LP_NUM_THREADS="${LP_NUM_THREADS:-0}"
cargo run --quiet -p trellis -- export tests/browser/small.toml --live "$pages/small.html"
cargo run --quiet -p trellis -- export tests/browser/small.toml --live "$pages/other.html" --set 'seeds=[2]'
cargo run --quiet -p trellis -- export tests/browser/vision.toml --live "$pages/vision.html"
node tests/browser/live.mjs "$chromium" "$pages/small.html" "$pages/other.html" "$pages/vision.html" "$@"
