"""Prints the times of bench files (JSON lines) side by side, and how many times as long each takes as the first.

    python3 benches/peers/table.py trellis.jsonl [peer.jsonl …]

Rows are the workloads that a peer has too, or all of the first file where there is no peer. A file that does not exist is a
peer that was left out. On a GPU times are those of a repetition among many that are submitted together (`piped`), and a
peer's CUDA graph (`graph`) stands beside them; on a CPU they are the least and the median of single repetitions. Where a peer
was compiled (`torch.compile`), its time among many follows.
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
    # What is submitted together matters where a device runs beside the CPU.
    gpu = any("CPU" not in adapter for adapter in adapters)
    kinds = [("piped_ms", "piped"), ("graph_ms", "graph")] if gpu else [("min_ms", "min"), ("median_ms", "median")]
    was_compiled = any(row.get("compiled_ms") for peer in peers for row in peer.values())
    shown = kinds + ([("compiled_ms", "compiled")] if was_compiled else [])
    digits = 4 if gpu else 2
    print(f"Trellis, {next(iter(trellis.values()))['adapter']}")
    for adapter in adapters:
        print(adapter)
    print("\nMilliseconds" + ("; × is a peer's time over Trellis': above 1, Trellis is faster" if peers else "") + "\n")
    rows = [name for name in trellis if not peers or any(name in peer for peer in peers)]
    width = max(map(len, rows), default=0)
    print(f"{'':<{width}}{'Trellis':>20}" + "".join(f"  |{head:>{20 * len(shown)}}" for head in heads))
    own_kinds = [("piped_ms", "piped"), ("min_ms", "single")] if gpu else kinds
    names = "".join(f"{name:>10}" for _, name in own_kinds)
    titles = "".join(f"{name:>11}" for _, name in shown) + "".join(f"{'× ' + name:>11}" for _, name in shown)
    columns = "".join("  |" + titles for _ in peers)
    print(f"{'workload':<{width}}{names}{columns}")
    for name in rows:
        own = trellis[name]
        line = f"{name:<{width}}" + "".join(number(own.get(key), 10, digits) for key, _ in own_kinds)
        for peer in peers:
            times = [peer.get(name, {}).get(key) for key, _ in shown]
            ours = [own["piped_ms"] if gpu or key == "compiled_ms" else own[key] for key, _ in shown]
            ratios = [time and time / our for time, our in zip(times, ours)]
            line += "  |" + "".join(number(time, 11, digits) for time in times) + "".join(number(r, 11, 2) for r in ratios)
        print(line)


if __name__ == "__main__":
    main()
