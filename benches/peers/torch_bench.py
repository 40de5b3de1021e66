"""Times the workloads of `trellis bench` in PyTorch on the CPU (or CUDA, where there is one) and prints the same JSON.

    python3 benches/peers/torch_bench.py [--size large] [--filter RE] [--threads N] [--seconds S] [--graph] [--compiled]

Needs torch, and torchvision for the networks of `--size large`; nothing else depends on this file. CKA is written in its lean
form (columns centered, one Gram matrix for each layer); `cka_matrix_…` is written as its users write it: pair by pair.
`piped_ms` is the time of one repetition among many that are launched together. With `--graph` each workload is recorded as a
CUDA graph too, and `graph_ms` is the time of a replay. With `--compiled` it goes through `torch.compile` too, and `compiled_ms`
is the time of what that makes of it; compiling takes up to a minute for each workload and wants a C++ compiler or Triton.
"""

import argparse
import json
import re
import statistics
import sys
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
    optimizer = torch.optim.Adam(target.parameters(), 1e-3, capturable=DEVICE == "cuda")
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
    optimizer = torch.optim.Adam(target.parameters(), 1e-3, capturable=DEVICE == "cuda")
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


def conv(channels_in, channels_out, side, window, stride, backward=False):
    x, w = normal(64, channels_in, side, side), normal(channels_out, channels_in, window, window)
    if not backward:
        return lambda: F.conv2d(x, w, None, stride, window // 2), 0
    x.requires_grad_(), w.requires_grad_()

    def step():
        y = F.conv2d(x, w, None, stride, window // 2)
        torch.autograd.grad((y * y).sum(), [x, w])

    return step, 0


def half_matmul(size):
    a, b = normal(size, size).half(), normal(size, size).half()
    return lambda: a @ b, 2 * size**3


def product(m, n, k):
    a, b = normal(m, k), normal(k, n)
    return lambda: a @ b, 2 * m * n * k


def attention(batch, heads, time, head, causal, backward, dtype=torch.float32):
    q, k, v = [normal(batch, heads, time, head).to(dtype).requires_grad_(backward) for _ in range(3)]
    if not backward:
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal), 0

    def step():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        torch.autograd.grad((y * y).sum(), [q, k, v])

    return step, 0


def network(name, mixed=False):
    import torchvision

    model = getattr(torchvision.models, name)(weights=None).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, capturable=DEVICE == "cuda")
    scaler = torch.amp.GradScaler(DEVICE, enabled=mixed)
    images, labels = normal(64, 3, 224, 224), torch.arange(64, device=DEVICE)

    def step():
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.float16, enabled=mixed):
            loss = F.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        if mixed:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()

    # The scaler looks at its gradients on the CPU, which spoils the recording and what follows it.
    step.not_recorded = mixed
    return step, 0


