"""Times the workloads of `trellis bench` in PyTorch on the CPU (or CUDA, where there is one) and prints the same JSON.

    python3 benches/peers/torch_bench.py [--filter RE] [--threads N] [--seconds S]

Needs torch; nothing else depends on this file. CKA is written in its lean form (columns centred, one Gram matrix for each
layer); `cka_matrix_…` is written as its users write it: pair by pair.
"""

import argparse
import json
import re
import statistics
import time

import torch
import torch.nn.functional as F

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def normal(*shape):
    return torch.randn(*shape, device=DEVICE)


def gram(x):
    x = x.flatten(1)
    x = x - x.mean(0)
    return x @ x.T


def cka(x, y):
    k, l = gram(x), gram(y)
    return (k * l).sum() / (k.norm() * l.norm())


def matmul(size):
    a, b = normal(size, size), normal(size, size)
    return lambda: a @ b, 2 * size**3


def cka_forward(n, p):
    x, y = normal(n, p), normal(n, p)
    return lambda: cka(x, y), 4 * n * n * p


def cka_backward(n, p):
    x, y = normal(n, p).requires_grad_(), normal(n, p)
    return lambda: torch.autograd.grad(cka(x, y), x), 8 * n * n * p


def cka_matrix(layers, n, p):
    a, b = [normal(n, p) for _ in range(layers)], [normal(n, p) for _ in range(layers)]
    flops = 4 * layers * n * n * p + 2 * layers * layers * n * n
    return lambda: torch.stack([cka(x, y) for x in a for y in b]), flops


def mlp(guided):
    batch = 128
    widths = [784] + [512] * 8
    layers = [torch.nn.Linear(i, o) for i, o in zip(widths, widths[1:])]
    head = torch.nn.Linear(512, 10)
    target = torch.nn.ModuleList(layers + [head]).to(DEVICE)
    channels = [1, 8, 16, 32]
    convolutions = [torch.nn.Conv2d(i, o, 3, 2, 1) for i, o in zip(channels, channels[1:])]
    guide = torch.nn.ModuleList(convolutions).to(DEVICE).requires_grad_(False)
    optimizer = torch.optim.Adam(target.parameters(), 1e-3)
    images, labels = normal(batch, 1, 28, 28), torch.arange(batch, device=DEVICE) % 10

    def step():
        x, taps = images.flatten(1), []
        for layer in target[:-1]:
            x = layer(x).relu()
            taps.append(x)
        loss = F.cross_entropy(target[-1](x), labels)
        if guided:
            y, guides = images, []
            for convolution in guide:
                y = convolution(y).relu()
                guides.append(y)
            guides.append(y.mean((2, 3)))
            loss = loss + sum(1 - cka(taps[2 * i], guides[i]) for i in range(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    weights = 784 * 512 + 7 * 512 * 512 + 512 * 10
    return step, 6 * batch * weights - 2 * batch * 784 * 512


def rnn():
    batch, time, layers, hidden, vocabulary = 64, 40, 4, 128, 13
    embedding = torch.nn.Embedding(vocabulary, hidden)
    recurrent = torch.nn.RNN(hidden, hidden, layers, batch_first=True)
    target = torch.nn.ModuleList([embedding, recurrent, torch.nn.Linear(hidden, vocabulary)]).to(DEVICE)
    optimizer = torch.optim.Adam(target.parameters(), 1e-3)
    ids = (torch.arange(batch * time, device=DEVICE) % vocabulary).view(batch, time)

    def step():
        logits = target[2](target[1](target[0](ids))[0])
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, 6 * batch * time * (2 * layers * hidden * hidden + hidden * vocabulary)


WORKLOADS = {
    "matmul_f32_256": lambda: matmul(256),
    "matmul_f32_512": lambda: matmul(512),
    "matmul_f32_1024": lambda: matmul(1024),
    "cka_fwd_n256_p512_q512": lambda: cka_forward(256, 512),
    "cka_fwdbwd_n256_p512_q512": lambda: cka_backward(256, 512),
    "cka_fwd_n128_p4096_q4096": lambda: cka_forward(128, 4096),
    "cka_fwdbwd_n128_p4096_q4096": lambda: cka_backward(128, 4096),
    "mlp_step_b128": lambda: mlp(False),
    "mlp_guided_step_b128": lambda: mlp(True),
    "rnn_step_4x128_t40_b64": rnn,
    "cka_matrix_24x24_n128_p512": lambda: cka_matrix(24, 128, 512),
}


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    adapter = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {options.threads} threads"
    for name, prepare in WORKLOADS.items():
        if not re.search(options.filter, name):
            continue
        run, flops = prepare()
        for _ in range(3):
            run()
        wait()
        times, began = [], time.perf_counter()
        while len(times) < 5 or (time.perf_counter() - began < options.seconds and len(times) < 1000):
            start = time.perf_counter()
            run()
            wait()
            times.append(1e3 * (time.perf_counter() - start))
        times.sort()
        median = statistics.median(times)
        print(
            json.dumps(
                {
                    "name": name,
                    "median_ms": median,
                    "min_ms": times[0],
                    "p90_ms": times[min(9 * len(times) // 10, len(times) - 1)],
                    "reps": len(times),
                    "gflops": flops / median / 1e6,
                    "adapter": f"PyTorch {torch.__version__}, {adapter}",
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
