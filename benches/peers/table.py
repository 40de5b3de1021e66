"""Prints the median times of bench files (JSON lines) side by side, and their ratio to the first.

    python3 benches/peers/table.py trellis.jsonl torch.jsonl
"""

import json
import sys


def read(path):
    with open(path, encoding="utf-8") as lines:
        return {row["name"]: row for row in map(json.loads, lines)}


def main():
    files = [read(path) for path in sys.argv[1:]]
    if not files:
        sys.exit(__doc__)
    for file in files:
        print(next(iter(file.values()))["adapter"] if file else "no workloads")
    print(f"{'workload':<34}" + "".join(f"{'ms':>12}" for _ in files) + "".join(f"{'ratio':>9}" for _ in files[1:]))
    for name, first in files[0].items():
        times = [file[name]["median_ms"] if name in file else None for file in files]
        if any(time is not None for time in times[1:]):
            cells = "".join(f"{'-':>12}" if time is None else f"{time:>12.3f}" for time in times)
            ratios = "".join(f"{'-':>9}" if time is None else f"{time / first['median_ms']:>9.2f}" for time in times[1:])
            print(f"{name:<34}{cells}{ratios}")


if __name__ == "__main__":
    main()
