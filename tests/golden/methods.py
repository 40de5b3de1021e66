"""Writes methods.json: 20 steps of distillation, hints and matched Gram matrices, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/methods.py
Every step sees all examples. Layers are captured before ReLU. Regressors of hints begin with the uniform numbers that
Philox4x32-10 draws (Salmon et al. 2011), written here from the paper.
"""

import json
import math
import pathlib

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
N, SIDE, CLASSES, STEPS = 24, 4, 3, 20
RATE, MOMENTUM, SEED = 0.05, 0.9, 3
STREAM = 0x68696E747300  # "hints" and a zero


def philox(counter, key):
    counter, key = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def uniform(shape, bound, number):
    stream, words = STREAM | number, []
    for block in range(math.ceil(math.prod(shape) / 4)):
        words += philox([block, 0, stream & 0xFFFFFFFF, stream >> 32], [SEED, 0])
    units = torch.tensor([(word >> 8) / (1 << 24) for word in words[: math.prod(shape)]])
    return (-bound + 2 * bound * units).reshape(shape)


def drawn(*shape):
    """Numbers that f32 holds too, of a size that keeps activations near 1."""
    return (torch.randn(shape) / math.sqrt(max(1, math.prod(shape[1:])))).float().double()


def fcn(width):
    sizes = [("fc1", SIDE * SIDE, width), ("fc2", width, width), ("logits", width, CLASSES)]
    return {f"{n}.{k}": drawn(o, i) if k == "weight" else 0.1 * drawn(o) for n, i, o in sizes for k in ("weight", "bias")}


def cnn(channels):
    sizes = [("conv1", 1, channels), ("conv2", channels, channels)]
    params = {f"{n}.{k}": drawn(o, i, 3, 3) if k == "weight" else 0.1 * drawn(o) for n, i, o in sizes for k in ("weight", "bias")}
    return params | {"logits.weight": drawn(CLASSES, channels), "logits.bias": 0.1 * drawn(CLASSES)}


def forward(params, x):
    """Logits, and layers before ReLU."""
    layers = {}
    if "fc1.weight" in params:
        x = x.flatten(1)
        for name in ("fc1", "fc2"):
            layers[name] = F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])
            x = layers[name].relu()
    else:
        for name, stride in (("conv1", 1), ("conv2", 2)):
            layers[name] = F.conv2d(x, params[f"{name}.weight"], params[f"{name}.bias"], stride, 1)
            x = layers[name].relu()
        x = x.mean((2, 3))
    return F.linear(x, params["logits.weight"], params["logits.bias"]), layers


def gram_cosine(x, y):
    k, l = [(v.flatten(1) @ v.flatten(1).T) for v in (x, y)]
    return 1 - F.cosine_similarity(k.flatten(), l.flatten(), dim=0)


def gram_l2(x, y):
    k, l = [F.normalize(v.flatten(1) @ v.flatten(1).T, dim=1) for v in (x, y)]
    return (k - l).pow(2).sum() / N**2


def run(name, target, guide, pairs, alpha, temperature=None):
    x, y = (torch.tensor(PIXELS).double().reshape(N, 1, SIDE, SIDE) / 255 - 0.5) / 0.25, torch.tensor(LABELS)
    start = {key: value.clone() for key, value in target.items()}
    params = {key: value.requires_grad_() for key, value in target.items()}
    with torch.no_grad():
        their_logits, theirs = forward(guide, x)
    regressors = []
    if name == "hints":
        _, ours = forward(params, x)
        for g, t in pairs:
            # One for each pixel where both layers have the same ones.
            pixels = ours[t].dim() == 4 and ours[t].shape[2:] == theirs[g].shape[2:]
            p, q = (v.shape[1] if pixels else v[0].numel() for v in (ours[t], theirs[g]))
            bound, number = 1 / math.sqrt(p), 2 * len(regressors)
            w, b = uniform((q, p), bound, number).requires_grad_(), uniform((q,), bound, number + 1).requires_grad_()
            regressors.append((g, t, pixels, w, b))
    learned = list(params.values()) + [v for *_, w, b in regressors for v in (w, b)]
    optimizer = torch.optim.SGD(learned, RATE, momentum=MOMENTUM)
    steps = []
    for _ in range(STEPS):
        logits, ours = forward(params, x)
        task = F.cross_entropy(logits, y)
        if name == "distill":
            soft = [F.log_softmax(z / temperature, 1) for z in (logits, their_logits)]
            pull = temperature**2 * F.kl_div(soft[0], soft[1], reduction="batchmean", log_target=True)
            loss = (1 - alpha) * task + alpha * pull
        else:
            if name == "hints":
                errors = []
                for g, t, pixels, w, b in regressors:
                    mapped = F.conv2d(ours[t], w[..., None, None], b) if pixels else F.linear(ours[t].flatten(1), w, b)
                    errors.append(F.mse_loss(mapped, theirs[g] if pixels else theirs[g].flatten(1)))
            else:
                errors = [{"gram_cosine": gram_cosine, "gram_l2": gram_l2}[name](ours[t], theirs[g]) for g, t in pairs]
            pull = sum(errors)
            loss = task + alpha * pull
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append([task.item(), pull.item()])
    tensors = lambda network: {key: [list(v.shape), v.flatten().tolist()] for key, v in network.items()}
    return {
        "name": name,
        "alpha": alpha,
        "temperature": temperature,
        "pairs": pairs,
        "target": tensors(start),
        "guide": tensors(guide),
        "steps": steps,
    }


if __name__ == "__main__":
    torch.manual_seed(4)
    PIXELS = torch.randint(256, (N * SIDE * SIDE,)).tolist()
    LABELS = [i % CLASSES for i in range(N)]
    fc, conv = [["fc1", "fc1"], ["fc2", "fc2"]], [["conv1", "conv1"], ["conv2", "conv2"]]
    cases = [
        run("distill", fcn(6), fcn(9), fc, 0.7, 3.0),
        run("hints", fcn(6), fcn(9), fc, 0.5),
        run("hints", cnn(3), cnn(5), conv, 0.5),
        run("hints", fcn(6), cnn(3), [["conv2", "fc1"]], 0.5),
        run("gram_cosine", fcn(6), fcn(9), fc, 1.0),
        run("gram_l2", fcn(6), cnn(3), [["conv1", "fc1"], ["conv2", "fc2"]], 30.0),
    ]
    text = json.dumps({"pixels": PIXELS, "labels": LABELS, "cases": cases})
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")
