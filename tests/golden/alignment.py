"""Writes alignment.json: every measure and its gradients for both layers, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/alignment.py
The measures are written as their definitions are, not as Trellis computes them: the centring matrix is formed, HSIC is
the estimator of Song et al. 2012 term by term, gradients come from autograd.
"""

import json
import pathlib

import torch

torch.set_default_dtype(torch.float64)


def linear(x):
    return x @ x.T


def rbf(x, fraction=0.8):
    squared = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    n = len(x)
    apart = squared.detach()[torch.triu(torch.ones(n, n), 1) > 0]
    variance = fraction**2 * apart.median()  # of an even number, torch takes the lower one
    return torch.exp(-squared / (2 * variance))


def hsic_biased(k, l):
    n = len(k)
    h = torch.eye(n) - torch.ones(n, n) / n
    return (h @ k @ h * (h @ l @ h)).sum()


def hsic_unbiased(k, l):
    n = len(k)
    k = k - torch.diag(torch.diag(k))
    l = l - torch.diag(torch.diag(l))
    cross = (k @ l).sum()
    return ((k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


def cka(kernel, hsic):
    def measure(x, y):
        k, l = kernel(x), kernel(y)
        return hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()

    return measure


def rsa(center):
    def similarities(x):
        if center:
            x = x - x.mean(1, keepdim=True)
        u = x / x.norm(dim=1, keepdim=True)
        return (u @ u.T)[torch.triu(torch.ones(len(x), len(x)), 1) > 0]

    def measure(x, y):
        return torch.corrcoef(torch.stack([similarities(x), similarities(y)]))[0, 1]

    return measure


def ridge(x, y, penalty=0.1):
    x, y = x - x.mean(0), y - y.mean(0)
    k = linear(x)
    k = k / k.diagonal().mean()
    left = penalty * torch.linalg.solve(k + penalty * torch.eye(len(k)), y)
    return 1 - left.square().sum() / y.square().sum()


MEASURES = {
    "cka": cka(linear, hsic_biased),
    "cka_debiased": cka(linear, hsic_unbiased),
    "rbf_cka": cka(rbf, hsic_biased),
    "rbf_cka_debiased": cka(rbf, hsic_unbiased),
    "rsa_cosine": rsa(False),
    "rsa_pearson": rsa(True),
    "ridge": ridge,
}


def numbers(tensor):
    # Nine digits tell any two f32 apart.
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def gradients(measures, x, y):
    results = {}
    for name, measure in measures.items():
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        value = measure(a, b)
        for_x, for_y = torch.autograd.grad(value, [a, b])
        results[name] = {
            "value": value.item(),
            "gradient": numbers(for_x),
            "gradient_y": numbers(for_y),
        }
    return results


def case(n, p, q, offset):
    # What f32 holds exactly, so that Trellis starts from the same numbers.
    x = (torch.randn(n, p) + offset).float().double()
    y = (torch.randn(n, q) + x[:, : min(p, q)].mean(1, keepdim=True) * 2).float().double()
    return {"n": n, "x": numbers(x), "y": numbers(y), "measures": gradients(MEASURES, x, y)}


def each_token(measure):
    def mean(x, y):
        return torch.stack([measure(x[:, t], y[:, t]) for t in range(x.shape[1])]).mean()

    return mean


def flattened(measure):
    return lambda x, y: measure(x.flatten(1), y.flatten(1))


def sequence(n, time, p, q, offset):
    x = (torch.randn(n, time, p) + offset).float().double()
    y = (torch.randn(n, time, q) + x.mean(2, keepdim=True) * 2).float().double()
    kinds = ["cka", "cka_debiased", "rbf_cka", "rbf_cka_debiased"]
    measures = {kind: each_token(MEASURES[kind]) for kind in kinds}
    measures["cka_flattened"] = flattened(MEASURES["cka"])
    results = gradients(measures, x, y)
    return {"n": n, "time": time, "x": numbers(x), "y": numbers(y), "measures": results}


if __name__ == "__main__":
    torch.manual_seed(1)
    cases = [case(4, 3, 5, 0.0), case(12, 10, 6, 0.5), case(24, 40, 3, -1.0), case(33, 5, 17, 2.0)]
    sequences = [sequence(8, 3, 4, 6, 0.0), sequence(19, 5, 7, 3, 1.0), sequence(6, 1, 12, 8, -2.0)]
    text = json.dumps({"cases": cases, "sequences": sequences})
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")
