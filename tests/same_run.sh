#!/bin/bash
# Compares two run folders: weights and metrics, bit for bit but for times. A state is left out, since it holds the seconds of its run.
#   tests/same_run.sh FOLDER FOLDER
set -euo pipefail
for weights in "$1"/*.safetensors; do
  case $weights in *.state.safetensors) continue ;; esac
  cmp "$weights" "$2/$(basename "$weights")"
done
# A resumed run logs a start of its own.
lines() { grep -v '"kind":"start"' "$1/metrics.jsonl" | sed 's/"seconds":[^,}]*//; s/"steps_per_s":[^,}]*//'; }
cmp <(lines "$1") <(lines "$2")