def deep_fcn(guided):
    import torchvision

    batch, widths = 256, [3 * 224 * 224, 2048] + [1024] * 47
    blocks = [
        torch.nn.Sequential(torch.nn.Linear(i, o), torch.nn.BatchNorm1d(o), torch.nn.ReLU(), torch.nn.Dropout(0.1))
        for i, o in zip(widths, widths[1:])
    ]
    target = torch.nn.ModuleList(blocks + [torch.nn.Linear(1024, 1000)]).to(DEVICE)
    guide = torchvision.models.resnet18(weights=None).to(DEVICE).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(target.parameters(), 1e-4)
    images, labels = normal(batch, 3, 224, 224), torch.arange(batch, device=DEVICE)

    def step():
        x, taps = images.flatten(1), []
        for block in target[:-1]:
            x = block(x)
            taps.append(x)
        loss = F.cross_entropy(target[-1](x), labels)
        if guided:
            guides = []
            with torch.no_grad():
                y = guide.maxpool(guide.relu(guide.bn1(guide.conv1(images))))
                for layer in (guide.layer1, guide.layer2, guide.layer3, guide.layer4):
                    for block in layer:
                        y = block(y)
                        guides.append(y)
            loss = loss + sum(1 - cka(taps[i * 47 // 7], guides[i]) for i in range(8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, 0


LARGE = {
    "matmul_f32_128x512x512": lambda: product(128, 512, 512),
    "matmul_f32_256x2048x150528": lambda: product(256, 2048, 150528),
    **{f"matmul_f32_{n}": lambda n=n: matmul(n) for n in (1024, 2048, 4096, 8192)},
    **{f"matmul_f16_{n}": lambda n=n: half_matmul(n) for n in (2048, 4096, 8192)},
    **{
        f"cka_fwdbwd_n{n}_p{p}": lambda n=n, p=p: cka_backward(n, p)
        for n, p in ((256, 512), (128, 4096), (512, 8192), (1024, 2048), (256, 150528))
    },
    "conv_3_64_7x7s2_224": lambda: conv(3, 64, 224, 7, 2),
    "conv_64_64_3x3_56": lambda: conv(64, 64, 56, 3, 1),
    "conv_128_128_3x3_28": lambda: conv(128, 128, 28, 3, 1),
    "conv_256_256_3x3_14": lambda: conv(256, 256, 14, 3, 1),
    "conv_512_512_3x3_7": lambda: conv(512, 512, 7, 3, 1),
    "conv_64_256_1x1_56": lambda: conv(64, 256, 56, 1, 1),
    "conv_2048_512_1x1_7": lambda: conv(2048, 512, 7, 1, 1),
    "conv_64_64_3x3_56_fwdbwd": lambda: conv(64, 64, 56, 3, 1, True),
    "conv_256_256_3x3_14_fwdbwd": lambda: conv(256, 256, 14, 3, 1, True),
    "conv_512_512_3x3_7_fwdbwd": lambda: conv(512, 512, 7, 3, 1, True),
    "resnet18_step_b64": lambda: network("resnet18"),
    "resnet50_step_b64": lambda: network("resnet50"),
    "resnet50_mixed_step_b64": lambda: network("resnet50", True),
    "vit_b16_step_b64": lambda: network("vit_b_16"),
    "vit_b16_mixed_step_b64": lambda: network("vit_b_16", True),
    "deep_fcn_step_b256": lambda: deep_fcn(False),
    "deep_fcn_guided_step_b256": lambda: deep_fcn(True),
    **{
        f"attention_{way}_{b}x{h}x{t}x{d}{'_causal' if causal else ''}": (
            lambda b=b, h=h, t=t, d=d, causal=causal, way=way: attention(b, h, t, d, causal, way == "fwdbwd")
        )
        for way in ("fwd", "fwdbwd")
        for b, h, t, d, causal in ((4, 8, 256, 64, False), (64, 12, 197, 64, False), (8, 16, 1024, 64, False), (8, 16, 1024, 64, True))
    },
    **{
        f"attention_{way}_{b}x{h}x{t}x{d}_mixed": (
            lambda b=b, h=h, t=t, d=d, way=way: attention(b, h, t, d, False, way == "fwdbwd", torch.float16)
        )
        for way in ("fwd", "fwdbwd")
        for b, h, t, d in ((64, 12, 197, 64), (8, 16, 1024, 64))
    },
}


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def piped(run, seconds):
    """Milliseconds of one repetition among many: the median of several rounds, once two rounds differ by less than 3 %."""

    def once(reps):
        start = time.perf_counter()
        for _ in range(reps):
            run()
        wait()
        return 1e3 * (time.perf_counter() - start) / reps

    reps = max(1, min(2000, int(30 / max(once(3), 1e-3))))
    began, last = time.perf_counter(), once(reps)
    while time.perf_counter() - began < 2:
        now = once(reps)
        settled, last = abs(now / last - 1) < 0.03, now
        if settled:
            break
    times, began = [last], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < seconds and len(times) < 15):
        times.append(once(reps))
    return statistics.median(times)


def graph(run, seconds):
    """The same for replays of a CUDA graph; None where the workload cannot be recorded."""
    if getattr(run, "not_recorded", False):
        return None
    try:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            run()
        return piped(recorded.replay, seconds)
    except RuntimeError:
        return None


def compiled(name, run, seconds):
    """The same for what torch.compile makes of it; None, with a line that says why, where it cannot."""
    try:
        torch._dynamo.reset()
        compiled_run = torch.compile(run)
        for _ in range(3):
            compiled_run()
        return piped(compiled_run, seconds)
    except Exception as error:  # compilers fail in many ways
        print(f"{name}: not compiled: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["small", "large"], default="small")
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--filter", default="")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    # f32 is f32: cuDNN's convolutions would round to TF32 otherwise.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    adapter = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {options.threads} threads"
    for name, prepare in (LARGE if options.size == "large" else WORKLOADS).items():
        if not re.search(options.filter, name):
            continue
        run, flops = prepare()
        for _ in range(3):
            run()
        wait()
        piped_ms = piped(run, options.seconds / 2)
        graph_ms = graph(run, options.seconds / 2) if options.graph and DEVICE == "cuda" else None
        compiled_ms = compiled(name, run, options.seconds / 2) if options.compiled else None
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
                    "piped_ms": piped_ms,
                    "graph_ms": graph_ms,
                    "compiled_ms": compiled_ms,
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
