"""Writes optimizer.json: 30 steps of every optimiser, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/optimizer.py
The loss is Σ g (w² + w): its gradient depends on the weights.
"""

import json
import pathlib

import torch

torch.set_default_dtype(torch.float64)
RATE = 0.01
CASES = [
    # name, optimiser, weight decay, largest gradient norm or None
    ("adam", lambda w, decay: torch.optim.Adam([w], RATE, weight_decay=decay), 0.0, None),
    ("adam", lambda w, decay: torch.optim.Adam([w], RATE, weight_decay=decay), 0.1, 0.5),
    ("adamw", lambda w, decay: torch.optim.AdamW([w], RATE, weight_decay=decay), 0.1, None),
    ("adamw", lambda w, decay: torch.optim.AdamW([w], RATE, weight_decay=decay), 0.01, 0.5),
    ("sgd", lambda w, decay: torch.optim.SGD([w], RATE, weight_decay=decay), 0.1, 0.5),
    ("momentum", lambda w, decay: torch.optim.SGD([w], RATE, momentum=0.9, weight_decay=decay), 0.01, None),
    ("nesterov", lambda w, decay: torch.optim.SGD([w], RATE, momentum=0.9, nesterov=True, weight_decay=decay), 0.01, 0.5),
]


def run(name, make, decay, clip):
    start, slopes = torch.randn(10).float().double(), torch.randn(10).float().double()
    w = torch.nn.Parameter(start.clone())
    optimizer = make(w, decay)
    steps = []
    for _ in range(30):
        optimizer.zero_grad()
        (slopes * (w * w + w)).sum().backward()
        if clip:
            torch.nn.utils.clip_grad_norm_([w], clip)
        optimizer.step()
        steps.append([round(v, 9) for v in w.tolist()])
    return {
        "name": name,
        "weight_decay": decay,
        "clip_norm": clip,
        "start": start.tolist(),
        "slopes": slopes.tolist(),
        "steps": steps,
    }


if __name__ == "__main__":
    torch.manual_seed(2)
    text = json.dumps([run(*case) for case in CASES])
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")
