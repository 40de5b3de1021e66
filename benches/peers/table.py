"""Prints the times of bench files (JSON lines) side by side, and how many times as long each takes as the first.

    python3 benches/peers/table.py trellis.jsonl [peer.jsonl …]

Rows are the workloads that a peer has too, or all of the first file where there is no peer. A file that does not exist is a
peer that was left out.
"""

import json
import os
import sys


def read(path):
    with open(path, encoding="utf-8") as lines:
        return {row["name"]: row for row in map(json.loads, lines) if "median_ms" in row}


def number(value, width, digits):
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    trellis, *peers = [read(path) for path in sys.argv[1:] if os.path.exists(path)]
    peers = [peer for peer in peers if peer]
    adapters = [next(iter(file.values()))["adapter"] for file in peers]
    heads = [adapter.split()[0] for adapter in adapters]
    print(f"Trellis, {next(iter(trellis.values()))['adapter']}")
    for adapter in adapters:
        print(adapter)
    print("\nMilliseconds" + ("; × is a peer's time over Trellis': above 1, Trellis is faster" if peers else "") + "\n")
    rows = [name for name in trellis if not peers or any(name in peer for peer in peers)]
    width = max(map(len, rows), default=0)
    print(f"{'':<{width}}{'Trellis':>20}" + "".join(f"  |{head:>36}" for head in heads))
    columns = "".join(f"  |{'min':>10}{'median':>10}{'× min':>8}{'× med':>8}" for _ in peers)
    print(f"{'workload':<{width}}{'min':>10}{'median':>10}{columns}")
    for name in rows:
        own = trellis[name]
        line = f"{name:<{width}}{own['min_ms']:>10.2f}{own['median_ms']:>10.2f}"
        for peer in peers:
            times = [peer[name][key] if name in peer else None for key in ("min_ms", "median_ms")]
            ratios = [time and time / own[key] for time, key in zip(times, ("min_ms", "median_ms"))]
            line += "  |" + "".join(number(time, 10, 2) for time in times) + "".join(number(r, 8, 2) for r in ratios)
        print(line)


if __name__ == "__main__":
    main()
